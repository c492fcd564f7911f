//! Files with chosen names beside the blobs: packs of a repository, for example.
//!
//! A name stands for one content for ever, as a digest does: putting what is there already changes nothing.

use super::{BlobId, Home};
use crate::StoreError;
use std::path::Path;
use std::time::SystemTime;

const MAX_NAME_BYTES: usize = 512;

/// `part/part/…`: each part of letters, digits, `.`, `_` and `-`, and not beginning with a dot. It never
/// leads out of its folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName(String);

/// A text that is no file's name.
#[derive(Debug, thiserror::Error)]
#[error("not a file's name: {0:?}")]
pub struct BadFileName(String);

impl FileName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FileName {
    type Error = BadFileName;

    fn try_from(text: String) -> Result<FileName, BadFileName> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain);
        if text.len() <= MAX_NAME_BYTES && text.split('/').all(part) {
            Ok(FileName(text))
        } else {
            Err(BadFileName(text))
        }
    }
}

/// One file of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Below the handle's space.
    pub name: String,
    pub size_bytes: u64,
    pub modified_at: SystemTime,
}

/// The files below one space. A cheap handle.
#[derive(Clone, Debug)]
pub struct Files {
    home: Home,
    space: FileName,
}

impl Files {
    pub(super) fn new(home: Home, space: FileName) -> Files {
        Files { home, space }
    }

    fn full(&self, name: &FileName) -> String {
        format!("{}/{}", self.space.as_str(), name.as_str())
    }

    /// Copies `source` to `name`; durable when it returns. `false`: it was there already, untouched.
    pub async fn put(&self, name: &FileName, source: &Path) -> Result<bool, StoreError> {
        let name = self.full(name);
        match &self.home {
            Home::Folder(folder) => folder.put_file(&name, source).await,
            Home::Remote(remote) => remote.put_file(&name, source).await,
        }
    }

    /// Copies a file to a new one (0600) of this machine; `false` where there is none.
    pub async fn get(&self, name: &FileName, destination: &Path) -> Result<bool, StoreError> {
        let name = self.full(name);
        match &self.home {
            Home::Folder(folder) => folder.get_file(&name, destination).await,
            Home::Remote(remote) => remote.get_file(&name, destination).await,
        }
    }

    /// One that is gone is no error.
    pub async fn delete(&self, name: &FileName) -> Result<(), StoreError> {
        let name = self.full(name);
        match &self.home {
            Home::Folder(folder) => folder.delete_file(&name).await,
            Home::Remote(remote) => remote.delete_file(&name).await,
        }
    }

    /// Every file below `folder`, or of the whole space, by name.
    pub async fn list(&self, folder: Option<&FileName>) -> Result<Vec<FileEntry>, StoreError> {
        let from = folder.map_or_else(|| self.space.as_str().to_owned(), |folder| self.full(folder));
        let mut found = match &self.home {
            Home::Folder(home) => home.list_files(&from).await?,
            Home::Remote(remote) => remote.list_files(&from).await?,
        };
        let space = format!("{}/", self.space.as_str());
        for entry in &mut found {
            entry.name = entry.name.strip_prefix(&space).unwrap_or(&entry.name).to_owned();
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }
}

/// A name for a file on its way, in a spool folder.
pub(super) fn temporary_name() -> String {
    BlobId::random().0
}
