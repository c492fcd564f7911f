//! The port to object storage, for services that read and write artifacts. Implemented by `services/s3`.

use crate::{ApiError, Call, Timestamp, async_trait};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;

/// One version of one object.
#[derive(Clone, Debug)]
pub struct ObjectInfo {
    pub bucket: String,
    pub key: String,
    /// `None` in a bucket that was never versioned.
    pub version_id: Option<String>,
    /// Without quotes.
    pub etag: String,
    pub size_bytes: u64,
    pub last_modified: Timestamp,
    pub content_type: Option<String>,
    pub metadata: BTreeMap<String, String>,
    /// Lower-case hex of the content's SHA-256.
    pub sha256: String,
}

/// Every method authorizes the caller as the S3 operation of the same meaning does, and fails with S3's
/// codes (`NoSuchBucket`, `NoSuchKey`, `AccessDenied`).
#[async_trait]
pub trait Objects: Send + Sync {
    async fn head(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<ObjectInfo, ApiError>;

    /// Writes the content to `destination`, which must not exist.
    async fn get_to_file(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        destination: &Path,
    ) -> Result<ObjectInfo, ApiError>;

    /// The content in memory; larger than `limit_bytes` is an error.
    async fn get_bytes(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        limit_bytes: u64,
    ) -> Result<(ObjectInfo, Bytes), ApiError>;

    /// Stores a file's content: durable when it returns.
    async fn put_file(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        source: &Path,
        options: PutOptions,
    ) -> Result<ObjectInfo, ApiError>;

    async fn put_bytes(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        content: Bytes,
        options: PutOptions,
    ) -> Result<ObjectInfo, ApiError>;

    /// Keys with a prefix, in order, after `after`; at most `limit`.
    async fn list(
        &self,
        call: &Call,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, ApiError>;
}

#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub metadata: BTreeMap<String, String>,
    /// `PreconditionFailed` where the key already has an object: an artifact is stored once.
    pub only_if_absent: bool,
}
