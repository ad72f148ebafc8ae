//! The system calls that each thread of a run may make. All others end the process, with a message
//! that names the call.
//!
//! The first table has what a run does itself; the standard library and the C library add calls for
//! allocating, sleeping and ending.

use super::Role;
use crate::kvm::LOOP_REQUESTS;
use crate::sys::SET_OFFLOADS;
use anyhow::Result;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::os::fd::RawFd;

const EQUAL: SeccompCmpOp = SeccompCmpOp::Eq;

/// The loop: KVM_RUN and timers, keys, signals and output, the one core.
const LOOP: [c_long; 13] = [
    libc::SYS_timer_settime,
    libc::SYS_timer_delete,
    libc::SYS_timerfd_settime,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_getpgrp,
    libc::SYS_getpgid,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_getcpu,
    libc::SYS_clock_gettime,
    libc::SYS_ppoll,
];

/// Disks.
const DISKS: [c_long; 8] = [
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// What every thread may do with open files and with itself.
const EVERY: [c_long; 27] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_poll,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettimeofday,
    libc::SYS_clock_getres,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Requests to a terminal: its settings, its size, the group in its foreground.
const TERMINAL: [u64; 7] = [
    libc::TCGETS,
    libc::TCSETS,
    libc::TCGETS2,
    libc::TCSETS2,
    libc::TIOCGWINSZ,
    libc::TIOCGPGRP,
    libc::TIOCOUTQ,
];

/// The filter of a thread with this role.
///
/// # Errors A bug of ours: the tables do not make a filter.
pub fn filter(role: Role, has_reports: bool, taps: &[RawFd]) -> Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut allow = |calls: &[c_long]| rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    allow(&EVERY);
    if role == Role::Files {
        // A capture on a full file system is cut behind its last whole block.
        allow(&[libc::SYS_ftruncate]);
    }
    if role == Role::Vcpu {
        // Debuggers come while the VMs run.
        allow(&[libc::SYS_accept4]);
    }
    // The main thread prints when the loop is over.
    let has_loop = role != Role::Files;
    if has_loop {
        allow(&LOOP);
        allow(&DISKS);
    }
    if role == Role::Main && has_reports {
        allow(&[libc::SYS_rename, libc::SYS_unlink]);
        let new = (libc::O_CREAT | libc::O_EXCL) as u64;
        rules.insert(libc::SYS_openat, vec![rule(2, SeccompCmpOp::MaskedEq(new), new)?]);
    }
    // Panics and debug builds ask for flags, and abort by a signal to themselves.
    let process = u64::from(std::process::id());
    rules.insert(libc::SYS_fcntl, vec![equal(1, libc::F_GETFD as u64)?]);
    rules.insert(libc::SYS_tgkill, vec![equal(0, process)?]);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let executable = libc::PROT_EXEC as u64;
        rules.insert(call, vec![rule(2, SeccompCmpOp::MaskedEq(executable), 0)?]);
    }
    // KVM_RUN, the most frequent call, comes first in the filter.
    let kvm: &[u64] = if role == Role::Vcpu { &LOOP_REQUESTS } else { &[] };
    let requests = kvm.iter().chain(&TERMINAL).map(|request| equal(1, *request));
    let mut requests = requests.collect::<Result<Vec<_>>>()?;
    for tap in taps.iter().filter(|_| has_loop) {
        let conditions = [(0, *tap as u64), (1, SET_OFFLOADS)];
        let conditions = conditions.map(|(argument, value)| condition(argument, EQUAL, value));
        requests.push(SeccompRule::new(conditions.into_iter().collect::<Result<_>>()?)?);
    }
    rules.insert(libc::SYS_ioctl, requests);
    let (refused, allowed) = (SeccompAction::Trap, SeccompAction::Allow);
    let filter = SeccompFilter::new(rules, refused, allowed, TargetArch::x86_64)?;
    Ok(filter.try_into()?)
}

/// A call whose argument is this number.
fn equal(argument: u8, value: u64) -> Result<SeccompRule> {
    rule(argument, EQUAL, value)
}

/// A call whose argument, of 32 bits, compares like this with `value`.
fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule> {
    Ok(SeccompRule::new(vec![condition(argument, operator, value)?])?)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?)
}
