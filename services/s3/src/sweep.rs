//! Deletes content that no record names. A released use is a job; content without any use (a crash
//! between writing and recording it) is found by the sweep: a job of its own, at every start and once a
//! day, on one node at a time.
//!
//! Where nodes share an object store, released content stays for [`KEEP_RELEASED_MS`]: a dump of the database
//! and a copy of the objects that is made after it, within that time, belong together.
//!
//! Another node may be writing while this one sweeps. So content is left alone until it is old, and a
//! [`SweptBlob`] is committed before content is looked at for the last time: whoever comes to name it
//! before is seen, whoever comes later meets a conflict.

use crate::engine::S3;
use crate::store::{BlobUse, SweptBlob};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use towpath_durable::{Held, Retry, Shutdown, Worker};
use towpath_store::blobs::BlobId;
use towpath_store::{Document, Job, Order, StoreError, Txn, key};

pub const QUEUE: &str = "s3.release";
const SWEEP_QUEUE: &str = "s3.sweep";
const SWEEP_EVERY_MS: i64 = 24 * 3600 * 1000;
/// Content younger than this may belong to a write that is about to record it.
const YOUNG: Duration = Duration::from_secs(6 * 3600);
/// No writer that was stopped comes back after so long.
const REMEMBER_SWEPT_MS: i64 = 30 * 24 * 3600 * 1000;
/// For copies of a shared object store: what a dump of the database names is there for so long.
const KEEP_RELEASED_MS: i64 = 6 * 3600 * 1000;
const PAGE: usize = 1000;

pub async fn run(s3: Arc<S3>, shutdown: Shutdown) {
    let releases = {
        let s3 = s3.clone();
        Worker::new(s3.store.clone(), QUEUE).concurrency(2).run(
            move |held: Held| {
                let s3 = s3.clone();
                async move { s3.release_blob(&held).await.map_err(Retry::from) }
            },
            shutdown.clone(),
        )
    };
    let mut txn = Txn::new();
    txn.enqueue(Job::new(SWEEP_QUEUE, "unnamed", s3.store.now()));
    if let Err(error) = s3.store.commit(txn).await {
        tracing::warn!(%error, "the search for content without a record waits for the next start");
    }
    let stop = shutdown.clone();
    let sweeps = Worker::new(s3.store.clone(), SWEEP_QUEUE).concurrency(1).run(
        move |held: Held| {
            let (s3, stop) = (s3.clone(), stop.clone());
            async move { s3.sweep_unnamed(&held, &stop).await }
        },
        shutdown,
    );
    tokio::join!(releases, sweeps);
}

impl S3 {
    /// Removes one use, and the content with its last use. The file goes before the record that it
    /// was used: a crash between is healed by running again.
    async fn release_blob(&self, held: &Held) -> Result<Txn, StoreError> {
        let job_key = held.key.as_str();
        if self.blobs.is_shared() && held.payload.is_null() {
            let mut txn = Txn::new();
            let later = self.store.now().plus_millis(KEEP_RELEASED_MS);
            txn.enqueue(Job::new(QUEUE, job_key, later).with_payload(true.into()));
            return Ok(txn);
        }
        let name = job_key.split('\u{1f}').next().unwrap_or_default();
        let Ok(blob) = BlobId::try_from(name.to_owned()) else { return Ok(Txn::new()) };
        let mut txn = Txn::new();
        let uses = self.store.list::<BlobUse>(&key(&[name, ""]), None, 2, Order::Ascending).await?.items;
        if let Some(own) = self.store.get::<BlobUse>(job_key).await? {
            txn.delete(&own);
        }
        if uses.iter().all(|used| used.key() == job_key) {
            self.blobs.delete(&blob).await?;
        }
        Ok(txn)
    }

    async fn sweep_unnamed(&self, held: &Held, stop: &Shutdown) -> Result<Txn, Retry> {
        let mut removed = 0u64;
        // The age of a file is by the machine's clock, which may have been set: the earlier time removes less.
        let earlier = self.store.now().min(self.store.wall());
        let young_since = SystemTime::UNIX_EPOCH
            + Duration::from_millis(earlier.as_millis().max(0) as u64).saturating_sub(YOUNG);
        for shard in 0..=u8::MAX {
            if stop.is_shutdown() || held.is_cancelled() {
                return Err(Retry::after(0, "stopped"));
            }
            for (blob, written_at) in self.blobs.ids(shard).await? {
                if written_at <= young_since && self.sweep_one(&blob).await? {
                    removed += 1;
                }
            }
        }
        self.forget_swept().await?;
        if removed > 0 {
            tracing::info!(removed, "removed content that no record named");
        }
        let mut txn = Txn::new();
        txn.enqueue(Job::new(SWEEP_QUEUE, held.key.clone(), self.store.now().plus_millis(SWEEP_EVERY_MS)));
        Ok(txn)
    }

    async fn is_named(&self, blob: &BlobId) -> Result<bool, StoreError> {
        let prefix = key(&[blob.as_str(), ""]);
        Ok(!self.store.list::<BlobUse>(&prefix, None, 1, Order::Ascending).await?.items.is_empty())
    }

    /// Removes a blob that nobody names, and says whether it did.
    async fn sweep_one(&self, blob: &BlobId) -> Result<bool, StoreError> {
        if self.is_named(blob).await? {
            return Ok(false);
        }
        let mut txn = Txn::new();
        txn.put(&SweptBlob { blob: blob.clone(), at: self.store.now() });
        self.store.commit(txn).await?;
        if self.is_named(blob).await? {
            if let Some(wrong) = self.store.get::<SweptBlob>(blob.as_str()).await? {
                let mut txn = Txn::new();
                txn.delete(&wrong);
                self.store.commit(txn).await?;
            }
            return Ok(false);
        }
        self.blobs.delete(blob).await?;
        Ok(true)
    }

    async fn forget_swept(&self) -> Result<(), StoreError> {
        let before = self.store.now().plus_millis(-REMEMBER_SWEPT_MS);
        let mut after: Option<String> = None;
        loop {
            let page = self.store.list::<SweptBlob>("", after.as_deref(), PAGE, Order::Ascending).await?;
            let mut txn = Txn::new();
            page.items.iter().filter(|swept| swept.at < before).for_each(|swept| _ = txn.delete(swept));
            self.store.commit(txn).await?;
            after = match page.next {
                Some(next) => Some(next),
                None => return Ok(()),
            };
        }
    }
}
