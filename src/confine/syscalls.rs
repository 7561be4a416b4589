//! Filters of system calls.
//!
//! The daemon has two. The first ends the process at a call that only an intruder would make: to
//! execute, to look into other processes, to change what is mounted. The second lists the calls
//! that the daemon needs. A call on neither list gets ENOSYS, the answer of a kernel without it. A
//! C library that tries a new call first expects that answer, so an update of it breaks nothing.
//!
//! `confine` calls it; it calls no other room.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::SeccompCmpOp::{self, Eq};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

/// Calls that the daemon makes with any arguments: those of its own code, of the C
/// library (glibc or musl) in name lookups, threads, memory and time, and of the dynamic loader
/// for glibc's resolver modules.
const NEEDED: &[c_long] = &[
    // Descriptors.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    // Files, which Landlock restricts.
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_faccessat,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_unlinkat,
    // Sockets. How one is made and how it sends is restricted below.
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    // Memory. What may be executed is restricted below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mlock,
    // Threads.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_membarrier,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    // Time, random numbers, the machine.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_uname,
    libc::SYS_sysinfo,
];

/// The same calls under older names, which other processors do not have.
#[cfg(target_arch = "x86_64")]
const NEEDED_HERE: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_poll,
    libc::SYS_dup2,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const NEEDED_HERE: &[c_long] = &[];

/// Calls that end the daemon: nothing in it makes one, so an intruder does.
const HOSTILE: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
];

/// Calls that administer a kernel, or help to break into it. No MCP server needs them; debuggers,
/// sandboxes, browsers and language runtimes do without. Key rings are not here: Kerberos may keep
/// its tickets there.
const ADMINISTRATION: &[c_long] = &[
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// Requests about the process: a thread's name, what the kernel told it at its start.
const PRCTLS: [c_int; 2] = [15, 0x4155_5856];

/// Requests to a descriptor: not to block, to close on execute, how much can be read, whether it
/// is a terminal, how large the terminal is.
const IOCTLS: [c_int; 5] = [0x5421, 0x5451, 0x541B, 0x5401, 0x5413];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Restricts every thread of this process to the system calls that the daemon needs.
pub(super) fn of_the_daemon() -> Result<(), String> {
    let hostile = HOSTILE.iter().chain(ADMINISTRATION);
    install(any(hostile), SeccompAction::Allow, SeccompAction::KillProcess)?;
    let mut needed = any(NEEDED.iter().chain(NEEDED_HERE));
    needed.extend(with_arguments().map_err(|error| error.to_string())?);
    install(needed, SeccompAction::Errno(libc::ENOSYS.cast_unsigned()), SeccompAction::Allow)
}

/// Takes the calls of [`ADMINISTRATION`] from this process and its children.
pub(super) fn of_the_launcher() -> Result<(), String> {
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    install(any(ADMINISTRATION.iter()), SeccompAction::Allow, refused)
}

/// These calls, with any arguments.
fn any<'a>(calls: impl Iterator<Item = &'a c_long>) -> Rules {
    calls.map(|call| (*call, Vec::new())).collect()
}

/// Calls that are needed in some forms only.
fn with_arguments() -> seccompiler::Result<Rules> {
    let only =
        |argument, operator, value| rule(&[(argument, operator, value)]).map(|rule| vec![rule]);
    let each = |argument, values: &[c_int]| {
        values.iter().map(|value| rule(&[(argument, Eq, *value)])).collect::<Result<Vec<_>, _>>()
    };
    // No send may open a connection (TCP Fast Open), because Landlock does not check that.
    let send = |flags| only(flags, masked(libc::MSG_FASTOPEN), 0);
    // Memory may be written or executed, never both, and never made executable later.
    let (write, execute) = (libc::PROT_WRITE, libc::PROT_EXEC);
    let map = [0, write, execute].map(|bits| rule(&[(2, masked(write | execute), bits)]));
    // Reading a limit, not setting one: the new limit is no pointer.
    let no_pointer = SeccompCondition::new(2, SeccompCmpArgLen::Qword, Eq, 0)?;
    Ok(Rules::from([
        (libc::SYS_socket, sockets()?),
        (libc::SYS_sendto, send(3)?),
        (libc::SYS_sendmsg, send(2)?),
        (libc::SYS_sendmmsg, send(3)?),
        // A thread, not a process. `clone3` keeps its flags where no filter can look: it is
        // refused, and the C library takes this call instead.
        (libc::SYS_clone, only(0, masked(libc::CLONE_THREAD), libc::CLONE_THREAD)?),
        (libc::SYS_mmap, map.into_iter().collect::<Result<_, _>>()?),
        (libc::SYS_mprotect, only(2, masked(execute), 0)?),
        // An abort is a signal to oneself.
        (libc::SYS_tgkill, each(0, &[std::process::id().cast_signed()])?),
        (libc::SYS_prctl, each(0, &PRCTLS)?),
        (libc::SYS_prlimit64, vec![SeccompRule::new(vec![no_pointer])?]),
        (libc::SYS_ioctl, each(1, &IOCTLS)?),
    ]))
}

/// No raw sockets, no exotic families, and not the TCP that Landlock does not see (MPTCP).
fn sockets() -> seccompiler::Result<Vec<SeccompRule>> {
    let mut sockets = Vec::new();
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
        for form in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            for protocol in [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP] {
                // The upper bits of a type are flags.
                sockets.push(rule(&[(0, Eq, family), (1, masked(0xf), form), (2, Eq, protocol)])?);
            }
        }
    }
    // A C library asks it for the addresses of this host. It is called raw, and is not.
    sockets.push(rule(&[(0, Eq, libc::AF_NETLINK), (2, Eq, libc::NETLINK_ROUTE)])?);
    Ok(sockets)
}

/// A call with these arguments: which one, how it is compared, and the value.
fn rule(arguments: &[(u8, SeccompCmpOp, c_int)]) -> seccompiler::Result<SeccompRule> {
    let conditions = arguments.iter().map(|(argument, operator, value)| {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator.clone(), value)
    });
    Ok(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?)
}

/// Equal in these bits.
fn masked(bits: c_int) -> SeccompCmpOp {
    SeccompCmpOp::MaskedEq(u64::from(bits.cast_unsigned()))
}

fn install(rules: Rules, otherwise: SeccompAction, listed: SeccompAction) -> Result<(), String> {
    let processor = std::env::consts::ARCH;
    let target = processor.try_into().map_err(|_| format!("no filter for {processor}"))?;
    let program: BpfProgram = SeccompFilter::new(rules, otherwise, listed, target)
        .and_then(TryInto::try_into)
        .map_err(|error| error.to_string())?;
    apply_filter_all_threads(&program).map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => {
            format!("the system refuses a filter: {error}")
        }
        other => other.to_string(),
    })
}
