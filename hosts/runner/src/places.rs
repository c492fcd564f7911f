//! Making folders and files in a root that is being put together, without ever leaving it.
//!
//! Every path is resolved by the kernel inside that root (`RESOLVE_IN_ROOT`): a link in it, even an absolute
//! one, cannot lead a mount or a write to the host's own tree.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MsFlags, mount};

use crate::sys::{self, Depth, c_path, check, fd_path};

const IN_ROOT: u64 = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;

/// Names that a read-only folder may hold to be taken apart; each is a mount.
const EXPANDED_NAMES: usize = 512;

/// The root of a sandbox while it is being made. What is created in it belongs to `owner`.
pub struct NewRoot {
    root: OwnedFd,
    owner: u32,
    /// Whether a read-only folder may be replaced by a writable one with the same content.
    expandable: bool,
}

impl NewRoot {
    pub fn new(root: OwnedFd, owner: u32) -> NewRoot {
        NewRoot { root, owner, expandable: false }
    }

    /// A root of read-only binds: where something must be made in one, it is taken apart ([`Self::expand`]).
    pub fn expandable(root: OwnedFd) -> NewRoot {
        NewRoot { root, owner: 0, expandable: true }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens an existing place, or says that there is none.
    pub fn find(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        match sys::open_at(self.root.as_fd(), path, libc::O_PATH, 0, IN_ROOT) {
            Ok(fd) => Ok(Some(fd)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The folder at `path`, made with its parents where missing.
    pub fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut place = self.root.try_clone()?;
        let mut at = PathBuf::from("/");
        for part in path.components() {
            let Component::Normal(name) = part else {
                if matches!(part, Component::RootDir) {
                    continue;
                }
                return Err(io::Error::from(io::ErrorKind::InvalidInput));
            };
            at.push(name);
            place = match self.find(&at)? {
                Some(found) => found,
                None => {
                    let c_name = c_path(name)?;
                    // SAFETY: the name outlives the call.
                    let make =
                        |place: &OwnedFd| unsafe { libc::mkdirat(place.as_raw_fd(), c_name.as_ptr(), 0o755) };
                    if let Err(e) = check(make(&place).into()) {
                        place = self.expand(at.parent().unwrap_or(Path::new("/")), e)?;
                        check(make(&place).into())?;
                    }
                    let made = sys::open_at(
                        place.as_fd(),
                        Path::new(name),
                        libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW,
                        0,
                        libc::RESOLVE_BENEATH,
                    )?;
                    self.give(made.as_fd())?;
                    made
                }
            };
        }
        Ok(place)
    }

    /// The file at `path`, made empty where missing: a place to bind a file on.
    pub fn file(&self, path: &Path) -> io::Result<OwnedFd> {
        if let Some(found) = self.find(path)? {
            return Ok(found);
        }
        self.write(path, b"", 0o644)?;
        self.find(path)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Writes a file anew; whatever had the name before (a link, say) is replaced, not followed.
    pub fn write(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let (parent, name) = self.parent_of(path)?;
        // SAFETY: the name outlives the call.
        unsafe { libc::unlinkat(parent.as_raw_fd(), name.as_ptr(), 0) };
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let name = name.into_string().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let create = |parent: &OwnedFd| {
            sys::open_at(parent.as_fd(), Path::new(&name), flags, mode, libc::RESOLVE_BENEATH)
        };
        let fd = match create(&parent) {
            Err(e) => create(&self.expand(path.parent().unwrap_or(Path::new("/")), e)?)?,
            Ok(fd) => fd,
        };
        self.give(fd.as_fd())?;
        File::from(fd).write_all(content)
    }

    /// Replaces the read-only folder at `path` by a tmpfs into which its content is bound, after `failure` to
    /// write to it; any other failure is returned.
    fn expand(&self, path: &Path, failure: io::Error) -> io::Result<OwnedFd> {
        if !self.expandable || failure.raw_os_error() != Some(libc::EROFS) {
            return Err(failure);
        }
        let place = self.folder(path)?;
        let old = sys::clone_mount(Some(place.as_fd()), Path::new(""), Depth::Recursive)?;
        let names: Vec<_> = std::fs::read_dir(fd_path(&old))?.collect::<io::Result<_>>()?;
        if names.len() > EXPANDED_NAMES {
            let text = format!("{} is read-only and too full to be replaced", path.display());
            return Err(io::Error::other(text));
        }
        self.tmpfs(path, "755", "16m", MsFlags::MS_NOSUID | MsFlags::MS_NODEV)?;
        for entry in names {
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            let target = path.join(&name);
            if kind.is_symlink() {
                self.symlink(&target, &std::fs::read_link(entry.path())?.to_string_lossy())?;
                continue;
            }
            let place = if kind.is_dir() { self.folder(&target)? } else { self.file(&target)? };
            let copy = sys::clone_mount(Some(old.as_fd()), Path::new(&name), Depth::Recursive)?;
            sys::attach_mount(copy.as_fd(), place.as_fd())?;
        }
        self.folder(path)
    }

    pub fn symlink(&self, path: &Path, target: &str) -> io::Result<()> {
        let (parent, name) = self.parent_of(path)?;
        let target = c_path(target)?;
        // SAFETY: both strings outlive the call.
        check(unsafe { libc::symlinkat(target.as_ptr(), parent.as_raw_fd(), name.as_ptr()) }.into())?;
        // SAFETY: as above.
        check(
            unsafe {
                libc::fchownat(
                    parent.as_raw_fd(),
                    name.as_ptr(),
                    self.owner,
                    self.owner,
                    libc::AT_SYMLINK_NOFOLLOW,
                )
            }
            .into(),
        )?;
        Ok(())
    }

    fn parent_of(&self, path: &Path) -> io::Result<(OwnedFd, CString)> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let parent = self.folder(path.parent().ok_or_else(invalid)?)?;
        Ok((parent, c_path(path.file_name().ok_or_else(invalid)?)?))
    }

    /// Gives what was just made to the inside's root.
    pub fn give(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let flags = libc::AT_EMPTY_PATH;
        // SAFETY: constant string.
        check(unsafe { libc::fchownat(fd.as_raw_fd(), c"".as_ptr(), self.owner, self.owner, flags) }.into())?;
        Ok(())
    }

    /// An empty tmpfs over the folder at `path`.
    pub fn tmpfs(&self, path: &Path, mode: &str, size: &str, flags: MsFlags) -> io::Result<()> {
        let place = self.folder(path)?;
        let options = format!("mode={mode},size={size},uid={0},gid={0}", self.owner);
        mount(Some("tmpfs"), fd_path(&place).as_str(), Some("tmpfs"), flags, Some(options.as_str()))?;
        Ok(())
    }

    /// The minimal `/dev`: a tmpfs with the harmless devices of the host bound into it.
    pub fn devices(&self, shared_memory: &str) -> io::Result<()> {
        self.tmpfs(Path::new("/dev"), "755", "1m", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC)?;
        for name in ["null", "zero", "full", "random", "urandom", "tty"] {
            let host = Path::new("/dev").join(name);
            let device = sys::clone_mount(None, &host, sys::Depth::One)?;
            sys::attach_mount(device.as_fd(), self.file(&host)?.as_fd())?;
        }
        for name in ["/dev/pts", "/dev/mqueue"] {
            self.folder(Path::new(name))?;
        }
        self.tmpfs(Path::new("/dev/shm"), "1777", shared_memory, MsFlags::MS_NOSUID | MsFlags::MS_NODEV)?;
        for (name, target) in [
            ("ptmx", "pts/ptmx"),
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            self.symlink(&Path::new("/dev").join(name), target)?;
        }
        Ok(())
    }
}
