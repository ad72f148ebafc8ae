//! The list of images.

/// How an image is loaded.
pub enum Kind {
    /// By the address fields of its multiboot 1 header.
    Multiboot,
    /// As it is, at 2 MiB, entered there.
    Flat,
    /// Either way.
    Both,
}

/// An image to build.
pub struct Source {
    pub name: &'static str,
    pub summary: &'static str,
    /// The crate's main file, relative to the package.
    pub source: &'static str,
    pub kind: Kind,
}

const fn single(name: &'static str, source: &'static str, summary: &'static str) -> Source {
    Source { name, summary, source, kind: Kind::Multiboot }
}

/// All images, in the order in which they are listed to users.
#[rustfmt::skip]
pub const IMAGES: &[Source] = &[
    single("os", "os/kernel/main.rs", "[COMMAND; ...] 64-bit OS with a shell"),
    single("exit_storm", "single/exit_storm.rs",
        "[N=200000] [WORD] port writes that do nothing, or what the word names"),
    single("storm_forever", "single/storm_forever.rs", "port writes without end"),
    single("hlt_loop", "single/hlt_loop.rs", "[N=500] [apic] halts through ticks of 1 kHz"),
    single("modules", "single/modules.rs", "says what its loader brought: command line, modules"),
    single("ticks", "single/ticks.rs", "[N=500] counts the ticks of every periodic timer"),
    single("kvm_clock", "single/kvm_clock.rs", "[N=200] holds KVM's clock page to its contract"),
    single("faults", "single/faults.rs", "[N=500] counts a timer's ticks amid #GPs"),
    single("spin", "single/spin.rs", "[MS=100] [loops|forever] counts in ring 3 and never exits"),
    single("console_burst", "single/console_burst.rs",
        "[N=20000] [irq] bytes of text, one OUT each"),
    single("hvc_burst", "single/hvc_burst.rs", "[N=20000] bytes of text to a virtio console"),
    single("escapes", "single/escapes.rs", "[loud] all that a terminal takes for more than text"),
    single("link_ping", "single/link_ping.rs", "[N=1000] [irq] COM2 round trips with link_pong"),
    single("link_pong", "single/link_pong.rs", "[N=1000] [irq] the other end of link_ping"),
    single("round_trip", "single/round_trip.rs",
        "[N=1000] [answer] times COM2 round trips by HLT with another of itself"),
    single("bulk_send", "single/bulk_send.rs", "[KIB=64] [SEED=1] sends data over COM2"),
    single("bulk_receive", "single/bulk_receive.rs", "[KIB=64] receives what bulk_send sends"),
    single("bulk", "single/bulk.rs", "[KIB=64] [SEED=1] both directions at once, with itself"),
    single("triple_fault", "single/triple_fault.rs", "faults without a handler"),
    single("spin_cli", "single/spin_cli.rs", "spins with interrupts off, for ever"),
    single("halt_cli", "single/halt_cli.rs", "halts with interrupts off"),
    single("endings", "single/endings.rs",
        "WAY ends as no status says: halt, keyboard, port92, cf9, ..."),
    single("bad_ports", "single/bad_ports.rs", "writes and reads every port that does not end it"),
    single("bad_msrs", "single/bad_msrs.rs", "reads and writes thousands of MSRs"),
    single("bad_memory", "single/bad_memory.rs", "touches addresses where no RAM is"),
    single("large_memory", "single/large_memory.rs", "writes and reads throughout its RAM"),
    single("bad_instructions", "single/bad_instructions.rs", "tries to be a hypervisor in ring 0"),
    single("page_faults", "single/page_faults.rs",
        "string I/O where page tables forbid it, and tables in a hole"),
    single("tasks", "single/tasks.rs", "switches tasks by hardware, in 32-bit code"),
    single("device_stream", "single/device_stream.rs",
        "[SEED=1] [STEPS=2000] [trace] random instructions on devices"),
    single("state_stream", "single/state_stream.rs",
        "[SEED=1] [STEPS=2000] [WORD...] random CR, MSR, port and string accesses"),
    single("processor", "single/processor.rs",
        "[WORD...] faults, MSRs, CPUID, CR8, NMIs at their edges"),
    single("smp", "single/smp.rs", "[untimed] starts 1 to 8 processors and checks what they do"),
    single("siblings", "single/siblings.rs",
        "[ROUNDS=100] [lock] two processors that interrupt each other, or take a lock in turn"),
    single("smp_storm", "single/smp_storm.rs",
        "[bootstrap] processors that stop, start and interrupt each other for ever"),
    single("disk", "single/disk.rs",
        "[lenient] [durable [N]] drives its disks, well and badly, and checks what they do"),
    single("net", "single/net.rs",
        "role=client|server ip=IP [peer=IP] [WORD...] drives its network beside another of itself"),
    single("text_screen", "single/text_screen.rs",
        "[stay] a 32-bit kernel that writes the text screen at 0xb8000"),
    single("keyboard", "single/keyboard.rs",
        "[irq] [set1|set2] drives the i8042's keyboard and prints what is typed"),
    single("world", "single/world.rs", "[SEED=1] [ROUNDS=200] keeps and checks every register"),
    Source {
        name: "nimble",
        summary: "[send] [receive] does what kernels of the seed's class do, entered either way",
        source: "nimble/main.rs",
        kind: Kind::Both,
    },
    Source {
        name: "flat_hello",
        summary: "raw image for 0x200000, entered there in 32-bit protected mode",
        source: "single/flat_hello.rs",
        kind: Kind::Flat,
    },
];
