//! The one CPUID table: the features of the host's processor that guests see, on every target.
//!
//! Default-deny: a bit passes only if it is named here. A feature is shown only if the state it
//! needs (XSAVE components, MSRs) is switched between VMs.

use alloc::vec::Vec;

pub(crate) mod permitted;
mod topology;

pub use permitted::Permitted;
pub use topology::for_processor;

/// EAX, EBX, ECX and EDX after CPUID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CpuidResult {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// One row of a guest's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuidEntry {
    /// EAX before CPUID.
    pub leaf: u32,
    /// ECX before CPUID, where the leaf has subleaves.
    pub subleaf: Option<u32>,
    /// What the guest gets.
    pub result: CpuidResult,
}

/// What a machine adds to what its host's processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuidFeatures {
    /// There is a local APIC, with x2APIC mode.
    pub has_local_apic: bool,
    /// Writes to IA32_TSC_DEADLINE reach that APIC's timer.
    pub has_tsc_deadline: bool,
    /// Rate of the time-stamp counter, Hz; 0 if unknown.
    pub tsc_hz: u64,
    /// Processors of the machine, at least 1; more have local APICs.
    pub processors: u8,
}

/// Leaf 1, ECX: SSE3, PCLMULQDQ, SSSE3, FMA, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, XSAVE,
/// AVX, F16C, RDRAND.
const LEAF_1_ECX: u32 = bits(&[0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 28, 29, 30]);
/// Leaf 1, ECX: x2APIC.
const LEAF_1_ECX_X2APIC: u32 = bits(&[21]);
/// Leaf 1, ECX: TSC deadline. Only where the counter's rate is known.
const LEAF_1_ECX_TSC_DEADLINE: u32 = bits(&[24]);
/// Leaf 1, ECX: a hypervisor is present.
const LEAF_1_ECX_HYPERVISOR: u32 = bits(&[31]);
/// Leaf 1, EDX: FPU, DE, PSE, TSC, MSR, PAE, CX8, SEP, PGE, CMOV, PAT, PSE-36, CLFSH, MMX, FXSR,
/// SSE, SSE2. No MTRR and no machine check: the machine has none.
const LEAF_1_EDX: u32 = bits(&[0, 2, 3, 4, 5, 6, 8, 11, 13, 15, 16, 17, 19, 23, 24, 25, 26]);
/// Leaf 1, EDX: APIC.
const LEAF_1_EDX_APIC: u32 = bits(&[9]);
/// Leaf 7, EBX: FSGSBASE, BMI1, AVX2, SMEP, BMI2, ERMS, INVPCID, AVX512F, AVX512DQ, RDSEED, ADX,
/// SMAP, AVX512IFMA, CLFLUSHOPT, CLWB, AVX512CD, SHA, AVX512BW, AVX512VL.
const LEAF_7_EBX: u32 =
    bits(&[0, 3, 5, 7, 8, 9, 10, 16, 17, 18, 19, 20, 21, 23, 24, 28, 29, 30, 31]);
/// Leaf 7, ECX: AVX512VBMI, UMIP, AVX512VBMI2, GFNI, VAES, VPCLMULQDQ, AVX512VNNI, AVX512BITALG,
/// AVX512VPOPCNTDQ, RDPID.
const LEAF_7_ECX: u32 = bits(&[1, 2, 6, 8, 9, 10, 11, 12, 14, 22]);
/// Leaf 7, EDX: FSRM.
const LEAF_7_EDX: u32 = bits(&[4]);
/// Leaf 0x80000001, ECX: LAHF, ABM, SSE4A, MISALIGNSSE, 3DNOWPREFETCH.
const LEAF_8_1_ECX: u32 = bits(&[0, 5, 6, 7, 8]);
/// Leaf 0x80000001, EDX: SYSCALL, NX, PDPE1GB, RDTSCP, LM, and AMD's copies of leaf 1.
const LEAF_8_1_EDX: u32 = bits(&[11, 20, 26, 27, 29]) | (LEAF_1_EDX & 0x0183_f3ff);
/// Leaf 0x80000007, EDX: invariant TSC.
const LEAF_8_7_EDX: u32 = bits(&[8]);

/// Leaf 0xd, subleaf 1, EAX: XSAVEOPT, XSAVEC, XGETBV with ECX 1, XSAVES.
const LEAF_D_1_EAX: u32 = bits(&[0, 1, 2, 3]);
/// Of these, those with a compacted format, whose size is in EBX: XSAVEC, XSAVES.
const LEAF_D_1_COMPACTED: u32 = bits(&[1, 3]);

/// KVM's signature lies where every guest that supports KVM looks, even one that looks at one leaf
/// only.
const KVM_LEAF: u32 = 0x4000_0000;
/// Rates in kHz: the TSC in EAX, the local APIC timer in EBX.
const HYPERVISOR_RATES_LEAF: u32 = 0x4000_0010;
/// Tandem's own signature: hypervisors that offer several interfaces put them 0x100 apart.
const TANDEM_LEAF: u32 = 0x4000_0100;
/// Features of [`crate::machine`] (Linux Documentation/virt/kvm/x86/cpuid.rst): NOP_IO_DELAY,
/// CLOCKSOURCE2, STEAL_TIME, CLOCKSOURCE_STABLE_BIT.
const KVM_FEATURES: u32 = bits(&[1, 3, 5, 24]);
/// The same where the counter's rate, which the clock needs, is unknown.
const KVM_FEATURES_WITHOUT_CLOCK: u32 = bits(&[1, 5]);
const EXTENDED_LEAF: u32 = 0x8000_0000;
/// The highest basic leaf shown: processor frequency.
const MAX_BASIC_LEAF: u32 = 0x16;
/// The highest extended leaf shown: address sizes.
const MAX_EXTENDED_LEAF: u32 = 0x8000_0008;
/// XSAVE components that guests may have: x87, SSE, AVX, AVX-512 (three). Not PKRU, as PKU is
/// hidden; not MPX, which left the architecture; not AMX, whose tiles are larger than all else
/// together; and nothing supervisory (IA32_XSS).
pub const XSAVE_COMPONENTS: u64 = 0b1110_0111;
/// Bytes of an XSAVE area with x87 and SSE: the legacy region and the header (SDM vol. 1, 13.4).
const XSAVE_LEGACY_BYTES: u32 = 576;

const fn bits(positions: &[u32]) -> u32 {
    let mut mask = 0;
    let mut index = 0;
    while index < positions.len() {
        mask |= 1 << positions[index];
        index += 1;
    }
    mask
}

/// The table of a guest's processor 0, its leaves in ascending order, from what the host's
/// processor (or its KVM) answers to `host(leaf, subleaf)`. The other processors' follow from it by
/// [`for_processor`].
#[must_use]
pub fn table(features: CpuidFeatures, host: impl Fn(u32, u32) -> CpuidResult) -> Vec<CpuidEntry> {
    let mut table = Vec::new();
    let mut row = |leaf, subleaf, result| table.push(CpuidEntry { leaf, subleaf, result });
    let vendor = host(0, 0);
    row(0, None, CpuidResult { eax: MAX_BASIC_LEAF, ..vendor });
    row(1, None, leaf_1(features, host(1, 0)));
    row(7, Some(0), leaf_7(host(7, 0)));
    for (subleaf, result) in xsave_leaves(&host) {
        row(0xd, Some(subleaf), result);
    }
    row(0x15, None, leaf_15(features.tsc_hz));
    row(0x16, None, leaf_16(features.tsc_hz));
    row(KVM_LEAF, None, signature(*b"KVMKVMKVM\0\0\0", HYPERVISOR_RATES_LEAF));
    let eax = if features.tsc_hz > 0 { KVM_FEATURES } else { KVM_FEATURES_WITHOUT_CLOCK };
    row(KVM_LEAF + 1, None, CpuidResult { eax, ..CpuidResult::default() });
    row(HYPERVISOR_RATES_LEAF, None, rates_leaf(features.tsc_hz));
    row(TANDEM_LEAF, None, signature(*b"TandemTandem", TANDEM_LEAF));
    row(EXTENDED_LEAF, None, CpuidResult { eax: MAX_EXTENDED_LEAF, ..vendor });
    let extended = host(EXTENDED_LEAF + 1, 0);
    let (ecx, edx) = (extended.ecx & LEAF_8_1_ECX, extended.edx & LEAF_8_1_EDX);
    row(EXTENDED_LEAF + 1, None, CpuidResult { eax: extended.eax, ebx: 0, ecx, edx });
    for leaf in EXTENDED_LEAF + 2..=EXTENDED_LEAF + 4 {
        row(leaf, None, host(leaf, 0));
    }
    let edx = host(EXTENDED_LEAF + 7, 0).edx & LEAF_8_7_EDX;
    row(EXTENDED_LEAF + 7, None, CpuidResult { edx, ..CpuidResult::default() });
    let eax = host(EXTENDED_LEAF + 8, 0).eax & 0xffff;
    row(EXTENDED_LEAF + 8, None, CpuidResult { eax, ..CpuidResult::default() });
    topology::describe(&mut table, features.processors, host);
    table
}

/// EBX of leaf 0xd, `subleaf` 0 or 1, for a guest whose XCR0 is `xcr0` and IA32_XSS 0: bytes of an
/// XSAVE area with the components that are enabled, in the standard and in the compacted format
/// (SDM vol. 1, 13.4.2, 13.4.3).
#[must_use]
pub fn xsave_bytes(table: &[CpuidEntry], subleaf: u32, xcr0: u64) -> u32 {
    /// ECX of a component: it begins at a multiple of 64 in the compacted format.
    const IS_ALIGNED: u32 = 1 << 1;
    let shown = lookup(table, 0xd, subleaf);
    let has_size = if subleaf == 0 { shown.eax != 0 } else { shown.eax & LEAF_D_1_COMPACTED != 0 };
    if !has_size {
        return 0;
    }
    let components = (2..64).filter(|component| xcr0 >> component & 1 != 0);
    components.map(|component| lookup(table, 0xd, component)).fold(
        XSAVE_LEGACY_BYTES,
        |end, row| {
            let CpuidResult { eax: bytes, ebx: begin, ecx, .. } = row;
            match subleaf {
                0 => end.max(begin.saturating_add(bytes)),
                _ if ecx & IS_ALIGNED != 0 => end.next_multiple_of(64).saturating_add(bytes),
                _ => end.saturating_add(bytes),
            }
        },
    )
}

/// What a guest with `table` gets from CPUID; zeros where the table has nothing.
#[must_use]
pub fn lookup(table: &[CpuidEntry], leaf: u32, subleaf: u32) -> CpuidResult {
    let first = table.partition_point(|row| row.leaf < leaf);
    let mut rows = table[first..].iter().take_while(|row| row.leaf == leaf);
    let row = rows.find(|row| row.subleaf.is_none_or(|of_row| of_row == subleaf));
    row.map(|row| row.result).unwrap_or_default()
}

/// Leaf 0xd: the components whose features are shown, and the sizes that follow from them, as with
/// XCR0 after reset; a backend makes EBX follow XCR0 (SDM vol. 2, CPUID).
fn xsave_leaves(host: impl Fn(u32, u32) -> CpuidResult) -> Vec<(u32, CpuidResult)> {
    const XSAVE: u32 = 26;
    const AVX: u32 = 28;
    const AVX512F: u32 = 16;
    let (features, extended) = (host(1, 0), host(7, 0));
    if features.ecx >> XSAVE & 1 == 0 {
        return Vec::new();
    }
    let component = |is_shown: u32, bits: u64| if is_shown & 1 != 0 { bits } else { 0 };
    let avx = component(features.ecx >> AVX, 0b100);
    let avx512 = component(extended.ebx >> AVX512F & features.ecx >> AVX, 0b1110_0000);
    let shown = (0b11 | avx | avx512) & u64::from(host(0xd, 0).eax) & XSAVE_COMPONENTS;
    let components = (2..64).filter(|component| shown >> component & 1 != 0);
    // EAX: bytes of a component, EBX: where it begins in the standard format.
    let rows: Vec<_> = components.map(|component| (component, host(0xd, component))).collect();
    let ends = rows.iter().map(|(_, row)| row.eax.saturating_add(row.ebx));
    let ecx = ends.chain([XSAVE_LEGACY_BYTES]).max().unwrap_or(0);
    let all = CpuidResult { eax: shown as u32, ebx: XSAVE_LEGACY_BYTES, ecx, edx: 0 };
    let features = host(0xd, 1);
    // Bochs 2.7 shows the compacted format without a size for it, and a Linux that uses it loses
    // vector registers: where the size is missing, so is the format.
    let has_compacted = features.ebx != 0;
    let hidden = if has_compacted { 0 } else { LEAF_D_1_COMPACTED };
    let eax = features.eax & LEAF_D_1_EAX & !hidden;
    let ebx = if eax & LEAF_D_1_COMPACTED != 0 { XSAVE_LEGACY_BYTES } else { 0 };
    let compacted = CpuidResult { eax, ebx, ecx: 0, edx: 0 };
    [(0, all), (1, compacted)].into_iter().chain(rows).collect()
}

/// MAXPHYADDR as a guest with `table` sees it, bits: 32 to 52 (SDM vol. 3, 4.1.4).
#[must_use]
pub fn physical_address_bits(table: &[CpuidEntry]) -> u8 {
    match lookup(table, EXTENDED_LEAF + 8, 0).eax as u8 {
        // Where the leaf is missing, all processors with PAE have 36.
        0 => 36,
        bits => bits.clamp(32, 52),
    }
}

fn leaf_1(features: CpuidFeatures, host: CpuidResult) -> CpuidResult {
    /// EBX\[15:8\]: CLFLUSH line size. The rest is that of one processor.
    const CLFLUSH: u32 = 0xff00;
    /// EBX\[23:16\]: one logical processor.
    const ONE_PROCESSOR: u32 = 1 << 16;
    let mut result = CpuidResult {
        eax: host.eax,
        ebx: (host.ebx & CLFLUSH) | ONE_PROCESSOR,
        ecx: (host.ecx & LEAF_1_ECX) | LEAF_1_ECX_HYPERVISOR,
        edx: host.edx & LEAF_1_EDX,
    };
    if features.has_local_apic {
        result.ecx |= LEAF_1_ECX_X2APIC;
        let has_deadline = features.has_tsc_deadline && features.tsc_hz > 0;
        result.ecx |= if has_deadline { LEAF_1_ECX_TSC_DEADLINE } else { 0 };
        result.edx |= LEAF_1_EDX_APIC;
    }
    result
}

fn leaf_7(host: CpuidResult) -> CpuidResult {
    CpuidResult {
        eax: 0,
        ebx: host.ebx & LEAF_7_EBX,
        ecx: host.ecx & LEAF_7_ECX,
        edx: host.edx & LEAF_7_EDX,
    }
}

/// TSC rate = ECX x EBX / EAX, where ECX, the crystal's rate, is also the local APIC timer's (SDM
/// vol. 2, CPUID leaf 0x15). Guests need the leaf, because calibration is unreliable on a shared
/// core.
///
/// Kernels multiply the crystal's kHz by EBX in 32 bits (Linux, `native_calibrate_tsc`) and do not
/// refine the result: this is the best fraction whose product fits.
fn leaf_15(tsc_hz: u64) -> CpuidResult {
    use devices::lapic::TIMER_HZ;
    const MAX_NUMERATOR: u64 = u32::MAX as u64 / (TIMER_HZ / 1000);
    let fraction = |numerator: u64| {
        let scaled = numerator * TIMER_HZ;
        let denominator = (scaled + tsc_hz / 2) / tsc_hz;
        (numerator, denominator, scaled.abs_diff(denominator * tsc_hz))
    };
    let is_better = |a: (u64, u64, u64), b: (u64, u64, u64)| {
        u128::from(a.2) * u128::from(b.1) < u128::from(b.2) * u128::from(a.1)
    };
    let is_in_reach =
        |&(_, denominator, _): &(u64, u64, u64)| (1..=u64::from(u32::MAX)).contains(&denominator);
    // At most some 4 THz, so that the arithmetic stays in 64 bits.
    let last = if (1..1 << 42).contains(&tsc_hz) { MAX_NUMERATOR } else { 0 };
    let best = (1..=last)
        .map(fraction)
        .filter(is_in_reach)
        .reduce(|best, other| if is_better(other, best) { other } else { best });
    best.map_or_else(CpuidResult::default, |(numerator, denominator, _)| CpuidResult {
        eax: denominator as u32,
        ebx: numerator as u32,
        ecx: TIMER_HZ as u32,
        edx: 0,
    })
}

/// Frequencies in MHz. Guests take EAX as the TSC's rate: it is, or it is 0.
fn leaf_16(tsc_hz: u64) -> CpuidResult {
    let mhz = u32::try_from((tsc_hz + 500_000) / 1_000_000).unwrap_or(0);
    CpuidResult { eax: mhz, ebx: mhz, ecx: 0, edx: 0 }
}

/// A hypervisor's name, and its highest leaf.
fn signature(name: [u8; 12], highest: u32) -> CpuidResult {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = name;
    let [ebx, ecx, edx] = [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_le_bytes);
    CpuidResult { eax: highest, ebx, ecx, edx }
}

fn rates_leaf(tsc_hz: u64) -> CpuidResult {
    CpuidResult {
        eax: u32::try_from(tsc_hz / 1000).unwrap_or(0),
        ebx: devices::lapic::TIMER_HZ as u32 / 1000,
        ecx: 0,
        edx: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const FEATURES: CpuidFeatures = CpuidFeatures {
        has_local_apic: true,
        has_tsc_deadline: true,
        tsc_hz: 2_445_432_000,
        processors: 1,
    };

    pub(super) fn everything(_: u32, _: u32) -> CpuidResult {
        CpuidResult { eax: !0, ebx: !0, ecx: !0, edx: !0 }
    }

    #[test]
    fn virtualization_and_monitoring_are_never_shown() {
        let table = table(FEATURES, everything);
        let leaf_1 = lookup(&table, 1, 0);
        assert_eq!(leaf_1.ecx & (1 << 5), 0, "VMX");
        assert_eq!(leaf_1.ecx & (1 << 3), 0, "MONITOR");
        assert_eq!(leaf_1.edx & (1 << 12), 0, "MTRR");
        assert_eq!(lookup(&table, 0x8000_0001, 0).ecx & (1 << 2), 0, "SVM");
    }

    #[test]
    fn a_machine_without_local_apic_shows_none() {
        let features = CpuidFeatures { has_local_apic: false, ..FEATURES };
        let leaf_1 = lookup(&table(features, everything), 1, 0);
        assert_eq!((leaf_1.edx & (1 << 9), leaf_1.ecx & (1 << 21 | 1 << 24)), (0, 0));
    }

    #[test]
    fn a_deadline_is_offered_where_it_works() {
        let has_deadline = |features| lookup(&table(features, everything), 1, 0).ecx >> 24 & 1 == 1;
        assert!(has_deadline(FEATURES));
        assert!(!has_deadline(CpuidFeatures { has_tsc_deadline: false, ..FEATURES }));
        assert!(!has_deadline(CpuidFeatures { tsc_hz: 0, ..FEATURES }));
    }

    #[test]
    fn the_tsc_rate_is_told_truly() {
        let table = table(FEATURES, everything);
        let ratio = lookup(&table, 0x15, 0);
        let hz = u64::from(ratio.ecx) * u64::from(ratio.ebx) / u64::from(ratio.eax);
        assert_eq!((ratio.ebx, ratio.eax, hz), (3025, 1237, 2_445_432_497), "of 2,445,432,000");
        assert_eq!(lookup(&table, 0x16, 0).eax, 2445);
        assert_eq!(lookup(&table, 0x4000_0010, 0).eax, 2_445_432);
    }

    /// Linux's native_calibrate_tsc: unsigned int throughout.
    fn calibrated_khz(leaf: CpuidResult) -> Option<u32> {
        let crystal_khz = leaf.ecx / 1000;
        crystal_khz.checked_mul(leaf.ebx)?.checked_div(leaf.eax)
    }

    #[test]
    fn kernels_find_the_tsc_rate_in_leaf_0x15_with_32_bit_arithmetic() {
        let known = [
            (20_000_000, (1, 50), 20_000),
            (1_000_000_000, (1, 1), 1_000_000),
            (2_400_000_000, (12, 5), 2_400_000),
            (2_596_000_000, (649, 250), 2_596_000),
            (4_294_000_000, (2147, 500), 4_294_000),
        ];
        for (hz, (numerator, denominator), khz) in known {
            let leaf = leaf_15(hz);
            assert_eq!((leaf.ebx, leaf.eax, leaf.ecx), (numerator, denominator, 1_000_000_000));
            assert_eq!(calibrated_khz(leaf), Some(khz));
        }
        // The next fraction lies at most one 4,294th of the rate away, and 1 kHz is cut off.
        for hz in (1..2000_u64).map(|n| n * n * 1_500 + n * 1_009).filter(|hz| *hz >= 10_000_000) {
            let khz = calibrated_khz(leaf_15(hz)).expect("no overflow");
            let error_hz = (u64::from(khz) * 1000).abs_diff(hz);
            assert!(error_hz <= hz / (2 * 4294) + 1000, "{khz} kHz for {hz} Hz");
        }
    }

    #[test]
    fn a_rate_beyond_leaf_0x15_is_not_told_there() {
        for hz in [0, 1 << 42, u64::MAX] {
            assert_eq!(leaf_15(hz), CpuidResult::default(), "{hz}");
        }
        // 4.3 THz is 4,294 times the crystal's; the slowest counter is a fraction of 32 bits, too.
        assert_eq!(calibrated_khz(leaf_15(1_000)), Some(1));
    }

    #[test]
    fn an_unknown_rate_is_told_as_zero() {
        let table = table(CpuidFeatures { tsc_hz: 0, ..FEATURES }, everything);
        assert_eq!(lookup(&table, 0x15, 0), CpuidResult::default());
        assert_eq!(lookup(&table, 0x16, 0).eax, 0);
    }

    #[test]
    fn only_xsave_components_that_are_switched_are_shown() {
        let table = table(FEATURES, everything);
        let all = lookup(&table, 0xd, 0);
        assert_eq!((all.eax, all.edx), (0xe7, 0));
        let supervisory = lookup(&table, 0xd, 1);
        assert_eq!((supervisory.ecx, supervisory.edx), (0, 0));
        let shown = (2..64).filter(|n| lookup(&table, 0xd, *n) != CpuidResult::default());
        assert_eq!(shown.collect::<Vec<u32>>(), [2, 5, 6, 7]);
    }

    /// AVX and AVX-512 as every processor lays them out; PKRU besides.
    fn processor(leaf_1_ecx: u32, leaf_7_ebx: u32, leaf_d_1: u32) -> Vec<CpuidEntry> {
        let none = CpuidResult::default();
        table(FEATURES, move |leaf, subleaf| match (leaf, subleaf) {
            (1, _) => CpuidResult { ecx: leaf_1_ecx, ..none },
            (7, 0) => CpuidResult { ebx: leaf_7_ebx, ecx: 1 << 3, ..none },
            (0xd, 0) => CpuidResult { eax: 0x2e7, ebx: 832, ecx: 2696, ..none },
            (0xd, 1) => CpuidResult { eax: leaf_d_1, ebx: 832, ..none },
            (0xd, 2) => CpuidResult { eax: 256, ebx: 576, ..none },
            (0xd, 5) => CpuidResult { eax: 64, ebx: 1088, ..none },
            (0xd, 6) => CpuidResult { eax: 512, ebx: 1152, ..none },
            (0xd, 7) => CpuidResult { eax: 1024, ebx: 1664, ..none },
            (0xd, 9) => CpuidResult { eax: 8, ebx: 2688, ..none },
            _ => none,
        })
    }

    #[test]
    fn xsave_sizes_follow_the_components_that_are_shown() {
        let check = |ecx, ebx, leaf_d_1, all: (u32, u32, u32), compacted: u32| {
            let table = processor(ecx, ebx, leaf_d_1);
            let leaf = lookup(&table, 0xd, 0);
            assert_eq!((leaf.eax, leaf.ebx, leaf.ecx), all);
            assert_eq!(lookup(&table, 0xd, 1).ebx, compacted);
        };
        check(1 << 26 | 1 << 28, 1 << 16, 0b1111, (0xe7, 576, 2688), 576);
        check(1 << 26 | 1 << 28, 0, 0b0001, (0x7, 576, 832), 0);
        check(1 << 26, 1 << 16, 0b0010, (0x3, 576, 576), 576);
        check(1 << 28, 0, 0b1111, (0, 0, 0), 0);
    }

    #[test]
    fn a_compacted_format_without_a_size_is_hidden() {
        let table = table(FEATURES, |leaf, subleaf| match (leaf, subleaf) {
            (0xd, 1) => CpuidResult { ebx: 0, ..everything(leaf, subleaf) },
            _ => everything(leaf, subleaf),
        });
        let leaf = lookup(&table, 0xd, 1);
        assert_eq!((leaf.eax, leaf.ebx), (0b0101, 0), "XSAVEOPT, XGETBV with ECX 1");
    }

    #[test]
    fn xsave_sizes_follow_xcr0() {
        let table = processor(1 << 26 | 1 << 28, 1 << 16, 0b1111);
        for (xcr0, standard, compacted) in
            [(1, 576, 576), (3, 576, 576), (7, 832, 832), (0xe7, 2688, 2432)]
        {
            let sizes = [0, 1].map(|subleaf| xsave_bytes(&table, subleaf, xcr0));
            assert_eq!(sizes, [standard, compacted], "{xcr0:#x}");
        }
        let without = processor(1 << 26, 0, 0b0001);
        assert_eq!([0, 1].map(|subleaf| xsave_bytes(&without, subleaf, 3)), [576, 0]);
        assert_eq!(xsave_bytes(&processor(0, 0, 0), 0, 1), 0);
    }

    #[test]
    fn kvms_signature_comes_first_and_ours_behind_it() {
        let table = table(FEATURES, everything);
        let name = |leaf| {
            let CpuidResult { ebx, ecx, edx, .. } = lookup(&table, leaf, 0);
            [ebx, ecx, edx].map(u32::to_le_bytes).concat()
        };
        assert_eq!(name(0x4000_0000), b"KVMKVMKVM\0\0\0");
        assert_eq!(name(0x4000_0100), b"TandemTandem");
        assert_eq!(lookup(&table, 0x4000_0001, 0).eax, 0x0100_002a);
    }

    #[test]
    fn leaves_are_in_ascending_order() {
        let table = table(FEATURES, everything);
        assert!(table.is_sorted_by_key(|row| (row.leaf, row.subleaf)));
    }

    #[test]
    fn leaves_that_are_not_listed_are_zero() {
        let table = table(FEATURES, everything);
        assert_eq!(lookup(&table, 0xa, 0), CpuidResult::default());
        assert_eq!(lookup(&table, 7, 1), CpuidResult::default());
    }
}
