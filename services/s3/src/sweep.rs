//! Deletes content that no record names. A released use is a job; content without any use (a crash
//! between writing and recording it) is found by the sweep at start.

use crate::engine::S3;
use crate::store::BlobUse;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use towpath_durable::{Held, Retry, Shutdown, Worker};
use towpath_store::blobs::BlobId;
use towpath_store::{Document, Order, StoreError, Txn, key};

pub const QUEUE: &str = "s3.release";
/// Content younger than this may belong to a write that is about to record it.
const YOUNG: Duration = Duration::from_secs(6 * 3600);

pub async fn run(s3: Arc<S3>, shutdown: Shutdown) {
    let worker = {
        let s3 = s3.clone();
        Worker::new(s3.store.clone(), QUEUE).concurrency(2).run(
            move |held: Held| {
                let s3 = s3.clone();
                async move { s3.release_blob(&held.key).await.map_err(Retry::from) }
            },
            shutdown.clone(),
        )
    };
    let sweep = async {
        if let Err(error) = s3.sweep_unnamed(&shutdown).await {
            tracing::warn!(%error, "content without a record could not be swept; the next start tries again");
        }
    };
    tokio::join!(worker, sweep);
}

impl S3 {
    /// Removes one use, and the content with its last use. The file goes before the record that it
    /// was used: a crash between is healed by running again.
    async fn release_blob(&self, job_key: &str) -> Result<Txn, StoreError> {
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

    async fn sweep_unnamed(&self, shutdown: &Shutdown) -> Result<(), StoreError> {
        let mut removed = 0u64;
        let now = self.store.now().as_millis().max(0) as u64;
        let young_since = SystemTime::UNIX_EPOCH + Duration::from_millis(now).saturating_sub(YOUNG);
        for shard in 0..=u8::MAX {
            for (blob, written_at) in self.blobs.ids(shard).await? {
                if shutdown.is_shutdown() || written_at > young_since {
                    continue;
                }
                let prefix = key(&[blob.as_str(), ""]);
                if self.store.list::<BlobUse>(&prefix, None, 1, Order::Ascending).await?.items.is_empty() {
                    self.blobs.delete(&blob).await?;
                    removed += 1;
                }
            }
        }
        if removed > 0 {
            tracing::info!(removed, "removed content that no record named");
        }
        Ok(())
    }
}
