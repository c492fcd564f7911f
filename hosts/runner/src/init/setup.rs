//! Enters the new root and closes every door behind it.
//!
//! Order matters: the parent-death signal comes after the change of user (which clears it); the fresh `/proc`
//! comes before the old root is detached (the kernel wants to see one); capabilities go last.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::confine;
use crate::channel::Channel;
use crate::messages::{Failure, InitPlan, Step};
use crate::netlink::{Netlink, Route};
use crate::spec::Mode;
use crate::sys::{self, check};

/// Files that tell about the whole machine: they read as empty.
const MASKED: &[&str] = &[
    "proc/interrupts",
    "proc/kallsyms",
    "proc/kcore",
    "proc/key-users",
    "proc/keys",
    "proc/kmsg",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/softirqs",
    "proc/timer_list",
    "proc/timer_stats",
];
const NONE: Option<&str> = None;

/// Makes this process pid 1 of a confined sandbox in `root`. Returns what is weaker than usual.
pub fn enter(plan: &InitPlan, root: OwnedFd, channel: &Channel) -> Result<Vec<String>, Failure> {
    nix::unistd::fchdir(root.as_fd()).step(|| "enter the root".into())?;
    drop(root);
    become_inside_root(plan.mode)?;
    sys::die_with_parent().step(|| "tie to the supervisor".into())?;
    if channel.is_closed() {
        return Err(Failure { step: "set up".into(), detail: "the supervisor is gone".into(), remedy: None });
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS | nix::sched::CloneFlags::CLONE_NEWCGROUP)
        .step(|| "unshare mounts".into())?;
    own_root().step(|| "bind the root".into())?;
    mount_kernel_views()?;
    pivot()?;
    nix::unistd::sethostname(&plan.hostname).step(|| "set the hostname".into())?;
    network(plan)?;
    new_keyring();
    limits(plan)?;
    // SAFETY: no memory is involved.
    unsafe { libc::umask(0o022) };
    nix::unistd::setsid().ok();
    // SAFETY: no memory is involved.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }.into()).step(|| "hide init".into())?;
    confine::confine()
}

fn become_inside_root(mode: Mode) -> Result<(), Failure> {
    let root = (nix::unistd::Uid::from_raw(0), nix::unistd::Gid::from_raw(0));
    if mode == Mode::Root {
        nix::unistd::setgroups(&[]).step(|| "drop groups".into())?;
    }
    nix::unistd::setresgid(root.1, root.1, root.1).step(|| "set the group".into())?;
    nix::unistd::setresuid(root.0, root.0, root.0).step(|| "set the user".into())
}

/// `/proc`, terminals and message queues belong to the new namespaces, so they are mounted from within.
/// Paths are relative to the new root, where this process stands.
fn mount_kernel_views() -> Result<(), Failure> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "proc", Some("proc"), plain, NONE).step(|| "mount /proc".into())?;
    let terminals = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devpts"), "dev/pts", Some("devpts"), terminals, Some("newinstance,ptmxmode=0666,mode=0620"))
        .step(|| "mount /dev/pts".into())?;
    mount(Some("mqueue"), "dev/mqueue", Some("mqueue"), plain, NONE).step(|| "mount /dev/mqueue".into())?;
    for path in ["proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus", "proc/fs", "proc/pressure"] {
        if Path::new(path).exists() {
            read_only(path)?;
        }
    }
    for path in MASKED {
        if Path::new(path).exists() {
            mount(Some("dev/null"), *path, NONE, MsFlags::MS_BIND, NONE).step(|| format!("mask /{path}"))?;
        }
    }
    for path in ["proc/acpi", "proc/scsi", "proc/asound"] {
        if Path::new(path).exists() {
            let flags = plain | MsFlags::MS_RDONLY;
            mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("size=4k,mode=555"))
                .step(|| format!("mask /{path}"))?;
        }
    }
    Ok(())
}

fn read_only(path: &str) -> Result<(), Failure> {
    let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let flags = again | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(path), path, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .and_then(|()| mount(NONE, path, NONE, flags, NONE))
        .step(|| format!("make /{path} read-only"))
}

/// Mounts made by the supervisor are locked in this namespace, and a locked one cannot become the root: a copy
/// of the whole tree, over itself, can.
fn own_root() -> std::io::Result<()> {
    let tree = sys::clone_mount(None, Path::new(""), sys::Depth::Recursive)?;
    let here = sys::open_place(Path::new("."))?;
    sys::attach_mount(tree.as_fd(), here.as_fd())?;
    nix::unistd::fchdir(tree.as_fd())?;
    Ok(())
}

/// Swaps the roots and detaches the old one, with the host's mounts in it.
fn pivot() -> Result<(), Failure> {
    nix::unistd::pivot_root(".", ".").step(|| "swap the roots".into())?;
    umount2(".", MntFlags::MNT_DETACH).step(|| "detach the old root".into())?;
    nix::unistd::chdir("/").step(|| "enter the new root".into())
}

fn network(plan: &InitPlan) -> Result<(), Failure> {
    let mut netlink = Netlink::open().step(|| "open netlink".into())?;
    netlink.set_up("lo").step(|| "set up loopback".into())?;
    for (address, prefix) in &plan.unreachable {
        netlink
            .add_route(Route::Prohibit(*address, *prefix))
            .step(|| format!("close the way to {address}/{prefix}"))?;
    }
    let Some(inside) = &plan.address else { return Ok(()) };
    let step = || format!("set up {}", inside.interface);
    netlink.add_address(&inside.interface, inside.address, inside.prefix).step(step)?;
    netlink.set_up(&inside.interface).step(step)?;
    netlink.add_route(Route::DefaultVia(inside.gateway)).step(|| "add the default route".into())
}

/// A session keyring of its own, so that nothing of the server's is reachable. Best effort: some kernels have
/// no keys at all, and seccomp denies every key call afterwards.
fn new_keyring() {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name makes an anonymous keyring.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
}

fn limits(plan: &InitPlan) -> Result<(), Failure> {
    for (resource, value) in &plan.rlimits {
        let limit = libc::rlimit { rlim_cur: *value, rlim_max: *value };
        // SAFETY: the structure outlives the call.
        check(unsafe { libc::setrlimit(*resource, &raw const limit) }.into())
            .step(|| format!("set resource limit {resource}"))?;
    }
    let none = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
    // No core files: they would land in workspaces. One byte, not zero: too small for a file, and the one
    // value at which the kernel does not start a core handler of the host either (core(5)).
    // SAFETY: the structure outlives the call.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    Ok(())
}
