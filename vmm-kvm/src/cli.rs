//! The command line.

use crate::control::protocol;
use crate::gdb::Debugged;
use crate::typed::TypedFile;
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Several virtual machines on one core, from one YAML file, over KVM.
///
/// Exit code 0: every VM ended with status 0. 1: a VM failed, or ended by a halt or reset, which
/// have no status (see on_halt, on_reset); or output, a receipt, timeline, log or tap is not
/// complete; or a lossless link lost bytes. 2: the config or the command line is wrong. 3: the host
/// refused. 128 and a signal's number: that signal ended the run, 130 for Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "vmm-kvm", version, args_conflicts_with_subcommands = true)]
#[command(subcommand_precedence_over_arg = true)]
pub struct Arguments {
    /// What to do; `run` if it is left out.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What to run.
    #[command(flatten)]
    pub run: Option<Run>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the VMs of a config and print the receipt
    Run(Run),
    /// Report every fault of a config, or what it would run
    Check {
        /// The YAML file
        config: PathBuf,
    },
    /// Pack a config into the seed's config.bin
    Compile {
        /// The YAML file
        config: PathBuf,
        /// The file to write, of 4096 bytes
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Print a JSON Schema: of the YAML, for editors, or of the control socket's protocol
    Schema {
        /// Of what
        #[arg(value_enum, default_value_t = SchemaOf::Config)]
        of: SchemaOf,
    },
    /// Ask a run that has a control socket for something
    Ctl {
        /// The run's socket: what its --control says
        socket: PathBuf,
        /// list, stats or end; or pause, resume, restart, stop, nmi, dump or toggle, with VMs
        #[arg(value_parser = PossibleValuesParser::new(protocol::command_names()))]
        command: String,
        /// The names of VMs
        vms: Vec<String>,
    },
    /// List the built-in guests, what each does and its parameters
    Guests,
}

/// What a schema is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// The YAML.
    Config,
    /// The control socket's protocol.
    Control,
}

/// A run.
#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    /// The YAML file
    pub config: PathBuf,
    /// Run on this core of the host [default: the config's, or the first allowed]
    #[arg(long, value_name = "N")]
    pub core: Option<u64>,
    /// Also write the receipt as JSON
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,
    /// Write a timeline, which Perfetto opens
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Write each VM's raw output to its log, DIR/NAME.log
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// Type a file to a VM, which need not have the keyboard; may be repeated
    #[arg(long = "type", value_name = "NAME=FILE", value_parser = TypedFile::parse)]
    pub typed: Vec<TypedFile>,
    /// Let gdb reach a VM at a TCP port of 127.0.0.1 or at unix:PATH; with wait: before that, it
    /// executes nothing before gdb lets it; may be repeated
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = Debugged::parse)]
    pub gdb: Vec<Debugged>,
    /// Listen there for requests, a JSON object a line: see `vmm-kvm ctl`, `vmm-kvm schema control`
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Keep all rights: for debuggers and profilers (see SECURITY.md)
    #[arg(long)]
    pub unconfined: bool,
    /// End the run after this long, as 90s, 500ms or 2m; a number alone is in seconds
    #[arg(long, value_name = "TIME", value_parser = vmm_config::parse_time_limit_ns)]
    pub timeout: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn run_may_be_left_out() {
        let short = Arguments::try_parse_from(["vmm-kvm", "two.yml", "--core", "1"]).unwrap();
        assert_eq!(short.run.map(|run| run.core), Some(Some(1)));
        let long = Arguments::try_parse_from(["vmm-kvm", "run", "two.yml"]).unwrap();
        assert!(matches!(long.command, Some(Command::Run(_))));
    }
}
