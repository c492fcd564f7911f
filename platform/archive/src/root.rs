//! A folder beneath which paths are resolved by the kernel, so that no symlink leads out.

use crate::{ArchiveError, shown};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// An open folder. Every path given to it is relative, without `..`.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    links: Links,
}

/// Where a symlink that is made beneath a root may lead. Nothing here follows one that leads out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    Beneath,
    Anywhere,
}

/// What to do with symlinks on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// A symlink anywhere in the path is an error.
    No,
    /// Symlinks that stay beneath the root are followed; others are an error.
    Beneath,
}

/// What happens to a file or symlink that is there already. A folder never gives way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Replaced,
    Refused,
}

/// `path` without `.` and empty components; an error when it is absolute, climbs or is empty.
pub fn check_relative(path: &Path) -> Result<PathBuf, ArchiveError> {
    let bytes = path.as_os_str().as_bytes();
    let refuse = |reason| Err(ArchiveError::refused(bytes, reason));
    if bytes.contains(&0) {
        return refuse("its name holds a zero byte");
    }
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                return refuse("its path climbs out with '..'; names must be relative to the archive's top");
            }
            Component::RootDir | Component::Prefix(_) => {
                return refuse("its path is absolute; names must be relative to the archive's top");
            }
        }
    }
    if clean.as_os_str().is_empty() { refuse("its path is empty") } else { Ok(clean) }
}

fn failed(path: &Path, errno: Errno) -> ArchiveError {
    let refused = |reason| ArchiveError::refused(path.as_os_str().as_bytes(), reason);
    match errno {
        Errno::EXDEV => refused("a symlink on its path leads out of the folder"),
        Errno::ELOOP => refused("a symlink is on its path"),
        Errno::ENOTDIR => refused("what its path takes for a folder is none"),
        Errno::EEXIST => refused("its name comes twice"),
        Errno::ENAMETOOLONG => {
            refused("a part of its name is longer than this file system takes (255 bytes)")
        }
        errno => ArchiveError::Io { what: shown(path.as_os_str().as_bytes()), source: errno.into() },
    }
}

impl Root {
    pub fn open(path: &Path) -> Result<Root, ArchiveError> {
        let file = File::open(path).map_err(ArchiveError::io(path.display().to_string()))?;
        Ok(Root { fd: file.into(), links: Links::Beneath })
    }

    pub(crate) fn from_fd(fd: OwnedFd) -> Root {
        Root { fd, links: Links::Beneath }
    }

    /// For a folder that is used inside a sandbox only: its symlinks may lead anywhere, as those of a clone
    /// do.
    pub fn with_links_anywhere(self) -> Root {
        Root { links: Links::Anywhere, ..self }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn resolve(
        &self,
        path: &Path,
        flags: OFlag,
        mode: u32,
        follow: Follow,
    ) -> Result<OwnedFd, ArchiveError> {
        self.resolve_as(path, flags, mode, follow, path)
    }

    /// An error speaks of `named`, which may be the whole path of which `path` is a part.
    fn resolve_as(
        &self,
        path: &Path,
        flags: OFlag,
        mode: u32,
        follow: Follow,
        named: &Path,
    ) -> Result<OwnedFd, ArchiveError> {
        let mut resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        if follow == Follow::No {
            resolve |= ResolveFlag::RESOLVE_NO_SYMLINKS;
        }
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .mode(Mode::from_bits_truncate(mode))
            .resolve(resolve);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        loop {
            match openat2(&self.fd, path, how) {
                Ok(fd) => return Ok(fd),
                // A rename elsewhere in the tree makes the kernel unsure: try again.
                Err(Errno::EAGAIN | Errno::EINTR) => continue,
                Err(errno) => return Err(failed(named, errno)),
            }
        }
    }

    /// Opens a regular file for reading. Anything else (a FIFO would block) is refused.
    pub fn open_file(&self, path: &Path, follow: Follow) -> Result<File, ArchiveError> {
        let path = check_relative(path)?;
        let fd = self.resolve(&path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, 0, follow)?;
        let stat = fstat(&fd).map_err(|errno| failed(&path, errno))?;
        if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFREG {
            return Err(ArchiveError::refused(path.as_os_str().as_bytes(), "it is no regular file"));
        }
        Ok(File::from(fd))
    }

    /// A root of its own for a folder beneath this one.
    pub fn open_root(&self, path: &Path, follow: Follow) -> Result<Root, ArchiveError> {
        let path = if path.as_os_str().is_empty() || path == Path::new(".") {
            PathBuf::from(".")
        } else {
            check_relative(path)?
        };
        Ok(Root::from_fd(self.resolve(&path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0, follow)?))
    }

    /// Makes the folder and its parents, through no symlink, and opens it.
    pub fn make_folders(&self, path: &Path) -> Result<Root, ArchiveError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let mut at = Root::from_fd(self.resolve(Path::new("."), flags, 0, Follow::No)?);
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let name = Path::new(name);
            match mkdirat(&at.fd, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(failed(path, errno)),
            }
            at = Root::from_fd(at.resolve_as(name, flags, 0, Follow::No, path)?);
        }
        Ok(at)
    }

    /// The folder that holds `path`, made where needed, and the last name.
    pub(crate) fn parent_of<'p>(&self, path: &'p Path) -> Result<(Root, &'p OsStr), ArchiveError> {
        let name = path
            .file_name()
            .ok_or_else(|| ArchiveError::refused(path.as_os_str().as_bytes(), "its path is empty"))?;
        Ok((self.make_folders(path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// A new file with `mode` (permission bits only), in folders made where needed. A file or symlink of
    /// that name is replaced, never written through.
    pub fn create_file(&self, path: &Path, mode: u32) -> Result<File, ArchiveError> {
        self.place_file(path, mode, Taken::Replaced)
    }

    pub(crate) fn place_file(&self, path: &Path, mode: u32, taken: Taken) -> Result<File, ArchiveError> {
        let path = check_relative(path)?;
        let (parent, name) = self.parent_of(&path)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        parent.clear(name, &path, taken)?;
        let fd = parent.resolve_as(Path::new(name), flags, 0o600, Follow::No, &path)?;
        fchmod(&fd, Mode::from_bits_truncate(mode & 0o777)).map_err(|errno| failed(&path, errno))?;
        Ok(File::from(fd))
    }

    /// A symlink whose target cannot leave the root: relative, `..` only at its start and no more of them
    /// than the link is deep. Or any, where the root allows it.
    pub fn create_symlink(&self, path: &Path, target: &Path) -> Result<(), ArchiveError> {
        self.place_symlink(path, target, Taken::Replaced)
    }

    pub(crate) fn place_symlink(&self, path: &Path, target: &Path, taken: Taken) -> Result<(), ArchiveError> {
        let path = check_relative(path)?;
        if target.as_os_str().is_empty() || target.as_os_str().as_bytes().contains(&0) {
            return Err(ArchiveError::refused(
                path.as_os_str().as_bytes(),
                "its link leads nowhere: the target is empty or holds a zero byte",
            ));
        }
        if self.links == Links::Beneath && !target_stays(&path, target) {
            return Err(ArchiveError::refused(
                path.as_os_str().as_bytes(),
                "its link leads out of the folder",
            ));
        }
        let (parent, name) = self.parent_of(&path)?;
        parent.clear(name, &path, taken)?;
        symlinkat(target, &parent.fd, name).map_err(|errno| failed(&path, errno))
    }

    /// A hard link to a regular file beneath the root, whose size is the answer.
    pub fn create_hard_link(&self, path: &Path, target: &Path) -> Result<u64, ArchiveError> {
        let path = check_relative(path)?;
        let target = check_relative(target).map_err(|_| {
            ArchiveError::refused(path.as_os_str().as_bytes(), "its hard link leads out of the folder")
        })?;
        let missing = |error| match error {
            ArchiveError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ArchiveError::refused(
                    path.as_os_str().as_bytes(),
                    "the file that it is a hard link to does not come before it",
                )
            }
            error => error,
        };
        let from_name = target.file_name().unwrap_or_default();
        let from = self.open_root(target.parent().unwrap_or(Path::new("")), Follow::No).map_err(missing)?;
        let stat = fstatat(&from.fd, from_name, AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|errno| missing(failed(&target, errno)))?;
        if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
            return Err(ArchiveError::refused(path.as_os_str().as_bytes(), "it links to no regular file"));
        }
        let size_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        if path == target {
            return Ok(size_bytes);
        }
        let (parent, name) = self.parent_of(&path)?;
        parent.clear(name, &path, Taken::Replaced)?;
        linkat(&from.fd, from_name, &parent.fd, name, AtFlags::empty())
            .map_err(|errno| failed(&path, errno))?;
        Ok(size_bytes)
    }

    /// Sets a folder's permission bits; its owner always keeps access.
    pub(crate) fn set_folder_mode(&self, path: &Path, mode: u32) -> Result<(), ArchiveError> {
        let folder = self.make_folders(path)?;
        fchmod(&folder.fd, Mode::from_bits_truncate(mode & 0o777 | 0o700))
            .map_err(|errno| failed(path, errno))
    }

    fn clear(&self, name: &OsStr, path: &Path, taken: Taken) -> Result<(), ArchiveError> {
        if taken == Taken::Refused {
            return Ok(());
        }
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EISDIR | Errno::EPERM) => Err(ArchiveError::refused(
                path.as_os_str().as_bytes(),
                "a folder of that name is there already",
            )),
            Err(errno) => Err(failed(path, errno)),
        }
    }
}

/// `..` after a name could climb further than it looks, because that name may itself be a symlink.
pub(crate) fn target_stays(link: &Path, target: &Path) -> bool {
    let depth = link.components().count().saturating_sub(1);
    let mut climbs = 0;
    let mut named = false;
    for component in target.components() {
        match component {
            Component::Normal(_) => named = true,
            Component::CurDir => {}
            Component::ParentDir if named => return false,
            Component::ParentDir => climbs += 1,
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    climbs <= depth && !target.as_os_str().is_empty()
}
