//! The door for services in the same process: [`Objects`] over the engine, with the caller's policies.

use crate::access::authorize;
use crate::content::{self, Opened, Wanted};
use crate::engine::{S3, Unless};
use crate::errors;
use crate::store::{Content, Current, Headers, Version};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use std::path::Path;
use tokio::io::AsyncReadExt;
use towpath_api::objects::{ObjectInfo, Objects, PutOptions};
use towpath_api::{ApiError, Call, async_trait};
use towpath_store::{Lease, Order, key};

const READ_BYTES: usize = 256 << 10;

fn info(version: &Version, content: &Content) -> ObjectInfo {
    ObjectInfo {
        bucket: version.bucket.clone(),
        key: version.key.clone(),
        version_id: (!version.null).then(|| version.order.clone()),
        etag: content.etag.clone(),
        size_bytes: content.size_bytes,
        last_modified: version.last_modified,
        content_type: content.headers.content_type.clone(),
        metadata: content.metadata.clone(),
        sha256: content.sha256.clone(),
    }
}

impl S3 {
    /// The object for a reader that must be allowed to read it.
    async fn readable(
        &self,
        call: &Call,
        bucket: &str,
        object_key: &str,
        version: Option<&str>,
    ) -> Result<(ObjectInfo, Opened), ApiError> {
        let action = if version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
        authorize(call, action, &format!("arn:aws:s3:::{bucket}/{object_key}"))?;
        let (found, opened) = self.open(bucket, object_key, version).await?;
        let content = found.content().ok_or_else(|| errors::no_such_key(object_key))?;
        Ok((info(&found, content), opened))
    }

    /// `lease`: the object is recorded only while it is held.
    pub(crate) async fn store_stream<S, E>(
        &self,
        call: &Call,
        (bucket, object_key): (&str, &str),
        body: S,
        options: PutOptions,
        lease: Option<&Lease>,
    ) -> Result<ObjectInfo, ApiError>
    where
        S: futures_util::Stream<Item = Result<Bytes, E>>,
        E: std::fmt::Display,
    {
        authorize(call, "s3:PutObject", &format!("arn:aws:s3:::{bucket}/{object_key}"))?;
        self.bucket(bucket).await?;
        let written = content::receive(&self.blobs, body, Wanted::default()).await?;
        let (pieces, small) = written.body.named();
        let content = Content {
            size_bytes: written.size_bytes,
            pieces,
            small: small.as_ref().map(|small| small.id.clone()),
            etag: written.md5,
            sha256: written.sha256,
            checksums: written.checksums,
            headers: Headers {
                content_type: options.content_type,
                cache_control: options.cache_control,
                ..Headers::default()
            },
            metadata: options.metadata,
            tags: Default::default(),
        };
        let unless = if options.only_if_absent { Unless::Exists } else { Unless::Never };
        let stored = self.put(call, (bucket, object_key), content, &unless, "PutObject", |txn| {
            lease.into_iter().for_each(|lease| _ = txn.guard(lease));
            small.iter().for_each(|small| _ = txn.create(small));
        });
        let stored = stored.await?;
        let content = stored.content().cloned().ok_or_else(|| errors::no_such_key(object_key))?;
        Ok(info(&stored, &content))
    }

    pub(crate) async fn store_file(
        &self,
        call: &Call,
        at: (&str, &str),
        source: &Path,
        options: PutOptions,
        lease: Option<&Lease>,
    ) -> Result<ObjectInfo, ApiError> {
        let file = tokio::fs::File::open(source).await.map_err(errors::io)?;
        let body = stream::unfold(Some(file), |file| async move {
            let mut file = file?;
            let mut buffer = BytesMut::zeroed(READ_BYTES);
            match file.read(&mut buffer).await {
                Ok(0) => None,
                Ok(count) => {
                    buffer.truncate(count);
                    Some((Ok(buffer.freeze()), Some(file)))
                }
                Err(error) => Some((Err(error), None)),
            }
        });
        self.store_stream(call, at, body, options, lease).await
    }
}

#[async_trait]
impl Objects for S3 {
    async fn head(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<ObjectInfo, ApiError> {
        Ok(self.readable(call, bucket, key, version).await?.0)
    }

    async fn get_to_file(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        destination: &Path,
    ) -> Result<ObjectInfo, ApiError> {
        let (info, opened) = self.readable(call, bucket, key, version).await?;
        opened.copy_to(&self.blobs, destination).await.map_err(errors::io)?;
        Ok(info)
    }

    async fn get_bytes(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        limit_bytes: u64,
    ) -> Result<(ObjectInfo, Bytes), ApiError> {
        let (info, opened) = self.readable(call, bucket, key, version).await?;
        if info.size_bytes > limit_bytes {
            return Err(errors::malformed(format!(
                "s3://{bucket}/{key} has {} bytes; at most {limit_bytes} are read here",
                info.size_bytes
            )));
        }
        let mut bytes = BytesMut::with_capacity(info.size_bytes as usize);
        let mut stream = std::pin::pin!(opened.read(&self.blobs, 0..info.size_bytes));
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(errors::io)?);
        }
        Ok((info, bytes.freeze()))
    }

    async fn put_file(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        source: &Path,
        options: PutOptions,
    ) -> Result<ObjectInfo, ApiError> {
        self.store_file(call, (bucket, key), source, options, None).await
    }

    async fn put_bytes(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        content: Bytes,
        options: PutOptions,
    ) -> Result<ObjectInfo, ApiError> {
        let body = stream::iter([Ok::<_, std::convert::Infallible>(content)]);
        self.store_stream(call, (bucket, key), body, options, None).await
    }

    async fn list(
        &self,
        call: &Call,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, ApiError> {
        authorize(call, "s3:ListBucket", &format!("arn:aws:s3:::{bucket}"))?;
        self.bucket(bucket).await?;
        let after = after.map(|after| key(&[bucket, after]));
        let page = self
            .store
            .list::<Current>(&key(&[bucket, prefix]), after.as_deref(), limit, Order::Ascending)
            .await
            .map_err(errors::storage)?;
        let found = page.items.iter().filter_map(|current| Some(info(&current.0, current.0.content()?)));
        Ok(found.collect())
    }
}
