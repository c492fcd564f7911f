//! Questions about places on the host.

use crate::work_error::WorkError;
use nix::fcntl::readlinkat;
use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// What is at a path itself, symlinks not followed.
pub fn look(path: &Path) -> Result<Option<Metadata>, WorkError> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(WorkError::new(format!("{}: {error}", path.display()))),
    }
}

/// Folders on the way to a place. A symlink there is followed when root or the agent's own user made it;
/// anybody else's could lead an agent that runs as root to write where that user may not.
#[derive(Default)]
pub struct Ways {
    seen: HashMap<PathBuf, bool>,
}

impl Ways {
    pub fn check(&mut self, path: &Path) -> Result<(), WorkError> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        if self.is_trusted(parent)? {
            return Ok(());
        }
        Err(WorkError::new(format!(
            "{} is not touched: a folder on its way is a symlink that neither root nor the agent's user made",
            path.display()
        )))
    }

    pub fn is_trusted(&mut self, folder: &Path) -> Result<bool, WorkError> {
        if let Some(known) = self.seen.get(folder) {
            return Ok(*known);
        }
        let above = match folder.parent() {
            Some(parent) => self.is_trusted(parent)?,
            None => true,
        };
        let here = look(folder)?.is_none_or(|found| !found.is_symlink() || is_ours(&found));
        self.seen.insert(folder.to_owned(), above && here);
        Ok(above && here)
    }
}

fn is_ours(found: &Metadata) -> bool {
    found.uid() == 0 || found.uid() == nix::unistd::geteuid().as_raw()
}

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;

/// A place whose folder is held open, so that nobody who may write to a folder on its way can make it lead
/// elsewhere between the moment at which it was judged and the one at which it is changed.
pub struct Pinned {
    folder: File,
    name: OsString,
}

impl Pinned {
    /// Walks to the folder of `path`, one component after another; a link is followed by the rule of [`Ways`].
    pub fn at(path: &Path) -> io::Result<Pinned> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a place has a folder and a name"));
        };
        Ok(Pinned { folder: open_folder(parent)?, name: name.to_owned() })
    }

    /// The place, by a path that leads through the open folder.
    pub fn path(&self) -> PathBuf {
        self.sibling(&self.name)
    }

    pub fn sibling(&self, name: &OsStr) -> PathBuf {
        held(&self.folder).join(name)
    }

    /// What is there itself, held open; its path then leads to that and to nothing else. No link.
    pub fn open(&self) -> io::Result<(File, PathBuf)> {
        let file = open_path(&self.path())?;
        if file.metadata()?.is_symlink() {
            return Err(io::Error::other("it has become a symlink"));
        }
        let path = held(&file);
        Ok((file, path))
    }
}

/// Valid for this process's children, too.
fn held(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
}

fn open_path(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)
}

fn open_folder(path: &Path) -> io::Result<File> {
    let parts = |path: &Path| -> Vec<OsString> {
        let named =
            path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        named.map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut at = open_path(Path::new("/"))?;
    let (mut left, mut links) = (VecDeque::from(parts(path)), 0);
    while let Some(name) = left.pop_front() {
        let next = open_path(&held(&at).join(name))?;
        let found = next.metadata()?;
        if !found.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if !is_ours(&found) || links > MAX_LINKS {
            let reason = "a folder on its way is a symlink that neither root nor the agent's user made";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        let target = PathBuf::from(readlinkat(&next, "")?);
        if target.is_absolute() {
            at = open_path(Path::new("/"))?;
        }
        parts(&target).into_iter().rev().for_each(|part| left.push_front(part));
    }
    if at.metadata()?.is_dir() { Ok(at) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::{lchown, symlink};

    #[test]
    fn a_folder_that_becomes_a_link_leads_nowhere_else() {
        let host = tempfile::tempdir().unwrap();
        let (app, outside) = (host.path().join("app"), host.path().join("outside"));
        fs::create_dir(&app).unwrap();
        fs::create_dir(&outside).unwrap();
        let pinned = Pinned::at(&app.join("file")).unwrap();
        fs::rename(&app, host.path().join("moved")).unwrap();
        symlink(&outside, &app).unwrap();
        fs::write(pinned.path(), "content").unwrap();
        assert_eq!(fs::read(host.path().join("moved/file")).unwrap(), b"content");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        // The control: the plain path does lead out.
        fs::write(app.join("file"), "leaked").unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_becomes_a_link_is_not_followed() {
        let host = tempfile::tempdir().unwrap();
        let (file, secret) = (host.path().join("file"), host.path().join("secret"));
        fs::write(&file, "mine").unwrap();
        fs::write(&secret, "secret").unwrap();
        let pinned = Pinned::at(&file).unwrap();
        let (_held, path) = pinned.open().unwrap();
        fs::remove_file(&file).unwrap();
        symlink(&secret, &file).unwrap();
        assert_eq!(fs::read(path).unwrap(), b"mine");
        assert!(pinned.open().is_err());
    }

    #[test]
    fn links_are_followed_by_whose_they_are() {
        let host = tempfile::tempdir().unwrap();
        fs::create_dir_all(host.path().join("real/deep")).unwrap();
        let link = host.path().join("link");
        symlink("real/../real", &link).unwrap();
        let pinned = Pinned::at(&link.join("deep/file")).unwrap();
        fs::write(pinned.path(), "x").unwrap();
        assert!(host.path().join("real/deep/file").exists());
        assert_eq!(Pinned::at(&link.join("none/file")).err().unwrap().kind(), io::ErrorKind::NotFound);
        symlink("loop", host.path().join("loop")).unwrap();
        assert!(Pinned::at(&host.path().join("loop/file")).is_err());
        if nix::unistd::geteuid().is_root() {
            lchown(&link, Some(65534), Some(65534)).unwrap();
            let refused = Pinned::at(&link.join("deep/file")).err().unwrap();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        }
    }
}
