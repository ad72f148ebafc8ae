//! A guest reaches what it is granted: checked against what its control block says when it is made,
//! and once more when the run has ended.

use crate::host::power;
use alloc::format;
use alloc::string::String;
use vmm_common::grant::Reach;

/// What was read from a control block, if its guest reaches no more than is granted, and all of
/// its RAM.
///
/// # Errors
/// What does not confine it, as a message: the hypervisor is at fault, or the processor.
pub fn check(read: Result<Reach, &'static str>, granted: &Reach) -> Result<Reach, String> {
    let broken = |what: &str| {
        format!(
            "a control block does not confine its guest: {what}. This is a bug of the hypervisor"
        )
    };
    let reach = read.map_err(broken)?;
    let compared = [
        (reach.ram == granted.ram, "the RAM that its tables map is not what is granted"),
        (reach.ports == granted.ports, "a port is let pass"),
        (reach.msr_reads == granted.msr_reads, "the MSRs that it reads are not those granted"),
        (reach.msr_writes == granted.msr_writes, "the MSRs that it writes are not those granted"),
        // A processor may fix bits that are granted.
        (reach.cr0 & !granted.cr0 == 0, "a bit of CR0 is let pass"),
        (reach.cr4 & !granted.cr4 == 0, "a bit of CR4 is let pass"),
    ];
    match compared.iter().find(|(is_so, _)| !is_so) {
        Some((_, what)) => Err(broken(what)),
        None => Ok(reach),
    }
}

/// Writes it for the program that runs the emulator.
pub fn report(reach: &Reach) {
    if let Ok(json) = serde_json::to_string(reach) {
        power::debug_line(format_args!("tandem-reach: {json}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use vmm_common::grant::RamPiece;

    fn granted() -> Reach {
        Reach {
            ram: vec![RamPiece { guest: 0..0x1000, host: 0x40_0000 }],
            ports: vec![],
            msr_reads: vec![0x10],
            msr_writes: vec![0x174],
            cr0: 0b1010,
            cr4: 0b1000,
        }
    }

    #[test]
    fn a_bit_that_the_processor_fixes_is_no_fault() {
        let read = Reach { cr0: 0b0010, cr4: 0, ..granted() };
        assert_eq!(check(Ok(read.clone()), &granted()), Ok(read));
    }

    #[test]
    fn each_thing_beyond_the_grant_is_one() {
        let mut beyond = vec![granted(); 6];
        beyond[0].ram[0].host = 0x40_1000;
        beyond[1].ports.push(0x3f8);
        beyond[2].msr_reads.push(0x1b);
        beyond[3].msr_writes.clear();
        beyond[4].cr0 |= 1;
        beyond[5].cr4 |= 1;
        for read in beyond {
            assert!(check(Ok(read.clone()), &granted()).is_err(), "{read:?}");
        }
        let message = check(Err("nested paging is off"), &granted()).expect_err("it is an error");
        assert!(message.contains("nested paging is off"), "{message}");
    }
}
