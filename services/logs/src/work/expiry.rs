//! Removes events that are older than their group's retention. Readers do not see them any more before;
//! this gives their space back. One job for each group that has a retention, woken when it changes and
//! every hour.

use super::BATCH;
use crate::LogsService;
use crate::store::{Group, Segment, Stream};
use std::sync::Arc;
use towpath_api::Timestamp;
use towpath_durable::{Retry, Shutdown, Worker};
use towpath_store::{Document, Job, Order, Store, StoreError, Txn, Versioned};

const QUEUE: &str = "logs/expiry";
const EVERY_MS: i64 = 3600 * 1000;

pub(crate) fn job(group: &Group, at: Timestamp) -> Job {
    Job::new(QUEUE, group.key(), at)
}

pub(crate) async fn run(service: Arc<LogsService>, shutdown: Shutdown) {
    let store = service.store.clone();
    let worker = Worker::new(store.clone(), QUEUE).concurrency(2);
    let stop = shutdown.clone();
    let handler = move |held: towpath_durable::Held| {
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            let mut txn = Txn::new();
            let Some(group) = store.get::<Group>(&held.key).await? else { return Ok(txn) };
            if group.retention_days.is_none() {
                return Ok(txn);
            }
            expire(&store, &group, &stop).await?;
            if stop.is_shutdown() {
                return Err(Retry::after(0, "stopped"));
            }
            txn.enqueue(job(&group, store.now().plus_millis(EVERY_MS)));
            Ok(txn)
        }
    };
    worker.run(handler, shutdown).await;
}

async fn expire(store: &Store, group: &Group, stop: &Shutdown) -> Result<(), StoreError> {
    let cutoff_ms = group.cutoff_ms(store.wall());
    let (prefix, mut after) = (Stream::prefix_of(&group.id, ""), None);
    loop {
        let page = store.list::<Stream>(&prefix, after.as_deref(), 100, Order::Ascending).await?;
        for stream in page.items {
            if stream.first_event_ms.is_some_and(|first| first < cutoff_ms) {
                expire_stream(store, stream, cutoff_ms, stop).await?;
            }
            if stop.is_shutdown() {
                return Ok(());
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Removes whole segments whose last event has expired, and keeps the stream's account of what is left.
async fn expire_stream(
    store: &Store,
    mut stream: Versioned<Stream>,
    cutoff_ms: i64,
    stop: &Shutdown,
) -> Result<(), StoreError> {
    while !stop.is_shutdown() {
        let (mut txn, mut removed, mut first_ms, mut more) = (Txn::new(), 0, None::<i64>, false);
        for run in 0..stream.runs.len() {
            let prefix = Segment::run_prefix(&stream.id, run);
            let page = store.list::<Segment>(&prefix, None, BATCH, Order::Ascending).await?;
            more |= page.next.is_some();
            for segment in page.items {
                if segment.last_ms >= cutoff_ms {
                    first_ms = Some(first_ms.map_or(segment.first_ms, |first| first.min(segment.first_ms)));
                    break;
                }
                removed += segment.bytes;
                txn.delete(&segment);
            }
        }
        if txn.is_empty() {
            return Ok(());
        }
        let mut changed = stream.doc.clone();
        changed.stored_bytes -= removed;
        if first_ms.is_some() || !more {
            changed.first_event_ms = first_ms;
            changed.last_event_ms = changed.last_event_ms.filter(|_| first_ms.is_some());
        }
        txn.replace(&stream, &changed);
        match store.commit(txn).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        match store.get::<Stream>(&Stream::key_of(&stream.group_id, &stream.name)).await? {
            Some(current) => stream = current,
            None => return Ok(()),
        }
    }
    Ok(())
}
