//! Buckets, and what happens to a key: put, look up, delete, in one transaction each.

use crate::content::Opened;
use crate::errors;
use crate::store::{BlobUse, Bucket, Content, Current, Entry, SmallContent, SweptBlob, Version, Versioning};
use crate::sweep;
use std::sync::Arc;
use towpath_api::{ApiError, Call, Event, Identity, Timestamp, id};
use towpath_durable::Shutdown;
use towpath_store::blobs::{BlobId, Blobs};
use towpath_store::{Job, Order, Store, StoreError, Txn, Versioned, key};

pub const MAX_KEY_BYTES: usize = 1024;
/// Attempts at a key that others write at the same moment.
const MAX_CONFLICTS: usize = 64;

pub struct Config {
    pub account: String,
    pub region: String,
    /// Domains under which `bucket.domain` addresses a bucket, `localhost` for instance.
    pub domains: Vec<String>,
}

/// The S3 service.
pub struct S3 {
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) identity: Arc<dyn Identity>,
    pub(crate) config: Config,
}

/// A condition on what a write replaces.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Unless {
    #[default]
    Never,
    /// `If-None-Match: *`.
    Exists,
    /// `If-Match: etag`.
    EtagDiffers(String),
}

impl S3 {
    /// `blobs` is where content is kept, beside the `store` that names it.
    pub fn new(store: Store, blobs: Blobs, identity: Arc<dyn Identity>, config: Config) -> Arc<Self> {
        Arc::new(S3 { store, blobs, identity, config })
    }

    /// Deletes content that no record names any more, until told to stop.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        sweep::run(self, shutdown).await;
    }

    pub async fn bucket(&self, name: &str) -> Result<Versioned<Bucket>, ApiError> {
        self.store.get(name).await.map_err(errors::storage)?.ok_or_else(|| errors::no_such_bucket(name))
    }

    pub async fn create_bucket(&self, name: &str) -> Result<(), ApiError> {
        let bucket = Bucket {
            name: name.into(),
            created_at: self.store.now(),
            region: self.config.region.clone(),
            versioning: Versioning::Never,
            tags: Default::default(),
        };
        let mut txn = Txn::new();
        txn.create(&bucket);
        match self.store.commit(txn).await {
            Err(StoreError::Conflict { .. }) => Err(errors::bucket_already_owned()),
            other => other.map_err(errors::storage),
        }
    }

    /// Changes a bucket's document, again and again while others change it too.
    pub async fn change_bucket(&self, name: &str, change: impl Fn(&mut Bucket)) -> Result<(), ApiError> {
        for _ in 0..MAX_CONFLICTS {
            let old = self.bucket(name).await?;
            let mut new = old.doc.clone();
            change(&mut new);
            let mut txn = Txn::new();
            txn.replace(&old, &new);
            match self.store.commit(txn).await {
                Err(StoreError::Conflict { .. }) => continue,
                other => return other.map_err(errors::storage),
            }
        }
        Err(errors::contended())
    }

    pub async fn delete_bucket(&self, name: &str) -> Result<(), ApiError> {
        let bucket = self.bucket(name).await?;
        let versions = self.store.list::<Version>(&key(&[name, ""]), None, 1, Order::Ascending).await;
        if !versions.map_err(errors::storage)?.items.is_empty() {
            return Err(errors::bucket_not_empty());
        }
        let mut txn = Txn::new();
        txn.delete(&bucket);
        self.store.commit(txn).await.map_err(errors::storage)
    }

    /// The current object of a key.
    pub async fn current(&self, bucket: &str, object_key: &str) -> Result<Option<Version>, ApiError> {
        let current =
            self.store.get::<Current>(&key(&[bucket, object_key])).await.map_err(errors::storage)?;
        Ok(current.map(|current| current.doc.0))
    }

    /// A version by the id that clients use.
    pub async fn version(
        &self,
        bucket: &str,
        object_key: &str,
        id: &str,
    ) -> Result<Versioned<Version>, ApiError> {
        if id != "null" {
            let found = self.store.get::<Version>(&key(&[bucket, object_key, id])).await;
            return found
                .map_err(errors::storage)?
                .filter(|found| !found.null)
                .ok_or_else(errors::no_such_version);
        }
        self.null_version(bucket, object_key).await?.ok_or_else(errors::no_such_version)
    }

    async fn null_version(
        &self,
        bucket: &str,
        object_key: &str,
    ) -> Result<Option<Versioned<Version>>, ApiError> {
        let prefix = key(&[bucket, object_key, ""]);
        let mut after: Option<String> = None;
        loop {
            let page = self
                .store
                .list::<Version>(&prefix, after.as_deref(), 1000, Order::Ascending)
                .await
                .map_err(errors::storage)?;
            if let Some(found) = page.items.into_iter().find(|version| version.null) {
                return Ok(Some(found));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(None),
            }
        }
    }

    /// The object that a GET of `object_key` (and perhaps of one version) means.
    pub async fn find(
        &self,
        bucket: &str,
        object_key: &str,
        version: Option<&str>,
    ) -> Result<Version, ApiError> {
        match version {
            Some(id) => {
                self.bucket(bucket).await?;
                let found = self.version(bucket, object_key, id).await?.doc;
                if found.content().is_none() {
                    return Err(errors::method_not_allowed());
                }
                Ok(found)
            }
            None => match self.current(bucket, object_key).await? {
                Some(found) => Ok(found),
                None => {
                    self.bucket(bucket).await?;
                    Err(errors::no_such_key(object_key))
                }
            },
        }
    }

    /// The same object with its content. Between reading the record and small content the object may be
    /// replaced: then it is the newer one.
    pub async fn open(
        &self,
        bucket: &str,
        object_key: &str,
        version: Option<&str>,
    ) -> Result<(Version, Opened), ApiError> {
        for _ in 0..MAX_CONFLICTS {
            let found = self.find(bucket, object_key, version).await?;
            let content = found.content().ok_or_else(|| errors::no_such_key(object_key))?;
            let Some(id) = &content.small else {
                let opened = Opened::Blobs(content.pieces.clone());
                return Ok((found, opened));
            };
            if let Some(small) = self.store.get::<SmallContent>(id).await.map_err(errors::storage)? {
                let opened = Opened::small(content, &small).map_err(errors::io)?;
                return Ok((found, opened));
            }
        }
        Err(errors::contended())
    }

    /// Makes `content` the key's current object and emits S3's event for it. Where it is small, `extend`
    /// creates its bytes.
    pub async fn put(
        &self,
        call: &Call,
        (bucket, object_key): (&str, &str),
        content: Content,
        unless: &Unless,
        reason: &str,
        extend: impl Fn(&mut Txn),
    ) -> Result<Version, ApiError> {
        check_key(object_key)?;
        for _ in 0..MAX_CONFLICTS {
            let owner = self.bucket(bucket).await?;
            let current =
                self.store.get::<Current>(&key(&[bucket, object_key])).await.map_err(errors::storage)?;
            check(unless, current.as_ref().map(|current| &current.doc.0))?;
            let mut txn = Txn::new();
            txn.expect(&owner);
            match &current {
                Some(seen) => txn.expect(seen),
                None => txn.expect_absent::<Current>(&key(&[bucket, object_key])),
            };
            let version =
                self.next_version(&owner, object_key, Entry::Object(Box::new(content.clone()))).await?;
            self.write_version(&mut txn, &owner, &version).await?;
            txn.put(&Current(version.clone()));
            txn.emit(created(call, &version, &content, reason));
            extend(&mut txn);
            match self.store.commit(txn).await {
                Err(StoreError::Conflict { .. }) => continue,
                Err(StoreError::LeaseLost { .. }) => return Err(errors::lost()),
                Ok(()) => return Ok(version),
                Err(error) => return Err(errors::storage(error)),
            }
        }
        Err(errors::contended())
    }

    /// A version that sorts before every other of its key, whatever the clock does.
    async fn next_version(
        &self,
        bucket: &Bucket,
        object_key: &str,
        entry: Entry,
    ) -> Result<Version, ApiError> {
        let newest = self.newest(&bucket.name, object_key, 1).await?;
        let now = self.store.now();
        let mut inverted = u64::MAX - now.as_millis().max(0) as u64;
        let previous =
            newest.first().and_then(|newest| u64::from_str_radix(newest.order.get(..16)?, 16).ok());
        if let Some(previous) = previous {
            inverted = inverted.min(previous.saturating_sub(1));
        }
        Ok(Version {
            bucket: bucket.name.clone(),
            key: object_key.into(),
            order: format!("{inverted:016x}{}", id::hex(&id::random_bytes::<8>())),
            null: bucket.versioning != Versioning::Enabled,
            last_modified: Timestamp::from_millis(now.as_millis()),
            entry,
        })
    }

    pub async fn newest(
        &self,
        bucket: &str,
        object_key: &str,
        limit: usize,
    ) -> Result<Vec<Versioned<Version>>, ApiError> {
        let prefix = key(&[bucket, object_key, ""]);
        let page = self.store.list(&prefix, None, limit, Order::Ascending).await.map_err(errors::storage)?;
        Ok(page.items)
    }

    /// Adds a version's record; a `null` one replaces the `null` one before it.
    async fn write_version(&self, txn: &mut Txn, bucket: &Bucket, version: &Version) -> Result<(), ApiError> {
        if version.null
            && let Some(old) = self.null_version(&bucket.name, &version.key).await?
        {
            self.drop_version(txn, &old).await?;
        }
        txn.create(version);
        for piece in version.content().into_iter().flat_map(|content| &content.pieces) {
            use_blob(txn, &piece.blob, version_owner(version));
        }
        Ok(())
    }

    /// Removes a version's record with its small content, or has its blobs looked at.
    async fn drop_version(&self, txn: &mut Txn, version: &Versioned<Version>) -> Result<(), ApiError> {
        txn.delete(version);
        if let Some(id) = version.content().and_then(|content| content.small.as_deref())
            && let Some(small) = self.store.get::<SmallContent>(id).await.map_err(errors::storage)?
        {
            txn.delete(&small);
        }
        for piece in version.content().into_iter().flat_map(|content| &content.pieces) {
            release(txn, &piece.blob, &version_owner(version));
        }
        Ok(())
    }

    /// What DELETE without a version does: a delete marker where there are versions, else the end of
    /// the object. Returns the marker.
    pub async fn delete(
        &self,
        call: &Call,
        bucket: &str,
        object_key: &str,
    ) -> Result<Option<Version>, ApiError> {
        for _ in 0..MAX_CONFLICTS {
            let owner = self.bucket(bucket).await?;
            let current =
                self.store.get::<Current>(&key(&[bucket, object_key])).await.map_err(errors::storage)?;
            let mut txn = Txn::new();
            txn.expect(&owner);
            if let Some(current) = &current {
                txn.delete(current);
            }
            let marker = if owner.versioning == Versioning::Never {
                let Some(old) = self.null_version(bucket, object_key).await? else { return Ok(None) };
                self.drop_version(&mut txn, &old).await?;
                None
            } else {
                let marker = self.next_version(&owner, object_key, Entry::DeleteMarker).await?;
                self.write_version(&mut txn, &owner, &marker).await?;
                Some(marker)
            };
            txn.emit(deleted(call, bucket, object_key, marker.as_ref(), "Delete Marker Created"));
            match self.store.commit(txn).await {
                Err(StoreError::Conflict { .. }) => continue,
                Ok(()) => return Ok(marker),
                Err(error) => return Err(errors::storage(error)),
            }
        }
        Err(errors::contended())
    }

    /// What DELETE of one version does: that version is gone, and the next newest object is current.
    /// Returns the removed version, `None` when there was none.
    pub async fn delete_version(
        &self,
        call: &Call,
        bucket: &str,
        object_key: &str,
        version: &str,
    ) -> Result<Option<Version>, ApiError> {
        for _ in 0..MAX_CONFLICTS {
            let owner = self.bucket(bucket).await?;
            let old = match self.version(bucket, object_key, version).await {
                Ok(old) => old,
                Err(error) if error.code == "NoSuchVersion" => return Ok(None),
                Err(error) => return Err(error),
            };
            let mut txn = Txn::new();
            txn.expect(&owner);
            self.drop_version(&mut txn, &old).await?;
            let newest = self.newest(bucket, object_key, 2).await?;
            if newest.first().is_some_and(|newest| newest.order == old.order) {
                match newest.get(1).filter(|next| next.content().is_some()) {
                    Some(next) => {
                        txn.expect(next);
                        txn.put(&Current(next.doc.clone()));
                    }
                    None => {
                        let current = self.store.get::<Current>(&key(&[bucket, object_key])).await;
                        if let Some(current) = current.map_err(errors::storage)? {
                            txn.delete(&current);
                        }
                    }
                }
            }
            txn.emit(deleted(call, bucket, object_key, Some(&old), "Permanently Deleted"));
            match self.store.commit(txn).await {
                Err(StoreError::Conflict { .. }) => continue,
                Ok(()) => return Ok(Some(old.doc)),
                Err(error) => return Err(errors::storage(error)),
            }
        }
        Err(errors::contended())
    }
}

/// A key that can be stored: of S3's length, and without the few characters that order the store's keys.
pub fn check_key(object_key: &str) -> Result<(), ApiError> {
    if object_key.is_empty() || object_key.len() > MAX_KEY_BYTES {
        return Err(errors::key_too_long());
    }
    if object_key.contains(['\0', '\u{1f}', '\u{10FFFE}', '\u{10FFFF}']) {
        return Err(errors::invalid_argument(
            "The key has a character (U+0000, U+001F, U+10FFFE or U+10FFFF) that is not supported",
        ));
    }
    Ok(())
}

pub fn version_owner(version: &Version) -> String {
    format!("{}/{}", version.bucket, version.order)
}

/// Records that a blob is named; a conflict where the sweep took it for nobody's meanwhile.
pub fn use_blob(txn: &mut Txn, blob: &BlobId, owner: String) {
    txn.expect_absent::<SweptBlob>(blob.as_str());
    txn.put(&BlobUse { blob: blob.clone(), owner });
}

/// Ends a record's use of a blob; the content goes when nobody uses it any more.
pub fn release(txn: &mut Txn, blob: &BlobId, owner: &str) {
    txn.enqueue(Job {
        queue: sweep::QUEUE.into(),
        key: key(&[blob.as_str(), owner]),
        payload: serde_json::Value::Null,
        run_at: Timestamp::EPOCH,
    });
}

fn check(unless: &Unless, current: Option<&Version>) -> Result<(), ApiError> {
    let etag = current.and_then(Version::content).map(|content| content.etag.as_str());
    match unless {
        Unless::Exists if current.is_some() => Err(errors::precondition_failed("If-None-Match")),
        Unless::EtagDiffers(expected) if etag != Some(expected) => {
            Err(errors::precondition_failed("If-Match"))
        }
        _ => Ok(()),
    }
}

/// `Object Created`, as S3 sends it to EventBridge.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>.
fn created(call: &Call, version: &Version, content: &Content, reason: &str) -> Event {
    let mut object = serde_json::json!({
        "key": version.key,
        "size": content.size_bytes,
        "etag": content.etag,
        "sequencer": sequencer(version),
    });
    if !version.null {
        object["version-id"] = version.order.clone().into();
    }
    event(call, "Object Created", &version.bucket, object, "reason", reason)
}

fn deleted(call: &Call, bucket: &str, object_key: &str, version: Option<&Version>, kind: &str) -> Event {
    let mut object = serde_json::json!({ "key": object_key });
    if let Some(version) = version {
        object["sequencer"] = sequencer(version).into();
        object["version-id"] = version.id().into();
    }
    let kind = if version.is_none() { "Permanently Deleted" } else { kind };
    event(call, "Object Deleted", bucket, object, "deletion-type", kind)
}

fn sequencer(version: &Version) -> String {
    let inverted = version.order.get(..16).and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
    format!("{:018X}", u64::MAX - inverted)
}

fn event(
    call: &Call,
    kind: &str,
    bucket: &str,
    object: serde_json::Value,
    extra: &str,
    value: &str,
) -> Event {
    let mut detail = serde_json::json!({
        "version": "0",
        "bucket": { "name": bucket },
        "object": object,
        "request-id": call.request_id,
        "requester": call.account,
        "source-ip-address": call.source_ip.map(|ip| ip.to_string()),
    });
    detail[extra] = value.into();
    let resource = format!("arn:aws:s3:::{bucket}");
    Event::new("aws.s3", kind, (&call.account, &call.region), call.at, vec![resource], detail)
}
