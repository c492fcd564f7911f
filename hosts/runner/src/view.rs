//! Reading a sandbox's files from outside, where every name is hostile.
//!
//! The kernel resolves every path (`openat2`): nothing that is opened through a [`View`] leaves it, whatever
//! links it holds, and whatever is swapped meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::RunnerError;
use crate::sys::{self, c_path, check, fd_path};

/// A folder whose content is hostile: nothing that is opened through it leaves it, whatever links it holds.
/// Made of a sandbox ([`crate::Sandbox::view`], then [`View::folder`]) or of a host folder ([`View::open`]).
#[derive(Debug)]
pub struct View {
    folder: OwnedFd,
    /// How the kernel treats links: inside a sandbox's root an absolute link starts at that root; below a
    /// folder it is refused.
    resolve: u64,
}

/// What a name in a [`View`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Folder,
    Link,
    Other,
}

/// One name of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the view.
    pub path: PathBuf,
    pub kind: EntryKind,
    pub size_bytes: u64,
    pub mode: u32,
    /// Seconds since the epoch.
    pub modified_s: i64,
}

impl View {
    /// A host folder, for example a workspace after its sandbox ended.
    pub fn open(path: &Path) -> Result<View, RunnerError> {
        let folder = sys::open_place(path).map_err(RunnerError::file(path))?;
        Ok(View { folder, resolve: libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS })
    }

    pub(crate) fn of_root(folder: OwnedFd) -> View {
        View { folder, resolve: libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS }
    }

    fn resolve(&self, path: &Path, flags: libc::c_int) -> Result<OwnedFd, RunnerError> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        sys::open_at(self.folder.as_fd(), path, flags, 0, self.resolve).map_err(RunnerError::file(path))
    }

    /// The folder at `path`. In a sandbox's view links lead where they lead inside (absolute ones too); the
    /// result itself is strict: nothing leaves it.
    pub fn folder(&self, path: &Path) -> Result<View, RunnerError> {
        let folder = self.resolve(path, libc::O_PATH | libc::O_DIRECTORY)?;
        Ok(View { folder, resolve: libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS })
    }

    /// Opens a regular file for reading; refuses anything else, and any link on the way that leaves.
    pub fn open_beneath(&self, path: &Path) -> Result<File, RunnerError> {
        // Not blocking: a named pipe must not hang the reader before its kind is known.
        let file = File::from(self.resolve(path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY)?);
        if !file.metadata().map_err(RunnerError::file(path))?.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(RunnerError::file(path)(error));
        }
        Ok(file)
    }

    /// What `path` is, without following its last link.
    pub fn entry(&self, path: &Path) -> Result<Entry, RunnerError> {
        let place = self.resolve(path, libc::O_PATH | libc::O_NOFOLLOW)?;
        let status = nix::sys::stat::fstat(&place).map_err(|e| RunnerError::file(path)(e.into()))?;
        Ok(entry(path.to_owned(), &status))
    }

    /// Target text of a link.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf, RunnerError> {
        let place = self.resolve(path, libc::O_PATH | libc::O_NOFOLLOW)?;
        let mut target = vec![0u8; libc::PATH_MAX as usize];
        // SAFETY: the buffer outlives the call, which writes at most its length.
        let size = check(unsafe {
            libc::readlinkat(place.as_raw_fd(), c"".as_ptr(), target.as_mut_ptr().cast(), target.len()) as i64
        })
        .map_err(RunnerError::file(path))?;
        target.truncate(size as usize);
        Ok(PathBuf::from(std::ffi::OsString::from_vec(target)))
    }

    /// All entries below, folders before their content, names sorted, links not followed. Refuses more than
    /// `limit` entries.
    pub fn walk(&self, limit: usize) -> Result<Vec<Entry>, RunnerError> {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(at) = folders.pop() {
            let open = self.resolve(&at, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW)?;
            let mut names = Vec::new();
            for name in std::fs::read_dir(fd_path(&open)).map_err(RunnerError::file(&at))? {
                names.push(name.map_err(RunnerError::file(&at))?.file_name());
                if found.len() + names.len() > limit {
                    return Err(RunnerError::Invalid(format!(
                        "more than {limit} files below {}",
                        at.display()
                    )));
                }
            }
            names.sort();
            let mut below = Vec::new();
            for name in names {
                let path = at.join(&name);
                // SAFETY: all zeroes is a valid stat.
                let mut status: libc::stat = unsafe { std::mem::zeroed() };
                let c_name = c_path(Path::new(&name)).map_err(RunnerError::file(&path))?;
                let flags = libc::AT_SYMLINK_NOFOLLOW;
                // SAFETY: name and structure outlive the call.
                let asked =
                    unsafe { libc::fstatat(open.as_raw_fd(), c_name.as_ptr(), &raw mut status, flags) };
                match check(asked.into()) {
                    // It went while we read.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    other => other.map_err(RunnerError::file(&path))?,
                };
                let entry = entry(path.clone(), &status);
                if entry.kind == EntryKind::Folder {
                    below.push(path);
                }
                found.push(entry);
            }
            folders.extend(below.into_iter().rev());
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }
}

fn entry(path: PathBuf, status: &libc::stat) -> Entry {
    let kind = match status.st_mode & libc::S_IFMT {
        libc::S_IFREG => EntryKind::File,
        libc::S_IFDIR => EntryKind::Folder,
        libc::S_IFLNK => EntryKind::Link,
        _ => EntryKind::Other,
    };
    Entry {
        path,
        kind,
        size_bytes: u64::try_from(status.st_size).unwrap_or(0),
        mode: status.st_mode & 0o7777,
        modified_s: status.st_mtime,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_leaves_a_view() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("sub")).unwrap();
        std::fs::write(root.path().join("sub/file"), "f").unwrap();
        symlink("sub/file", root.path().join("fine")).unwrap();
        symlink(outside.path().join("secret"), root.path().join("absolute")).unwrap();
        symlink("../../../../../../etc/passwd", root.path().join("climbing")).unwrap();
        symlink(outside.path(), root.path().join("away")).unwrap();
        symlink("/proc/self/root", root.path().join("magic")).unwrap();
        nix::unistd::mkfifo(&root.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let view = View::open(root.path()).unwrap();
        assert!(view.open_beneath(Path::new("fine")).is_ok());
        assert!(view.open_beneath(Path::new("sub/file")).is_ok());
        for name in
            ["absolute", "climbing", "away/secret", "magic/etc/passwd", "../x", "/etc/passwd", "pipe", "sub"]
        {
            assert!(view.open_beneath(Path::new(name)).is_err(), "{name}");
        }
        let names: Vec<_> =
            view.walk(100).unwrap().into_iter().map(|e| e.path.display().to_string()).collect();
        assert_eq!(names, ["absolute", "away", "climbing", "fine", "magic", "pipe", "sub", "sub/file"]);
        assert!(view.walk(3).is_err());
        assert_eq!(view.read_link(Path::new("fine")).unwrap(), Path::new("sub/file"));
        assert_eq!(view.entry(Path::new("pipe")).unwrap().kind, EntryKind::Other);
    }
}
