//! Listing a folder without following symlinks.

use crate::{ArchiveError, Follow, Limits, Root};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{SFlag, fstatat};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One thing in a folder, with its path from the root.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub path: PathBuf,
    pub kind: FoundKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FoundKind {
    /// `mode` has permission bits only.
    File {
        mode: u32,
        size_bytes: u64,
    },
    Folder {
        mode: u32,
    },
    /// Not followed. The target is as it stands there, wherever it leads.
    Symlink {
        target: PathBuf,
    },
    /// Sockets, FIFOs, devices.
    Other,
}

impl Root {
    /// Everything beneath `start` (itself excluded), sorted by path, symlinks not followed, within
    /// `limits`' entries, depth and path length. What vanishes meanwhile is left out.
    pub fn walk(&self, start: &Path, limits: &Limits) -> Result<Vec<Found>, ArchiveError> {
        let start: PathBuf =
            start.components().filter(|c| !matches!(c, std::path::Component::CurDir)).collect();
        let mut found = Vec::new();
        let mut pending = vec![(start, 1)];
        while let Some((folder, depth)) = pending.pop() {
            if depth > limits.max_depth {
                return Err(ArchiveError::TooLarge(format!(
                    "folders deeper than {} levels",
                    limits.max_depth
                )));
            }
            for one in self.list_folder(&folder)? {
                if found.len() >= limits.max_entries {
                    return Err(ArchiveError::TooLarge(format!("more than {} files", limits.max_entries)));
                }
                if one.path.as_os_str().len() > limits.max_path_bytes {
                    return Err(ArchiveError::TooLarge(format!(
                        "a path over {} bytes",
                        limits.max_path_bytes
                    )));
                }
                if matches!(one.kind, FoundKind::Folder { .. }) {
                    pending.push((one.path.clone(), depth + 1));
                }
                found.push(one);
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn list_folder(&self, folder: &Path) -> Result<Vec<Found>, ArchiveError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let at = Root::from_fd(self.resolve(folder, flags, 0, Follow::No)?);
        let failed = |errno: nix::errno::Errno| ArchiveError::Io {
            what: folder.display().to_string(),
            source: errno.into(),
        };
        let mut dir = Dir::from_fd(at.resolve(Path::new("."), flags, 0, Follow::No)?).map_err(failed)?;
        let mut found = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(failed)?;
            let name: OsString = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            if name == "." || name == ".." {
                continue;
            }
            let Ok(stat) = fstatat(at.fd(), name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            let mode = stat.st_mode & 0o777;
            let format = stat.st_mode & SFlag::S_IFMT.bits();
            let kind = if format == SFlag::S_IFREG.bits() {
                FoundKind::File { mode, size_bytes: u64::try_from(stat.st_size).unwrap_or(0) }
            } else if format == SFlag::S_IFDIR.bits() {
                FoundKind::Folder { mode }
            } else if format == SFlag::S_IFLNK.bits() {
                let Ok(target) = readlinkat(at.fd(), name.as_os_str()) else { continue };
                FoundKind::Symlink { target: target.into() }
            } else {
                FoundKind::Other
            };
            found.push(Found { path: folder.join(&name), kind });
        }
        Ok(found)
    }
}
