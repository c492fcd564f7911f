//! Questions about places on the host.

use crate::work::WorkError;
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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
        let here = match look(folder)? {
            Some(found) if found.is_symlink() => {
                found.uid() == 0 || found.uid() == nix::unistd::geteuid().as_raw()
            }
            _ => true,
        };
        self.seen.insert(folder.to_owned(), above && here);
        Ok(above && here)
    }
}
