//! Removes what belonged to deleted groups and streams. Their documents are gone already, and with them
//! every way to add to them; so each step only removes what it finds, and may be repeated.

use super::BATCH;
use crate::LogsService;
use crate::store::{Segment, Stream};
use std::sync::Arc;
use towpath_api::Timestamp;
use towpath_durable::{Retry, Shutdown, Worker};
use towpath_store::{Job, Order, Store, StoreError, Txn};

const QUEUE: &str = "logs/purge";

pub(crate) fn group_job(group_id: &str, now: Timestamp) -> Job {
    Job::new(QUEUE, format!("group/{group_id}"), now)
}

pub(crate) fn stream_job(stream_id: &str, now: Timestamp) -> Job {
    Job::new(QUEUE, format!("stream/{stream_id}"), now)
}

pub(crate) async fn run(service: Arc<LogsService>, shutdown: Shutdown) {
    let store = service.store.clone();
    let worker = Worker::new(store.clone(), QUEUE).concurrency(2);
    let stop = shutdown.clone();
    let handler = move |held: towpath_durable::Held| {
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            match held.key.split_once('/') {
                Some(("group", id)) => group(&store, id, &stop).await?,
                Some(("stream", id)) => segments(&store, id, &stop).await?,
                _ => return Err(Retry::new("a job with an unknown key")),
            }
            if stop.is_shutdown() { Err(Retry::after(0, "stopped")) } else { Ok(Txn::new()) }
        }
    };
    worker.run(handler, shutdown).await;
}

async fn group(store: &Store, group_id: &str, stop: &Shutdown) -> Result<(), StoreError> {
    let prefix = Stream::prefix_of(group_id, "");
    while !stop.is_shutdown() {
        let page = store.list::<Stream>(&prefix, None, 1, Order::Ascending).await?;
        let Some(stream) = page.items.first() else { break };
        segments(store, &stream.id, stop).await?;
        if stop.is_shutdown() {
            break;
        }
        let mut txn = Txn::new();
        txn.delete(stream);
        match store.commit(txn).await {
            Err(StoreError::Conflict { .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn segments(store: &Store, stream_id: &str, stop: &Shutdown) -> Result<(), StoreError> {
    let prefix = Segment::stream_prefix(stream_id);
    while !stop.is_shutdown() {
        let page = store.list::<Segment>(&prefix, None, BATCH, Order::Ascending).await?;
        if page.items.is_empty() {
            break;
        }
        let mut txn = Txn::new();
        page.items.iter().for_each(|segment| _ = txn.delete(segment));
        match store.commit(txn).await {
            Err(StoreError::Conflict { .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
