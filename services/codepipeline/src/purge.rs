//! What a deleted pipeline leaves behind: its history, taken away in the background in small bites. A
//! generation that is gone is never read again, so nothing can go wrong in between; a crash runs the job
//! again from what is left.

use crate::Pipelines;
use crate::store::*;
use std::sync::Arc;
use towpath_api::Timestamp;
use towpath_durable::{Held, Retry};
use towpath_store::{Document, Job, Order, Store, StoreError, Txn, key};

/// Documents that one bite takes.
const BITE: usize = 500;
/// Actions in progress are first told to stop.
const LATER_MS: i64 = 10 * 60_000;

/// The job that forgets a generation.
pub fn job(generation: &str, now: Timestamp) -> Job {
    Job::new(PURGES, generation, now.plus_millis(LATER_MS))
}

pub async fn purge(service: Arc<Pipelines>, held: Held) -> Result<Txn, Retry> {
    let store = &service.flow.store;
    let generation = held.key.clone();
    let mut txn = Txn::new();
    let mut left = bite::<ExecutionDoc>(store, &generation, &mut txn).await?;
    left |= bite::<ExecutionIndex>(store, &generation, &mut txn).await?;
    left |= bite::<SucceededIndex>(store, &generation, &mut txn).await?;
    left |= bite::<ActionDoc>(store, &generation, &mut txn).await?;
    left |= bite::<ActionIndex>(store, &generation, &mut txn).await?;
    left |= bite::<StartToken>(store, &generation, &mut txn).await?;
    left |= bite::<VersionDoc>(store, &generation, &mut txn).await?;
    if left {
        txn.enqueue(Job::new(PURGES, generation, store.now()));
    }
    Ok(txn)
}

/// Whether there may be more.
async fn bite<D: Document>(store: &Store, generation: &str, txn: &mut Txn) -> Result<bool, StoreError> {
    let page = store.list::<D>(&key(&[generation, ""]), None, BITE, Order::Ascending).await?;
    for doc in &page.items {
        txn.delete(doc);
    }
    Ok(page.next.is_some())
}
