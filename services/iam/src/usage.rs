//! When access keys and roles were last used. Noted in memory on every request, written once a minute and
//! at the end; a crash loses at most the last minute, which only makes a date a little older.

use crate::documents::LastUseDoc;
use crate::limits::PENDING_USES;
use crate::problem::Problem;
use crate::service::IdentityService;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use towpath_api::Timestamp;
use towpath_durable::Shutdown;
use towpath_store::Txn;

const FLUSH_EVERY: Duration = Duration::from_secs(60);
/// Documents in one transaction.
const BATCH: usize = 1000;

#[derive(Default)]
pub(crate) struct Uses {
    pending: Mutex<HashMap<String, LastUseDoc>>,
}

impl Uses {
    /// `id` is an access key's or a role's.
    pub fn note(&self, id: &str, service: &str, region: &str, at: Timestamp) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let full = pending.len() >= PENDING_USES;
        match pending.get_mut(id) {
            Some(use_) if use_.service == service && use_.region == region => use_.at = use_.at.max(at),
            None if full => {}
            _ => {
                let (service, region) = (service.to_owned(), region.to_owned());
                pending.insert(id.to_owned(), LastUseDoc { id: id.to_owned(), at, service, region });
            }
        }
    }

    fn take(&self) -> Vec<LastUseDoc> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.drain().map(|(_, use_)| use_).collect()
    }

    fn pending(&self, id: &str) -> Option<LastUseDoc> {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.get(id).cloned()
    }

    fn put_back(&self, uses: Vec<LastUseDoc>) {
        for use_ in uses {
            if self.pending(&use_.id).is_none() {
                self.note(&use_.id, &use_.service, &use_.region, use_.at);
            }
        }
    }
}

impl IdentityService {
    pub(crate) async fn last_use(&self, id: &str) -> Result<Option<LastUseDoc>, Problem> {
        match self.uses.pending(id) {
            Some(use_) => Ok(Some(use_)),
            None => Ok(self.store.get::<LastUseDoc>(id).await?.map(|stored| stored.into_doc())),
        }
    }

    /// Writes what was noted.
    pub(crate) async fn flush_uses(&self) -> Result<(), Problem> {
        let uses = self.uses.take();
        for (index, batch) in uses.chunks(BATCH).enumerate() {
            let mut txn = Txn::new();
            batch.iter().for_each(|use_| {
                txn.put(use_);
            });
            if let Err(error) = self.store.commit(txn).await {
                self.uses.put_back(uses[index * BATCH..].to_vec());
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Writes last uses until the end, and once more then.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        loop {
            let ended = tokio::select! {
                () = shutdown.wait() => true,
                () = tokio::time::sleep(FLUSH_EVERY) => false,
            };
            if let Err(error) = self.flush_uses().await {
                tracing::warn!(%error, "last uses of access keys could not be written; trying again in a minute");
            }
            if ended {
                return;
            }
        }
    }
}
