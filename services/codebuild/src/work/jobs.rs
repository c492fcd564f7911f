//! The two kinds of jobs that this server works on: builds in the queue, and what is staged on its disk.
//!
//! **Crash**: a job whose server dies is claimed again when its lease is over. A build that was running runs
//! again; one that is staged goes on where its files are, for only that server's disk has them.

use super::assignment::{Assignment, Step, Stopped};
use super::build::Attempt;
use super::local::Local;
use super::machine::{Endpoint, Machine};
use super::{folder, remove_folder};
use crate::state::{Input, State};
use crate::store::{self, BUILDS_QUEUE, BuildDoc, TIMERS_QUEUE, Timer};
use crate::{AdvanceError, CodeBuildService, place};
use std::path::Path;
use std::sync::Arc;
use towpath_durable::{Held, Retry};
use towpath_store::{Document, Job, StoreError, Txn};

/// How long the server that has a build's staged files may be away, where no other can take its place. Then
/// the build ends as a fault.
const STAGED_LIFE_MS: i64 = 3600 * 1000;
/// How often it is looked whether that server is there.
pub(super) const LOOK_AGAIN_MS: i64 = 5_000;

/// A job of the queue of builds.
pub(super) async fn build(
    service: Arc<CodeBuildService>,
    machine: Arc<Machine>,
    held: Held,
) -> Result<Txn, Retry> {
    let key = held.key.clone();
    let local = Arc::new(Local::new(service.clone(), held));
    let doc = match local.claim().await {
        Ok(doc) => doc,
        Err(Stopped::Lost) => return Ok(Txn::new()),
        Err(error) => return Err(Retry::new(error.to_string())),
    };
    match (&doc.progress.state, &doc.staged_at) {
        (State::Running { attempt }, _) => {
            let folder = folder(&service, &doc, *attempt);
            let ended = Attempt::begin(machine, local.clone(), doc, &folder).await;
            end(&service, &local, &key, &folder, ended).await
        }
        (State::Publishing { .. }, Some(place)) if *place != service.place => {
            let mut txn = Txn::new();
            if place::is_dead(&service.store, place).await? {
                abandon(&service, &key).await?;
                return Ok(txn);
            }
            await_publishing(&service, &doc, place, &mut txn);
            Ok(txn)
        }
        (State::Publishing { attempt }, _) => {
            let folder = folder(&service, &doc, *attempt);
            let ended = local.resume(doc, &folder).await;
            end(&service, &local, &key, &folder, ended).await
        }
        (State::Queued | State::Finished { .. }, _) => Ok(Txn::new()),
    }
}

/// A job of this server's own queue: what is staged here is stored.
pub(super) async fn publish(service: Arc<CodeBuildService>, held: Held) -> Result<Txn, Retry> {
    let key = held.key.clone();
    let Some(doc) = service.store.get::<BuildDoc>(&key).await? else { return Ok(Txn::new()) };
    let doc = doc.into_doc();
    let State::Publishing { attempt } = doc.progress.state else { return Ok(Txn::new()) };
    let local = Local::new(service.clone(), held);
    let folder = folder(&service, &doc, attempt);
    let ended = local.resume(doc, &folder).await;
    end(&service, &local, &key, &folder, ended).await
}

/// Makes the storing of a build a job of the server that has its files, within bounds.
pub(crate) fn await_publishing(service: &CodeBuildService, doc: &BuildDoc, place: &str, txn: &mut Txn) {
    let now = service.store.now();
    txn.enqueue(Job::new(store::publishing_queue(place), doc.key(), now));
    let due = now.plus_millis(STAGED_LIFE_MS);
    let timer = Timer::PublishingTimeout { build_key: doc.key(), due };
    let payload = serde_json::to_value(&timer).unwrap_or_default();
    let look_at = if service.store.is_shared() { now.plus_millis(LOOK_AGAIN_MS) } else { due };
    txn.enqueue(Job::new(TIMERS_QUEUE, doc.key(), look_at).with_payload(payload));
}

/// Has a build run again whose staged files went with their server. What that server still does for it when
/// it turns out to live is refused: the build is no longer `Publishing`, and its leases are over.
pub(super) async fn abandon(service: &CodeBuildService, key: &str) -> Result<(), StoreError> {
    let again = |doc: &BuildDoc, txn: &mut Txn| {
        txn.enqueue(Job::new(BUILDS_QUEUE, doc.key(), service.store.now()));
        if let Some(place) = &doc.staged_at {
            txn.cancel(&store::publishing_queue(place), &doc.key());
        }
    };
    match service.advance(key, |_| Input::Lost, again).await {
        Ok(_) => {
            tracing::warn!(build = key, "the server that had what this build left is gone; it runs again")
        }
        Err(AdvanceError::Rejected(_) | AdvanceError::Gone) => {}
        Err(AdvanceError::Store(error)) => return Err(error),
    }
    Ok(())
}

async fn end(
    service: &CodeBuildService,
    local: &Local,
    key: &str,
    folder: &Path,
    ended: Result<(), Stopped>,
) -> Result<Txn, Retry> {
    // First, for where the disk is full the last word may need the folder's room.
    tidy(service, key, folder).await?;
    let concluded = conclude(local, ended).await;
    tidy(service, key, folder).await?;
    concluded
}

/// Removes an attempt's folder, unless the build goes on with what is staged in it.
async fn tidy(service: &CodeBuildService, key: &str, folder: &Path) -> Result<(), StoreError> {
    let doc = service.store.get::<BuildDoc>(key).await?;
    let staged = doc.is_some_and(|doc| matches!(doc.progress.state, State::Publishing { .. }));
    if !staged {
        remove_folder(folder).await;
    }
    Ok(())
}

/// The last word on the build where the attempt could not say it.
async fn conclude(local: &Local, ended: Result<(), Stopped>) -> Result<Txn, Retry> {
    let input = match ended {
        Ok(()) | Err(Stopped::Lost) if !local.is_cancelled() => return Ok(Txn::new()),
        // The build was stopped, or the server stops and the job runs again after its start.
        Ok(()) | Err(Stopped::Lost) => return Err(Retry::after(0, "the build was interrupted")),
        // A full disk. Where the build itself fills it, the attempts' number is bounded.
        Err(Stopped::Store(error @ StoreError::Storage(_))) => Input::Broke { message: error.to_string() },
        Err(Stopped::Broken(message)) => Input::Broke { message },
        Err(Stopped::Store(error)) => return Err(error.into()),
        Err(Stopped::TimedOut) => Input::TimedOut,
        Err(Stopped::Fault(message)) => Input::Fault { message },
    };
    let broke = match &input {
        Input::Broke { message } => Some(message.clone()),
        _ => None,
    };
    match (local.step(Step::plain(input)).await, broke) {
        (Ok(doc), Some(message)) if doc.progress.status().is_none() => {
            Err(Retry::after(doc.progress.pause_ms(), message))
        }
        (Ok(_) | Err(Stopped::Lost), _) => Ok(Txn::new()),
        (Err(error), _) => Err(Retry::new(error.to_string())),
    }
}

/// This server as a machine that builds.
pub(super) fn machine(service: &CodeBuildService) -> Arc<Machine> {
    Arc::new(Machine {
        sandboxes: service.sandboxes.clone(),
        endpoint: service
            .config
            .endpoint
            .map(|outside| Endpoint::relayed(outside, service.config.public_url.iter().cloned().collect())),
        bounds: service.config.bounds,
    })
}
