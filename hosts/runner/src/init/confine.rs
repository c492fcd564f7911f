//! Takes from pid 1, and so from everything it will start, what no build needs: capabilities, system calls
//! that open kernel surface, device nodes and signals to the outside.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::messages::{Failure, Step};
use crate::sys::check;

/// What installing packages and changing users inside needs; all of it reaches no further than the sandbox's
/// own user namespace. CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE,
/// SYS_CHROOT, SETFCAP by their numbers in linux/capability.h.
const KEPT: &[u32] = &[0, 1, 3, 4, 5, 6, 7, 10, 18, 31];
const LAST_CAPABILITY: u32 = 63;

/// Confines this process for good. Returns what is weaker than usual.
pub fn confine() -> Result<Vec<String>, Failure> {
    let mut weaknesses = Vec::new();
    drop_capabilities().step(|| "drop capabilities".into())?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())
        .step(|| "set no_new_privs".into())?;
    match restrict_files() {
        Ok(RulesetStatus::FullyEnforced) => {}
        Ok(_) | Err(_) => weaknesses.push(
            "Landlock is missing or old on this kernel; seccomp, namespaces and capabilities hold alone"
                .into(),
        ),
    }
    for program in filters().step(|| "compile the system call filter".into())? {
        seccompiler::apply_filter(&program).step(|| "install the system call filter".into())?;
    }
    Ok(weaknesses)
}

fn drop_capabilities() -> std::io::Result<()> {
    for capability in (0..=LAST_CAPABILITY).filter(|c| !KEPT.contains(c)) {
        // Numbers that this kernel does not know answer EINVAL: nothing to drop.
        // SAFETY: no memory is involved.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let kept: u64 = KEPT.iter().map(|c| 1u64 << c).sum();
    let (low, high) = (kept as u32, (kept >> 32) as u32);
    let data = [low, low, 0, high, high, 0];
    let header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: header and data have the layout of capset(2), version 3.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    Ok(())
}

/// No device nodes anywhere, no signals or abstract sockets to processes outside; and nothing outside the
/// inside's root may be executed, written or cut, by whatever way a process came to it. That closes the way
/// over `/proc/self/exe` to the server's own executable, which this process runs from the host's mounts: a
/// replaced shell could lead there (CVE-2019-5736). Handling any file right denies renames across folders
/// unless `Refer` is allowed on `/`.
fn restrict_files() -> Result<RulesetStatus, Box<dyn std::error::Error>> {
    let beneath = AccessFs::Refer | AccessFs::Execute | AccessFs::WriteFile | AccessFs::Truncate;
    let handled: BitFlags<AccessFs> = AccessFs::MakeChar | AccessFs::MakeBlock | beneath;
    debug_assert!(AccessFs::from_all(ABI::V6).contains(handled));
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(handled)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new("/")?, beneath))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// New in Linux 6.15, the same number on every architecture: `open_tree` with attributes.
const OPEN_TREE_ATTR: libc::c_long = 467;

/// Denied with EPERM.
const DENIED: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_perf_event_open,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_userfaultfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
    libc::SYS_kcmp,
    libc::SYS_process_madvise,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
    libc::SYS_set_mempolicy_home_node,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
];

/// Answered as if the kernel did not have them, so that callers fall back: `clone3` (whose flags a filter
/// cannot see) and io_uring.
const UNKNOWN: &[libc::c_long] =
    &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

const NEW_NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// Every set bit of these in turn: a condition compares, it does not test for "any of".
fn namespace_flags() -> impl Iterator<Item = u64> {
    (0..32).map(|bit| 1u64 << bit).filter(|bit| NEW_NAMESPACES & bit != 0)
}

/// Of the dozens of families only these: the rest is kernel surface that no build needs.
const FAMILIES: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Addresses and routes, socket statistics, audit (`useradd` gives up without it; its messages need a
/// capability), device events, generic. Not the packet filter, IPsec, crypto, storage.
const NETLINK: &[libc::c_int] = &[
    libc::NETLINK_ROUTE,
    libc::NETLINK_SOCK_DIAG,
    libc::NETLINK_AUDIT,
    libc::NETLINK_KOBJECT_UEVENT,
    libc::NETLINK_GENERIC,
];

fn differs(argument: u8, value: libc::c_int) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value as u32 as u64)
}

/// Holds when the argument is none of `values`.
fn none_of(argument: u8, values: &[libc::c_int]) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(values.iter().map(|value| differs(argument, *value)).collect::<Result<_, _>>()?)
}

/// Holds for a netlink socket of a protocol that is not in [`NETLINK`].
fn other_netlink() -> Result<SeccompRule, seccompiler::BackendError> {
    let family = libc::AF_NETLINK as u64;
    let family = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family)?;
    let protocols = NETLINK.iter().map(|protocol| differs(2, *protocol));
    SeccompRule::new(std::iter::once(Ok(family)).chain(protocols).collect::<Result<_, _>>()?)
}

fn filters() -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let masked = |argument, bits| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits), bits)
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let equal = |argument, value: libc::c_int| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value as u32 as u64)
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let clone = namespace_flags().map(|bit| masked(0, bit)).collect::<Result<_, _>>()?;
    denied.insert(libc::SYS_clone, clone);
    // Typing into another process's terminal.
    let (tiocsti, tioclinux) = (libc::TIOCSTI as libc::c_int, libc::TIOCLINUX as libc::c_int);
    denied.insert(libc::SYS_ioctl, vec![equal(1, tiocsti)?, equal(1, tioclinux)?]);
    let families = vec![none_of(0, FAMILIES)?, other_netlink()?];
    denied.insert(libc::SYS_socket, families);

    let unknown: BTreeMap<i64, Vec<SeccompRule>> = UNKNOWN.iter().map(|call| (*call, Vec::new())).collect();
    let mut programs = Vec::new();
    for (rules, error) in [(denied, libc::EPERM), (unknown, libc::ENOSYS)] {
        let action = SeccompAction::Errno(error as u32);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture())?;
        programs.push(BpfProgram::try_from(filter)?);
    }
    programs.extend(other_abi());
    Ok(programs)
}

fn architecture() -> TargetArch {
    #[cfg(target_arch = "x86_64")]
    return TargetArch::x86_64;
    #[cfg(target_arch = "aarch64")]
    return TargetArch::aarch64;
}

/// On x86-64 the x32 calls carry bit 30 in their number and would slip past a list of plain numbers.
fn other_abi() -> Option<BpfProgram> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let statement =
        |code: u32, jt: u8, jf: u8, k: u32| seccompiler::sock_filter { code: code as u16, jt, jf, k };
    let load_number = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0);
    let is_other = statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, 0x4000_0000);
    let refuse = statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
    let allow = statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW);
    Some(vec![load_number, is_other, refuse, allow])
}
