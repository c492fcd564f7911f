//! Large immutable objects: written once, hashed on the way, never changed.
//!
//! **What it owns.** One home for blobs: a folder of this machine ([`folder`]) for a server alone, or a
//! prefix of a bucket ([`remote`]) that several nodes share. Both have two parts: blobs, whose names are
//! random and whose meaning is the business of the documents that name them; and files ([`files`]), whose
//! names their owner chooses.
//!
//! **Invariants.** A blob has its name only after its bytes are safe: [`BlobWriter::finish`] returns when
//! the file and its folder are synced, or when the object store has acknowledged the whole object. Nothing
//! is ever overwritten. Neither home takes more memory for a large blob than for a small one.
//!
//! **Crash.** What was being written is swept by the next start, or never becomes an object. A blob that
//! was finished, but whose document never was committed, belongs to nobody: [`Blobs::ids`] lets the owner
//! find it, with its age, for on a shared home another node's blob may be about to be named.

mod files;
mod folder;
mod location;
mod remote;
#[cfg(test)]
mod remote_tests;
mod spool;
mod stream;
mod transport;

pub use files::{FileEntry, FileName, Files};
pub use location::{Location, LocationError};
pub use stream::BlobStream;

use crate::StoreError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::ops::Range;
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

    /// The first two digits: which of 256 folders it is in.
    fn shard(&self) -> &str {
        &self.0[..2]
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

/// The home of blobs. A cheap handle.
#[derive(Clone, Debug)]
pub struct Blobs {
    home: Home,
}

#[derive(Clone, Debug)]
enum Home {
    Folder(folder::Folder),
    Remote(remote::Remote),
}

impl Blobs {
    /// A folder of this machine: makes it (0700) where it is missing, and removes what a crash left half
    /// written. Only one process may have a folder open: the lock of the [`crate::Store`] beside it sees
    /// to that.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Blobs, StoreError> {
        Ok(Blobs { home: Home::Folder(folder::Folder::open(root.into()).await?) })
    }

    /// A bucket that several nodes share. `spool` is a folder of this process alone, for large blobs on
    /// their way. `owner` names the database that the bucket's prefix belongs to: a prefix that belongs to
    /// another one is refused, for each would sweep the other's blobs away.
    pub async fn connect(location: &Location, spool: PathBuf, owner: &str) -> Result<Blobs, StoreError> {
        Ok(Blobs { home: Home::Remote(remote::Remote::connect(location, spool, owner).await?) })
    }

    /// Starts a new blob.
    pub async fn writer(&self) -> Result<BlobWriter, StoreError> {
        let id = BlobId::random();
        let sink = match &self.home {
            Home::Folder(folder) => Sink::Folder(Box::new(folder.sink(&id).await?)),
            Home::Remote(remote) => Sink::Remote(Box::new(remote.sink(&id))),
        };
        Ok(BlobWriter { id, sink, buffer: Vec::new(), size_bytes: 0 })
    }

    /// Stores `content` in one go.
    pub async fn put(&self, content: &[u8]) -> Result<Blob, StoreError> {
        let mut writer = self.writer().await?;
        writer.write(content).await?;
        writer.finish().await
    }

    /// The bytes `range` of a blob, read as they are polled. A blob that is not there is an error of kind
    /// `NotFound` as the first item; one that ends early, `UnexpectedEof`.
    pub fn read(&self, id: &BlobId, range: Range<u64>) -> BlobStream {
        match &self.home {
            Home::Folder(folder) => folder.read(id, range),
            Home::Remote(remote) => remote.read(id, range),
        }
    }

    /// Copies a whole blob to a new file (0600).
    pub async fn copy_to(&self, id: &BlobId, size_bytes: u64, destination: &Path) -> io::Result<()> {
        stream::to_new_file(self.read(id, 0..size_bytes), destination).await
    }

    /// Removes a blob; one that is gone is no error. Readers that have it open may keep their bytes.
    pub async fn delete(&self, id: &BlobId) -> Result<(), StoreError> {
        match &self.home {
            Home::Folder(folder) => folder.delete(id).await,
            Home::Remote(remote) => remote.delete(id).await,
        }
    }

    /// Every blob whose id starts with `shard` (two hexadecimal digits) and when it was written: for an
    /// owner's search for blobs that no document names, 1/256 of the home at a time.
    pub async fn ids(&self, shard: u8) -> Result<Vec<(BlobId, SystemTime)>, StoreError> {
        match &self.home {
            Home::Folder(folder) => folder.ids(shard).await,
            Home::Remote(remote) => remote.ids(shard).await,
        }
    }

    /// The part for files whose names begin with `space`.
    pub fn files(&self, space: FileName) -> Files {
        Files::new(self.home.clone(), space)
    }

    /// Whether other processes may write here too.
    pub fn is_shared(&self) -> bool {
        matches!(self.home, Home::Remote(_))
    }
}

/// A blob that is being written. Dropped before [`finish`](BlobWriter::finish), it leaves nothing.
pub struct BlobWriter {
    id: BlobId,
    sink: Sink,
    buffer: Vec<u8>,
    size_bytes: u64,
}

enum Sink {
    Folder(Box<folder::Sink>),
    Remote(Box<remote::Sink>),
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

    /// Puts the blob in its home and gives it its name. Durable when it returns.
    pub async fn finish(mut self) -> Result<Blob, StoreError> {
        match self.sink {
            Sink::Folder(mut sink) => {
                sink.write(std::mem::take(&mut self.buffer)).await?;
                sink.finish(self.id).await
            }
            Sink::Remote(sink) => sink.finish(self.id, self.buffer).await,
        }
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let buffer = std::mem::take(&mut self.buffer);
        self.buffer = match &mut self.sink {
            Sink::Folder(sink) => sink.write(buffer).await?,
            Sink::Remote(sink) => sink.write(buffer).await?,
        };
        Ok(())
    }
}

fn lost() -> StoreError {
    StoreError::storage("an earlier write of this blob failed")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(StoreError::storage(error)),
    }
}
