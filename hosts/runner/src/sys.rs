//! The system calls that neither std nor nix wraps. Each is a thin, typed shell: no policy here.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Turns a libc return value into a result.
pub fn check(value: libc::c_long) -> io::Result<libc::c_long> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// A path as the kernel takes it.
pub fn c_path(path: impl AsRef<Path>) -> io::Result<CString> {
    CString::new(path.as_ref().as_os_str().as_bytes())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

fn owned(value: libc::c_long) -> OwnedFd {
    // SAFETY: the callers pass a descriptor that the kernel has just returned to them alone.
    unsafe { OwnedFd::from_raw_fd(value as RawFd) }
}

/// Whether a mount copy takes the mounts below it along.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    One,
    Recursive,
}

/// A detached copy of the mount tree at `path` (below `dir` when relative; `dir` itself when empty).
pub fn clone_mount(dir: Option<BorrowedFd<'_>>, path: &Path, depth: Depth) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as u32;
    if depth == Depth::Recursive {
        flags |= libc::AT_RECURSIVE as u32;
    }
    let dir = dir.map_or(libc::AT_FDCWD, |d| d.as_raw_fd());
    // SAFETY: the path outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) };
    check(fd).map(owned)
}

/// Sets `attributes` on a detached mount; with `user_namespace` also its id mapping.
pub fn set_mount(
    mount: BorrowedFd<'_>,
    attributes: u64,
    user_namespace: Option<BorrowedFd<'_>>,
    depth: Depth,
) -> io::Result<()> {
    // SAFETY: all zeroes is a valid mount_attr.
    let mut attr: libc::mount_attr = unsafe { std::mem::zeroed() };
    attr.attr_set = attributes;
    if let Some(namespace) = user_namespace {
        attr.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attr.userns_fd = namespace.as_raw_fd() as u64;
    }
    let mut flags = libc::AT_EMPTY_PATH;
    if depth == Depth::Recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: pointers outlive the call and the size is the structure's.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Attaches a detached mount at the place that `target` is open on.
pub fn attach_mount(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: plain descriptors and constant strings.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    })?;
    Ok(())
}

/// `openat2`: opens `path` relative to `dir` under the `RESOLVE_*` rules.
pub fn open_at(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: libc::c_int,
    mode: u32,
    resolve: u64,
) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: all zeroes is a valid open_how.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = u64::from(mode);
    how.resolve = resolve;
    loop {
        // SAFETY: pointers outlive the call and the size is the structure's.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<libc::open_how>(),
            )
        };
        match check(fd) {
            // A rename raced with the resolution; the kernel asks for another try.
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => continue,
            other => return other.map(owned),
        }
    }
}

/// A place in the tree, as a descriptor that can be mounted on or resolved from.
pub fn open_place(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: the path outlives the call.
    check(unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) }.into()).map(owned)
}

/// The path by which this process names an open descriptor.
pub fn fd_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// linux/sched.h; wider than the type that libc gives such flags.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A new child process.
pub enum Cloned {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// Forks into new namespaces and, when given, directly into a cgroup v2 folder. The caller must be
/// single-threaded: the child goes on with all of its memory.
pub fn clone_into(namespaces: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all zeroes is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces as u32 as u64 | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is a fork; the caller is single-threaded, so the child may go on in Rust.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    Ok(Cloned::Parent { pid: pid as i32, pidfd: owned(pidfd.into()) })
}

/// Closes every descriptor from `first` on except `kept`.
pub fn close_from(first: RawFd, kept: &[RawFd]) {
    let mut kept: Vec<u32> = kept.iter().map(|fd| *fd as u32).filter(|fd| *fd >= first as u32).collect();
    kept.sort_unstable();
    let mut from = first as u32;
    for fd in kept {
        if fd > from {
            // SAFETY: closes descriptors by number; the callers own none of them any more.
            unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
        }
        from = fd + 1;
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_close_range, from, u32::MAX, 0) };
}

/// Ties this process's life to its parent's. A change of credentials clears it: call it after the last one.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }.into())?;
    Ok(())
}

/// Sends a signal to the process behind a pidfd.
pub fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: no siginfo is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })?;
    Ok(())
}

/// An anonymous file in memory.
pub fn memory_file() -> io::Result<OwnedFd> {
    // SAFETY: constant name.
    check(unsafe { libc::memfd_create(c"towpath".as_ptr(), libc::MFD_CLOEXEC) }.into()).map(owned)
}

/// Milliseconds since the epoch, by the machine's clock.
pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
