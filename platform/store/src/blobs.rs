//! Large immutable objects as files: written once, hashed on the way, never changed.
//!
//! **What it owns.** One folder: `tmp/` holds what is being written, `ab/<id>` what is complete. The id is
//! random and starts with `ab`; who refers to it is the business of the documents. All 256 folders are made
//! and synced by [`Blobs::open`], so that a new blob syncs its file and one folder, and never a parent: a
//! sync of a folder costs as much as everything else of a small blob together.
//!
//! **Invariants.** A blob has its name only after its bytes are on the disk: [`BlobWriter::finish`]
//! syncs the file, renames it and syncs its folder, before it returns. Nothing is ever overwritten.
//!
//! **Crash.** What was being written lies in `tmp/` and is swept by the next [`Blobs::open`]. A blob that
//! was finished, but whose document never was committed, belongs to nobody: [`Blobs::ids`] lets the
//! owner find it.

use crate::StoreError;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use towpath_api::id;

/// Bytes that are gathered before they are hashed and written on a blocking thread.
const BUFFER_BYTES: usize = 1 << 20;
const ID_LENGTH: usize = 32;

/// A blob's name: 32 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobId(String);

/// A text that is no blob's name; it never becomes a path.
#[derive(Debug, thiserror::Error)]
#[error("not a blob's id: {0:?}")]
pub struct BadBlobId(String);

impl BlobId {
    fn random() -> BlobId {
        BlobId(id::hex(&id::random_bytes::<{ ID_LENGTH / 2 }>()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BlobId {
    type Error = BadBlobId;

    fn try_from(text: String) -> Result<BlobId, BadBlobId> {
        let hexadecimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == ID_LENGTH && hexadecimal { Ok(BlobId(text)) } else { Err(BadBlobId(text)) }
    }
}

impl From<BlobId> for String {
    fn from(id: BlobId) -> String {
        id.0
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a finished blob is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    pub id: BlobId,
    pub size_bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// Lower-case hexadecimal: S3's ETag.
    pub md5: String,
}

/// The folder of blobs. A cheap handle.
#[derive(Clone, Debug)]
pub struct Blobs {
    root: PathBuf,
}

impl Blobs {
    /// Makes the folder (0700) where it is missing, and removes what a crash left half written. Only one
    /// process may have a folder open: the lock of the [`crate::Store`] beside it sees to that.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Blobs, StoreError> {
        let root = root.into();
        blocking(move || {
            let temporary = root.join("tmp");
            private_folder(&temporary)?;
            for entry in fs::read_dir(&temporary)? {
                fs::remove_file(entry?.path())?;
            }
            for shard in 0..=u8::MAX {
                private_folder(&root.join(id::hex(&[shard])))?;
            }
            // Also when they were there: the process that made them may have died before it synced.
            sync_folder(&root)?;
            Ok(Blobs { root })
        })
        .await
    }

    /// Starts a new blob.
    pub async fn writer(&self) -> Result<BlobWriter, StoreError> {
        let id = BlobId::random();
        let temporary = Temporary(self.root.join("tmp").join(id.as_str()));
        let destination = self.path(&id);
        let work = blocking(move || {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary.0)?;
            Ok(Work { file, temporary, sha256: Sha256::new(), md5: Md5::new(), size_bytes: 0 })
        })
        .await?;
        Ok(BlobWriter { id, destination, buffer: Vec::new(), work: Some(work), size_bytes: 0 })
    }

    /// Stores `content` in one go.
    pub async fn put(&self, content: &[u8]) -> Result<Blob, StoreError> {
        let mut writer = self.writer().await?;
        writer.write(content).await?;
        writer.finish().await
    }

    /// Opens a blob for reading; `NotFound` inside [`StoreError::Storage`] where there is none.
    pub async fn open_blob(&self, id: &BlobId) -> Result<tokio::fs::File, StoreError> {
        Ok(tokio::fs::File::open(self.path(id)).await?)
    }

    /// Where a blob's bytes are. Read it, hard-link it, never write to it.
    pub fn path(&self, id: &BlobId) -> PathBuf {
        self.root.join(&id.0[..2]).join(&id.0)
    }

    /// Removes a blob; one that is gone is no error. Readers that have it open keep their bytes.
    pub async fn delete(&self, id: &BlobId) -> Result<(), StoreError> {
        match tokio::fs::remove_file(self.path(id)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Every blob whose id starts with `shard` (two hexadecimal digits) and when it was written: for an
    /// owner's search for blobs that no document names, 1/256 of the folder at a time.
    pub async fn ids(&self, shard: u8) -> Result<Vec<(BlobId, SystemTime)>, StoreError> {
        let folder = self.root.join(id::hex(&[shard]));
        blocking(move || {
            let mut found = Vec::new();
            for file in entries(&folder)? {
                let name = file.file_name().and_then(|name| name.to_str()).map(str::to_owned);
                let Some(id) = name.and_then(|name| BlobId::try_from(name).ok()) else { continue };
                found.push((id, fs::metadata(&file)?.modified()?));
            }
            Ok(found)
        })
        .await
    }
}

/// A blob that is being written. Dropped before [`finish`](BlobWriter::finish), it leaves nothing.
pub struct BlobWriter {
    id: BlobId,
    destination: PathBuf,
    buffer: Vec<u8>,
    /// `None` after a failed write: the blob is lost.
    work: Option<Work>,
    size_bytes: u64,
}

impl BlobWriter {
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.size_bytes += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Bytes given to the writer so far: for a caller's limit.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Puts the blob on the disk and gives it its name. Durable when it returns.
    pub async fn finish(mut self) -> Result<Blob, StoreError> {
        self.flush().await?;
        let work = self.work.take().ok_or_else(lost)?;
        let (id, destination) = (self.id, self.destination);
        blocking(move || work.publish(id, &destination)).await
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let mut work = self.work.take().ok_or_else(lost)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let (work, buffer) = blocking(move || {
            work.write(&buffer)?;
            buffer.clear();
            Ok((work, buffer))
        })
        .await?;
        (self.work, self.buffer) = (Some(work), buffer);
        Ok(())
    }
}

struct Work {
    file: File,
    temporary: Temporary,
    sha256: Sha256,
    md5: Md5,
    size_bytes: u64,
}

impl Work {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.sha256.update(bytes);
        self.md5.update(bytes);
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }

    fn publish(self, id: BlobId, destination: &Path) -> io::Result<Blob> {
        self.file.sync_all()?;
        // The blob exists once it has its name: a rename that was not synced can be undone by a crash.
        fs::rename(&self.temporary.0, destination)?;
        sync_folder(destination.parent().unwrap_or(Path::new(".")))?;
        Ok(Blob {
            id,
            size_bytes: self.size_bytes,
            sha256: id::hex(&self.sha256.finalize()),
            md5: id::hex(&self.md5.finalize()),
        })
    }
}

/// A file in `tmp/`, removed when it is dropped (after the rename there is nothing left to remove).
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn lost() -> StoreError {
    StoreError::storage("an earlier write of this blob failed")
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(StoreError::storage(error)),
    }
}
