//! Deleting what a sandbox left, which may be huge, hostile in shape, or (by some mistake) mounted on.
//!
//! A folder is first renamed into the trash, then taken apart flat: every folder below it is itself renamed to
//! the top before it is emptied, so depth costs neither stack nor descriptors, no link is followed, and a
//! rename never crosses a mount: what is mounted stays whole.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::sys::{c_path, check};

/// Moves `folder` into the trash of `state_dir`, at once and atomically.
pub fn discard(state_dir: &Path, folder: &Path) -> io::Result<PathBuf> {
    let trash = state_dir.join("trash");
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for attempt in 0..1000 {
        let target = trash.join(format!("{name}.{}.{attempt}", crate::sys::now_ms()));
        if target.exists() {
            continue;
        }
        match fs::rename(folder, &target) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(target),
            other => return other.map(|()| target),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

/// Empties the trash. Safe beside another that does the same.
pub fn empty(state_dir: &Path) -> io::Result<()> {
    let trash = state_dir.join("trash");
    let top = open_folder(&trash)?;
    let mut number = 0u64;
    loop {
        let mut progress = false;
        for entry in fs::read_dir(&trash)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                progress |= empty_one(&top, &entry.path(), &mut number)?;
            } else {
                progress |= fs::remove_file(entry.path()).is_ok();
            }
        }
        if !progress {
            return Ok(());
        }
    }
}

/// Unlinks a folder's files, lifts its folders to the top, removes it. Whether anything changed.
fn empty_one(top: &OwnedFd, folder: &Path, number: &mut u64) -> io::Result<bool> {
    // An overlay's work folder has mode 000, and a build may have made others so.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).ok();
    let Ok(open) = open_folder(folder) else { return Ok(false) };
    let mut progress = false;
    for entry in fs::read_dir(crate::sys::fd_path(&open))? {
        let entry = entry?;
        let name = c_path(entry.file_name())?;
        if !entry.file_type()?.is_dir() {
            // SAFETY: the name outlives the call.
            progress |= unsafe { libc::unlinkat(open.as_raw_fd(), name.as_ptr(), 0) } == 0;
            continue;
        }
        *number += 1;
        let lifted = c_path(format!("lifted.{}.{}.{number}", std::process::id(), crate::sys::now_ms()))?;
        // Moving a folder changes its "..", which needs the right to write it.
        // SAFETY: the names outlive the calls.
        unsafe { libc::fchmodat(open.as_raw_fd(), name.as_ptr(), 0o700, 0) };
        // SAFETY: as above.
        let moved =
            unsafe { libc::renameat(open.as_raw_fd(), name.as_ptr(), top.as_raw_fd(), lifted.as_ptr()) };
        progress |= moved == 0;
    }
    progress |= fs::remove_dir(folder).is_ok();
    Ok(progress)
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    Ok(file.into())
}

/// Lowers this process's claim on the machine before a long deletion.
pub fn be_modest() {
    const IDLE_CLASS: libc::c_long = 3 << 13;
    // SAFETY: no memory is involved; both are best effort.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        check(libc::syscall(libc::SYS_ioprio_set, 1, 0, IDLE_CLASS)).ok();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn deep_and_closed_folders_are_deleted_and_links_are_not_followed() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join("trash")).unwrap();
        let kept = state.path().join("kept");
        fs::write(&kept, "kept").unwrap();
        let folder = state.path().join("one");
        fs::create_dir(&folder).unwrap();
        let mut deep = open_folder(&folder).unwrap();
        for _ in 0..300 {
            let name = c"a-name-long-enough-that-the-whole-path-is-over-any-limit";
            unsafe { libc::mkdirat(deep.as_raw_fd(), name.as_ptr(), 0o700) };
            let next = crate::sys::open_at(
                deep.as_fd(),
                Path::new(name.to_str().unwrap()),
                libc::O_RDONLY | libc::O_DIRECTORY,
                0,
                0,
            );
            deep = next.unwrap();
        }
        std::os::unix::fs::symlink(state.path(), folder.join("link")).unwrap();
        fs::create_dir(folder.join("closed")).unwrap();
        fs::write(folder.join("closed/file"), "x").unwrap();
        fs::set_permissions(folder.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        discard(state.path(), &folder).unwrap();
        empty(state.path()).unwrap();
        assert_eq!(fs::read_dir(state.path().join("trash")).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(kept).unwrap(), "kept");
    }
}
