//! Refuses instructions in ring-0 code that a KVM without hardware help cannot run: it interprets
//! ring 0, and its interpreter has neither floating point nor most later extensions. One such
//! instruction ends the machine, perhaps on a path that is seldom taken, so the build looks at all.

use iced_x86::{Code, CpuidFeature, Decoder, DecoderOptions, Instruction, Mnemonic};

/// A piece of code as it lies in memory.
pub struct CodeRange<'a> {
    pub address: u64,
    pub bytes: &'a [u8],
    /// 32 or 64.
    pub bits: u32,
}

/// An instruction that must not be there.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub address: u64,
    pub instruction: String,
    pub bytes: Vec<u8>,
}

/// All instructions of the range that ring 0 must not contain, in order.
pub fn refusals(code: &CodeRange<'_>) -> Vec<Refusal> {
    let decoder = Decoder::with_ip(code.bits, code.bytes, code.address, DecoderOptions::NONE);
    decoder.into_iter().filter(is_refused).map(|instruction| describe(&instruction, code)).collect()
}

fn describe(instruction: &Instruction, code: &CodeRange<'_>) -> Refusal {
    let start = (instruction.ip() - code.address) as usize;
    let bytes = code.bytes[start..start + instruction.len()].to_vec();
    let instruction = format!("{:?}", instruction.mnemonic()).to_lowercase();
    Refusal { address: code.address + start as u64, instruction, bytes }
}

fn is_refused(instruction: &Instruction) -> bool {
    match instruction.mnemonic() {
        Mnemonic::Int | Mnemonic::Int3 | Mnemonic::Int1 | Mnemonic::Into => true,
        Mnemonic::Movups | Mnemonic::Movaps | Mnemonic::Movdqu => is_wide(instruction),
        _ if instruction.code() == Code::INVALID => true,
        _ => instruction.cpuid_features().iter().any(is_unknown_to_interpreter),
    }
}

/// The plain 128-bit moves are interpreted, their VEX and EVEX forms are not.
fn is_wide(instruction: &Instruction) -> bool {
    !instruction
        .cpuid_features()
        .iter()
        .all(|feature| matches!(feature, CpuidFeature::SSE | CpuidFeature::SSE2))
}

/// An allow-list: what is not on it (SSE, x87, POPCNT, MOVBE, XSAVE, SMAP, ...) is refused.
fn is_unknown_to_interpreter(feature: &CpuidFeature) -> bool {
    !matches!(
        feature,
        CpuidFeature::INTEL8086
            | CpuidFeature::INTEL186
            | CpuidFeature::INTEL286
            | CpuidFeature::INTEL386
            | CpuidFeature::INTEL486
            | CpuidFeature::X64
            | CpuidFeature::CPUID
            | CpuidFeature::MSR
            | CpuidFeature::TSC
            | CpuidFeature::CMOV
            | CpuidFeature::CX8
            | CpuidFeature::FXSR
            | CpuidFeature::MULTIBYTENOP
            | CpuidFeature::PAUSE
            | CpuidFeature::SYSCALL
            | CpuidFeature::RDRAND
            | CpuidFeature::BMI1
            | CpuidFeature::LZCNT
    )
}
