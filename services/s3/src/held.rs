//! The same door for whoever works on a job: what it stores is recorded only while it holds the job's lease.
//! So a holder that stood still, and goes on when another has the job, writes over nothing of the other's.

use crate::engine::S3;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use towpath_api::objects::{ObjectInfo, Objects, PutOptions};
use towpath_api::{ApiError, Call, async_trait};
use towpath_store::Lease;

pub struct HeldObjects {
    s3: Arc<S3>,
    lease: Lease,
}

impl S3 {
    /// [`Objects`] whose writes fail with `OperationAborted` once `lease` is lost.
    pub fn held(self: &Arc<Self>, lease: Lease) -> HeldObjects {
        HeldObjects { s3: self.clone(), lease }
    }
}

#[async_trait]
impl Objects for HeldObjects {
    async fn head(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<ObjectInfo, ApiError> {
        self.s3.head(call, bucket, key, version).await
    }

    async fn get_to_file(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        destination: &Path,
    ) -> Result<ObjectInfo, ApiError> {
        self.s3.get_to_file(call, bucket, key, version, destination).await
    }

    async fn get_bytes(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        limit_bytes: u64,
    ) -> Result<(ObjectInfo, Bytes), ApiError> {
        self.s3.get_bytes(call, bucket, key, version, limit_bytes).await
    }

    async fn put_file(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        source: &Path,
        options: PutOptions,
    ) -> Result<ObjectInfo, ApiError> {
        self.s3.store_file(call, (bucket, key), source, options, Some(&self.lease)).await
    }

    async fn put_bytes(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        content: Bytes,
        options: PutOptions,
    ) -> Result<ObjectInfo, ApiError> {
        let body = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(content)]);
        self.s3.store_stream(call, (bucket, key), body, options, Some(&self.lease)).await
    }

    async fn list(
        &self,
        call: &Call,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, ApiError> {
        self.s3.list(call, bucket, prefix, after, limit).await
    }
}
