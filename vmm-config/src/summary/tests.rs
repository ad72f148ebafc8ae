use super::*;
use vmm_common::seed::{SeedVm, to_plan};

const MS: u64 = 1_000_000;
/// What a turn may take besides its quantum.
const TURN: u64 = 300_000;

fn plan(shares: &[Share]) -> Plan {
    let vm =
        SeedVm { id: 0, memory: 0x100_0000, vcpu_count: 1, io_apic: 1, hpet: 0, local_apic: 1 };
    let mut plan = to_plan(&vec![vm; shares.len()]);
    for (vm, share) in plan.vms.iter_mut().zip(shares) {
        vm.share = *share;
    }
    plan
}

fn blackouts(shares: &[Share]) -> Vec<u64> {
    let plan = plan(shares);
    (0..shares.len()).map(|vm| plan.worst_blackout_ns(vm)).collect()
}

#[test]
fn a_vm_waits_for_the_turns_of_the_others() {
    assert_eq!(blackouts(&[Share::Weight(1)]), [TURN]);
    // An eighth of each turn goes to jumps, and one of them overruns in each.
    let jumps = 15 * MS / 8 + 3 * TURN;
    assert_eq!(blackouts(&[Share::Weight(1); 3]), [10 * MS + 2 * TURN + jumps; 3]);
    // A cycle of 20 ms: turns of 2, 4, 6 and 8 ms.
    let weights = [1, 2, 3, 4].map(Share::Weight);
    let jumps = 20 * MS / 8 + 4 * TURN;
    let expected = [18, 16, 14, 12].map(|turns| turns * MS + 3 * TURN + jumps);
    assert_eq!(blackouts(&weights), expected);
    // The other of two VMs jumps into this one's turn alone.
    let jumps = 5 * MS / 8 + TURN;
    assert_eq!(blackouts(&[Share::Weight(1); 2]), [5 * MS + TURN + jumps; 2]);
    // A quantum of 10 us, on which one turn's overrun is owed for 4 cycles more, and which is too
    // short for jumps.
    let tiny = blackouts(&[Share::Weight(1), Share::Weight(999)]);
    assert_eq!(tiny[0], 5 * (9_990_000 + TURN));
}

#[test]
fn budgets_come_on_top_of_the_turns() {
    let budget = Share::Budget { run_ns: 2 * MS, period_ns: 10 * MS };
    // 5 ms of the other's turn, and 2 ms at the end of a period and at the begin of the next.
    let weighted = 9 * MS + 3 * TURN + 5 * MS / 8 + TURN;
    let expected = [16 * MS + 3 * TURN, weighted, weighted];
    assert_eq!(blackouts(&[budget, Share::Weight(1), Share::Weight(1)]), expected);
    assert_eq!(blackouts(&[budget]), [8 * MS + TURN]);
}

#[test]
fn budgets_of_nearly_everything_do_not_keep_the_sum_from_ending() {
    let nearly = Share::Budget { run_ns: 9_999_999_999, period_ns: 10_000_000_000 };
    assert!(blackouts(&[nearly, Share::Weight(1)])[1] > 0);
}

#[test]
fn the_text_says_who_gets_what_and_who_talks_to_whom() {
    let mut plan = plan(&[Share::Weight(1), Share::Weight(2)]);
    plan.core = Some(3);
    plan.links[0].baud = Some(9600);
    plan.links[0].tap = Some(String::from("wire.log"));
    plan.vms[1].boot.kind = BootKind::Flat;
    plan.vms[1].boot.kernel = ImageSource::File(String::from("k.bin"));
    plan.vms[1].cmdline.clear();
    plan.vms[1].vcpu_count = 4;
    plan.vms[1].outcomes.on_reset = Outcome::Success;
    let mut text = String::new();
    write(&plan, &[BootKind::Multiboot, BootKind::Flat], &mut text).unwrap();
    let expected = "\
2 VMs with 32MiB on core 3, slice 5ms

vm0 (id 0)
  memory   16MiB, starts with the keyboard
  kernel   os (built in), multiboot 1
  cmdline  usertests; put_char; poweroff
  share    33.3% (weight 1), worst blackout 7.7ms
  without  HPET
  com1     console, link com1 while IER is 1

vm1 (id 0)
  memory   16MiB
  vcpus    4
  kernel   k.bin, raw
  share    66.7% (weight 2), worst blackout 4.8ms
  ending   a reset counts as success
  without  HPET
  com1     console, link com1 while IER is 1

link com1: vm0.com1 <-> vm1.com1, 9600 baud, lossless, tapped to wire.log
";
    assert_eq!(text, expected);
}

#[test]
fn networks_and_the_interfaces_at_them_are_listed() {
    let mut plan = plan(&[Share::Weight(1); 2]);
    let network = |name: &str| NetworkPlan { name: name.to_owned(), tap: None, pcap: None };
    plan.networks = vec![network("lan"), network("spare")];
    plan.networks[1].tap = Some(String::from("tandem0"));
    plan.networks[1].pcap = Some(String::from("a\tb.pcap"));
    for (index, is_up) in [(0, true), (1, false)] {
        let mac = NicPlan::default_mac(index as u64, 0);
        plan.vms[index].virtio.nics = vec![NicPlan { network: 0, mac, is_up }];
        plan.vms[index].name = format!("vm{index}");
    }
    let mut text = String::new();
    write(&plan, &[BootKind::Flat; 2], &mut text).expect("writing to a String cannot fail");
    assert!(text.contains("\n  net0     network lan, 02:54:00:00:00:00\n"), "{text}");
    assert!(text.contains("\n  net0     network lan, 02:54:00:00:01:00, link down\n"), "{text}");
    let networks = "
network lan: vm0.net0, vm1.net0

network spare: no interface
  tap      tandem0 of the host, over KVM alone
  pcap     \"a\\tb.pcap\", over KVM alone
";
    assert!(text.ends_with(networks), "{text}");
}
