//! The background: workers that run builds, store what they left, and mind timers.

mod artifacts;
pub(crate) mod assignment;
pub(crate) mod build;
mod commands;
mod environment;
mod files;
pub(crate) mod jobs;
pub(crate) mod local;
pub(crate) mod log;
pub(crate) mod machine;
mod output;
mod prepare;
mod provision;
pub(crate) mod publish;
mod report;
mod runtimes;
mod shell;
pub(crate) mod source;
pub(crate) mod staging;

use crate::state::{Input, State};
use crate::store::{BUILDS_QUEUE, BuildDoc, TIMERS_QUEUE, Timer, TokenDoc, publishing_queue};
use crate::{AdvanceError, CodeBuildService};
pub(crate) use provision::ASSUME;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use towpath_durable::{Held, Retry, Shutdown, Worker};
use towpath_store::{Job, Order, Txn};

/// A server that dies gives its leases up with its process; this is for one that hangs.
pub(crate) const LEASE_MS: i64 = 20_000;
/// Builds whose staged files are stored at the same time, besides those that this server ran.
const PUBLISHERS: usize = 4;
const STAGED_LOST: &str = "The server that has what this build left did not come back.";
/// From the signal to stop to the end of a build's sandbox.
const GRACE_MS: u64 = 15_000;

pub async fn run(service: Arc<CodeBuildService>, shutdown: Shutdown) {
    if let Err(error) = sweep(&service).await {
        tracing::error!(%error, "cannot clean up after an earlier server");
    }
    let worker =
        |queue: &str| Worker::new(service.store.clone(), queue).lease_ms(LEASE_MS).grace_ms(GRACE_MS);
    let builds = worker(BUILDS_QUEUE).concurrency(service.config.workers);
    let publishing = worker(&publishing_queue(&service.place)).concurrency(PUBLISHERS);
    let timers = Worker::new(service.store.clone(), TIMERS_QUEUE);
    let machine = jobs::machine(&service);
    let (builder, publisher, stopping) = (service.clone(), service.clone(), shutdown.clone());
    let builds = async {
        // Without slots, builds are for others.
        if service.config.workers > 0 {
            let work = move |held| jobs::build(builder.clone(), machine.clone(), held);
            builds.run(work, stopping).await;
        }
    };
    let publishing = publishing.run(move |held| jobs::publish(publisher.clone(), held), shutdown.clone());
    let here = crate::place::tell(service.store.clone(), service.place.clone(), shutdown.clone());
    let keep_days = service.config.keep_history_days;
    let history = crate::history::run(service.store.clone(), keep_days, shutdown.clone());
    let minder = service.clone();
    let timers = timers.run(move |held| timer(minder.clone(), held), shutdown);
    tokio::join!(builds, publishing, timers, history, here);
}

async fn timer(service: Arc<CodeBuildService>, held: Held) -> Result<Txn, Retry> {
    let mut txn = Txn::new();
    match serde_json::from_value(held.payload.clone())? {
        Timer::QueuedTimeout { build_key } => {
            let waits = |doc: &BuildDoc| doc.progress.state == State::Queued;
            if service.store.get::<BuildDoc>(&build_key).await?.is_some_and(|doc| waits(&doc)) {
                let input = |doc: &mut BuildDoc| match waits(doc) {
                    true => Input::TimedOut,
                    // It left the queue meanwhile; this input is rejected there.
                    false => Input::Staged,
                };
                match service.advance(&build_key, input, |_, _| {}).await {
                    Ok(_) | Err(AdvanceError::Rejected(_) | AdvanceError::Gone) => {}
                    Err(AdvanceError::Store(error)) => return Err(error.into()),
                }
            }
        }
        Timer::PublishingTimeout { build_key, due } => {
            let now = service.store.now();
            if now < due {
                let doc = service.store.get::<BuildDoc>(&build_key).await?;
                let staged = doc.filter(|doc| matches!(doc.progress.state, State::Publishing { .. }));
                let Some(place) = staged.and_then(|doc| doc.staged_at.clone()) else { return Ok(txn) };
                if crate::place::is_dead(&service.store, &place).await? {
                    jobs::abandon(&service, &build_key).await?;
                    return Ok(txn);
                }
                let shared = service.store.is_shared();
                let look_at = if shared { now.plus_millis(jobs::LOOK_AGAIN_MS).min(due) } else { due };
                txn.enqueue(Job::new(TIMERS_QUEUE, build_key, look_at).with_payload(held.payload.clone()));
                return Ok(txn);
            }
            let input = |doc: &mut BuildDoc| match doc.progress.state {
                State::Publishing { .. } => Input::Fault { message: STAGED_LOST.to_owned() },
                // Rejected there.
                _ => Input::Staged,
            };
            let published = |doc: &BuildDoc| !matches!(doc.progress.state, State::Publishing { .. });
            if service.store.get::<BuildDoc>(&build_key).await?.is_none_or(|doc| published(&doc)) {
                return Ok(txn);
            }
            match service.advance(&build_key, input, |_, _| {}).await {
                Ok(_) | Err(AdvanceError::Rejected(_) | AdvanceError::Gone) => {}
                Err(AdvanceError::Store(error)) => return Err(error.into()),
            }
        }
        Timer::TokenExpires { token_key } => {
            let now = service.store.now();
            if let Some(token) = service.store.get::<TokenDoc>(&token_key).await? {
                // It may stand for another build by now.
                match token.expires_at.filter(|_| !token.is_over(now)) {
                    Some(later) => {
                        let payload = held.payload.clone();
                        txn.enqueue(Job::new(TIMERS_QUEUE, token_key, later).with_payload(payload));
                    }
                    None => _ = txn.delete(&token),
                }
            }
        }
    }
    Ok(txn)
}

/// The folder of one attempt at a build.
pub(crate) fn folder(service: &CodeBuildService, doc: &BuildDoc, attempt: u32) -> PathBuf {
    builds_folder(service).join(format!("{}-{attempt}", doc.uuid()))
}

pub(crate) fn builds_folder(service: &CodeBuildService) -> PathBuf {
    service.config.data_dir.join("builds")
}

/// Removes the folders of attempts that nobody goes on with.
async fn sweep(service: &CodeBuildService) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let root = builds_folder(service);
    tokio::fs::create_dir_all(&root).await?;
    let mut wanted = BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        let page = service
            .store
            .list::<crate::store::CountersDoc>("", after.as_deref(), 1000, Order::Ascending)
            .await?;
        for counters in &page.items {
            for id in &counters.active {
                let key = BuildDoc::key_of(&counters.account, &counters.region, id);
                if let Some(doc) = service.store.get::<BuildDoc>(&key).await?
                    && let State::Publishing { attempt } = doc.progress.state
                {
                    wanted.insert(folder(service, &doc, attempt));
                }
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut entries = tokio::fs::read_dir(&root).await?;
    while let Some(entry) = entries.next_entry().await? {
        if !wanted.contains(&entry.path()) {
            remove_folder(&entry.path()).await;
        }
    }
    Ok(())
}

/// A build may leave folders that its own user cannot enter; root can, anyone else opens them first.
pub(crate) async fn remove_folder(path: &Path) {
    let path = path.to_owned();
    let removed = tokio::task::spawn_blocking(move || {
        if std::fs::remove_dir_all(&path).is_ok() || !path.exists() {
            return Ok(());
        }
        files::open_up(&path);
        std::fs::remove_dir_all(&path).map_err(|error| (path, error))
    });
    if let Ok(Err((path, error))) = removed.await {
        tracing::warn!(path = %path.display(), %error, "cannot remove a build's folder");
    }
}
