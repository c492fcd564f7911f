//! The documents of S3, and how their keys sort.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use towpath_api::Timestamp;
use towpath_store::blobs::BlobId;
use towpath_store::{Document, key};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioning {
    /// Never enabled: every object has the version `null`, and nothing speaks of versions.
    Never,
    Enabled,
    Suspended,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    pub name: String,
    pub created_at: Timestamp,
    pub region: String,
    pub versioning: Versioning,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl Document for Bucket {
    const KIND: &'static str = "s3.bucket";

    fn key(&self) -> String {
        self.name.clone()
    }
}

/// A piece of content in the home of blobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    pub blob: BlobId,
    pub size_bytes: u64,
}

/// Base64 checksums by S3's names for the algorithms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checksums {
    pub crc32: Option<String>,
    pub crc32c: Option<String>,
    pub crc64nvme: Option<String>,
    pub sha1: Option<String>,
    pub sha256: Option<String>,
}

/// The headers that an object was stored with and is served with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Headers {
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
}

/// What an object holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Content {
    pub pieces: Vec<Piece>,
    /// Where the content is small: the [`SmallContent`] that has all of it, and there are no pieces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small: Option<String>,
    pub size_bytes: u64,
    pub etag: String,
    /// Lower-case hex over the whole content.
    pub sha256: String,
    pub checksums: Checksums,
    pub headers: Headers,
    pub metadata: BTreeMap<String, String>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// What a version is: the enum carries what only an object has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    Object(Box<Content>),
    DeleteMarker,
}

/// One version of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    pub bucket: String,
    pub key: String,
    /// Sorts newest first; the version's id where the bucket is versioned.
    pub order: String,
    /// Whether clients call it `null`.
    pub null: bool,
    pub last_modified: Timestamp,
    pub entry: Entry,
}

impl Version {
    pub fn id(&self) -> &str {
        if self.null { "null" } else { &self.order }
    }

    pub fn content(&self) -> Option<&Content> {
        match &self.entry {
            Entry::Object(content) => Some(content),
            Entry::DeleteMarker => None,
        }
    }
}

impl Document for Version {
    const KIND: &'static str = "s3.version";

    fn key(&self) -> String {
        key(&[&self.bucket, &self.key, &self.order])
    }
}

/// The newest version of a key where it is an object: what GET and listings read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Current(pub Version);

impl Document for Current {
    const KIND: &'static str = "s3.current";

    fn key(&self) -> String {
        key(&[&self.0.bucket, &self.0.key])
    }
}

/// The bytes of one version's small content, beside its record: both are committed, and deleted, together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmallContent {
    pub id: String,
    /// Base64.
    pub bytes: String,
}

impl Document for SmallContent {
    const KIND: &'static str = "s3.small-content";

    fn key(&self) -> String {
        self.id.clone()
    }
}

/// That a record names a blob: the sweep keeps what has one. A blob may be named by several
/// records (a copy), each under its own owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlobUse {
    pub blob: BlobId,
    pub owner: String,
}

impl Document for BlobUse {
    const KIND: &'static str = "s3.blob-use";

    fn key(&self) -> String {
        key(&[self.blob.as_str(), &self.owner])
    }
}

/// That the sweep removed a blob, or is about to: no record may name it any more, however late a writer
/// comes that was stopped between storing content and recording it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweptBlob {
    pub blob: BlobId,
    pub at: Timestamp,
}

impl Document for SweptBlob {
    const KIND: &'static str = "s3.swept-blob";

    fn key(&self) -> String {
        self.blob.as_str().to_owned()
    }
}

/// The kind of the documents that name blobs, for a backup.
pub const BLOB_USE_KIND: &str = BlobUse::KIND;

/// The blob that such a document's key names.
pub fn blob_of_use(key: &str) -> Option<BlobId> {
    BlobId::try_from(key.split('\u{1f}').next()?.to_owned()).ok()
}

/// A multipart upload in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upload {
    pub bucket: String,
    pub key: String,
    pub id: String,
    pub initiated_at: Timestamp,
    pub headers: Headers,
    pub metadata: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
}

impl Document for Upload {
    const KIND: &'static str = "s3.upload";

    fn key(&self) -> String {
        key(&[&self.bucket, &self.key, &self.id])
    }
}

/// One uploaded part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    pub upload: String,
    pub number: u32,
    pub piece: Piece,
    pub md5: String,
    pub checksums: Checksums,
    pub last_modified: Timestamp,
}

impl Document for Part {
    const KIND: &'static str = "s3.part";

    fn key(&self) -> String {
        key(&[&self.upload, &format!("{:05}", self.number)])
    }
}
