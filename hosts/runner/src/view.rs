//! Reading a sandbox's files from outside, where every name is hostile.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::RunnerError;

/// A folder whose content is hostile: nothing that is opened through it leaves it, whatever links it holds.
/// Made of a sandbox ([`crate::Sandbox::view`], then [`View::folder`]) or of a host folder ([`View::open`]).
#[derive(Debug)]
pub struct View {}

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
    pub fn open(_path: &Path) -> Result<View, RunnerError> {
        Ok(View {})
    }

    /// The folder at `path`. In a sandbox's view links lead where they lead inside (absolute ones too); the
    /// result itself is strict: nothing leaves it.
    pub fn folder(&self, _path: &Path) -> Result<View, RunnerError> {
        Ok(View {})
    }

    /// Opens a regular file for reading; refuses anything else, and any link on the way that leaves.
    pub fn open_beneath(&self, path: &Path) -> Result<File, RunnerError> {
        Err(RunnerError::Invalid(path.display().to_string()))
    }

    /// What `path` is, without following its last link.
    pub fn entry(&self, path: &Path) -> Result<Entry, RunnerError> {
        Err(RunnerError::Invalid(path.display().to_string()))
    }

    /// Target text of a link.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf, RunnerError> {
        Err(RunnerError::Invalid(path.display().to_string()))
    }

    /// All entries below, folders before their content, names sorted, links not followed. Refuses more than
    /// `limit` entries.
    pub fn walk(&self, _limit: usize) -> Result<Vec<Entry>, RunnerError> {
        Ok(Vec::new())
    }
}
