//! A vCPU's floating-point and vector state, as it is when a processor is switched on.

use anyhow::{Context, Result};
use kvm_bindings::{kvm_xcrs, kvm_xsave};
use kvm_ioctls::VcpuFd;

/// x87's state in XCR0, and SSE's beside it in the header of an XSAVE area (SDM vol. 1, 13.1).
const X87: u64 = 1 << 0;
const SSE: u64 = 1 << 1;
/// Of an XSAVE area, in words of 4 bytes: x87's control word, MXCSR, and the header's XSTATE_BV.
const FCW: usize = 0;
const MXCSR: usize = 6;
const XSTATE_BV: usize = 128;

/// Resets it (SDM vol. 3, table 10-1).
pub fn reset(vcpu: &VcpuFd) -> Result<()> {
    let mut area = kvm_xsave::default();
    area.region[FCW] = 0x37f;
    area.region[MXCSR] = 0x1f80;
    // What it does not name is in its initial state.
    area.region[XSTATE_BV] = (X87 | SSE) as u32;
    // SAFETY: the area has the 4096 bytes that this request reads; KVM reads more only where
    // larger states were asked of the kernel for guests, which this process does not do.
    unsafe { vcpu.set_xsave(&area) }.context("KVM_SET_XSAVE")?;
    let mut registers = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
    registers.xcrs[0].value = X87;
    // Without XSAVE there is no XCR0.
    let _ = vcpu.set_xcrs(&registers);
    Ok(())
}
