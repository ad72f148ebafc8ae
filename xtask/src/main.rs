//! What developers run, as `cargo xtask COMMAND`.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod bare;
mod debuggers;
mod develop;
mod fuzz;
mod linux_command;
mod soak;

/// What developers run.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Formatting and lints of host and bare-metal code
    Check,
    /// All tests, with one summary at the end
    Test {
        /// Handed to cargo test
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The tests that take too long for every day: a megabyte each way between two Linux kernels,
    /// in Bochs and over Linux's KVM
    Nightly,
    /// Thousands of short runs over KVM at once: none may take long, or keep a VM waiting, unless
    /// its receipt says that the host did
    Soak(soak::Soak),
    /// libFuzzer on the loaders of kernels, on instructions and on rings, with a nightly toolchain
    Fuzz {
        /// One loader, multiboot, elf, pvh, linux or flat, instruction, or rings [default: all, one
        /// after another]
        target: Option<String>,
        /// How long for each
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// The table of ratios and the bare machine's figures; without names also into BENCHMARKS.md
    Bench {
        /// The lines of the table to measure; `bare`, which is written down too, for the bare
        /// machine
        names: Vec<String>,
    },
    /// Run a config's VMs on the bare-metal hypervisor in an emulated machine
    ///
    /// Exit code: the hypervisor's, with the meaning of vmm-kvm's. 1 if it reported none or the
    /// time limit ended the run, 2 if the config or the command line is wrong, 3 if the emulator
    /// cannot be run.
    Run(bare::Run),
    /// Write the built-in guests as files into target/guests/, for loaders of all kinds
    Guests,
    /// All that a guest may reach on bare metal, and why: what GRANT.md holds
    Grant,
    /// Write a config as an ISO that a BIOS boots
    Image(bare::Image),
    /// Fetch Debian's kernel and make a small Linux of it, in target/linux/
    Linux(linux_command::Linux),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Check => code(develop::check()),
        Command::Test { arguments } => code(develop::test(&arguments)),
        Command::Fuzz { target, seconds } => code(fuzz::run(target.as_deref(), seconds)),
        Command::Nightly => code(develop::nightly()),
        Command::Soak(soak) => code(soak::soak(&soak)),
        Command::Bench { names } => code(develop::bench(&names)),
        Command::Run(run) => ExitCode::from(bare::run(&run)),
        Command::Grant => {
            print!("{}", vmm_common::grant::page());
            ExitCode::SUCCESS
        }
        Command::Guests => code(develop::guests()),
        Command::Image(image) => ExitCode::from(bare::image(&image)),
        Command::Linux(linux) => code(linux_command::linux(&linux)),
    }
}

fn code(is_done: bool) -> ExitCode {
    if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
