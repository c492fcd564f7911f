//! CodeBuild: projects and builds.
//!
//! A build is a document with a state ([`state`]); a queued build is a job in the store; a worker here
//! ([`work`]) claims it, runs its commands in a fresh sandbox and stores what they leave. Every change of
//! state is committed together with its events. The API ([`api`]) only reads and writes documents.
//!
//! **Owns**: projects, builds, report groups and reports ([`store`]), and the folder `builds/` under its data
//! directory: one folder per attempt, with the source, the shell's state and what is staged to be stored.
//!
//! **Invariants**: a build's outputs are stored only after its commands are over, under the fence of its
//! job; what a pipeline's build stores is never rewritten. A finished build never changes.
//!
//! **Crash**: kill -9 while a build runs leaves nothing that counts. After the restart the build runs again,
//! from scratch, in a fresh sandbox; one that had only to store its staged outputs just stores them.
//!
//! The standard image names (`aws/codebuild/standard:7.0`, `…amazonlinux…-standard:…`) stand for the host's
//! own root in a sandbox. Other images are refused by name.
//!
//! API: <https://docs.aws.amazon.com/codebuild/latest/APIReference/Welcome.html>.

mod api;
mod buildspec;
pub mod events;
pub mod history;
mod place;
pub mod remote;
mod reports;
pub mod sandbox;
mod state;
mod store;
mod validate;
mod view;
mod work;

use sandbox::Sandboxes;
use serde::{Deserialize, Serialize};
use state::{Effect, Input, Rejected};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use store::{BuildDoc, CountersDoc};
use towpath_api::log_batches::LogBatches;
use towpath_api::sources::Sources;
use towpath_api::{Identity, Objects};
use towpath_api_logs::Logs;
use towpath_durable::Shutdown;
use towpath_store::{Document, Lease, Store, StoreError, Txn, key};

/// The principal under which roles trust this service.
pub const SERVICE: &str = "codebuild.amazonaws.com";

#[derive(Clone, Debug)]
pub struct Config {
    /// A folder of this service's own, on a disk with room for sources and artifacts.
    pub data_dir: PathBuf,
    /// Builds that run at the same time.
    pub workers: usize,
    /// Where this server listens, as seen on the host: a build's `AWS_ENDPOINT_URL` leads there through a
    /// relay. `None`: builds get no credentials and no endpoint.
    pub endpoint: Option<SocketAddr>,
    /// What clone URLs begin with. Where that is not what a build reaches, its git is told to go to the
    /// endpoint instead.
    pub public_url: Option<String>,
    /// Builds that ended earlier are forgotten; 0 keeps them all.
    pub keep_history_days: u32,
    pub bounds: Bounds,
}

/// What one build may use of the machine that runs it, beyond its compute type.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Bounds {
    /// What it may write to disk: its view of the machine, its source and its artifacts.
    pub disk_bytes: u64,
    /// What of its output is kept; the rest is dropped, and the log says so.
    pub log_bytes: u64,
}

impl Default for Bounds {
    /// The disk of AWS's smallest compute type.
    fn default() -> Self {
        Bounds { disk_bytes: 64 << 30, log_bytes: 1 << 30 }
    }
}

/// Makes [`Objects`] whose writes count only while a job is held.
pub type ObjectsOfJob = Box<dyn Fn(&Lease) -> Arc<dyn Objects> + Send + Sync>;

/// What CodeBuild needs from others.
#[derive(Clone)]
pub struct Handles {
    pub identity: Arc<dyn Identity>,
    pub objects: Arc<dyn Objects>,
    pub sources: Arc<dyn Sources>,
    pub logs: Arc<dyn Logs>,
    pub log_batches: Arc<dyn LogBatches>,
    pub runner: Arc<dyn Sandboxes>,
}

/// The service. It implements the generated [`towpath_api_codebuild::CodeBuild`] and
/// [`towpath_api::pipeline_builds::PipelineBuilds`].
pub struct CodeBuildService {
    config: Config,
    store: Store,
    identity: Arc<dyn Identity>,
    objects: Arc<dyn Objects>,
    sources: Arc<dyn Sources>,
    logs: Arc<dyn Logs>,
    log_batches: Arc<dyn LogBatches>,
    sandboxes: Arc<dyn Sandboxes>,
    /// The name of this server's disk among all servers of the store.
    place: String,
    objects_of_job: OnceLock<ObjectsOfJob>,
}

impl CodeBuildService {
    pub fn new(config: Config, store: Store, handles: Handles) -> Arc<Self> {
        let Handles { identity, objects, sources, logs, log_batches, runner } = handles;
        let place = place::name(&config.data_dir);
        Arc::new(CodeBuildService {
            config,
            store,
            identity,
            objects,
            sources,
            logs,
            log_batches,
            sandboxes: runner,
            place,
            objects_of_job: OnceLock::new(),
        })
    }

    /// What builds leave is stored through `make`, so that an attempt that lost its build stores nothing.
    /// To be said once, before [`run`](Self::run).
    pub fn store_under_lease(&self, make: ObjectsOfJob) {
        let _ = self.objects_of_job.set(make);
    }

    pub(crate) fn objects_of(&self, lease: &Lease) -> Arc<dyn Objects> {
        self.objects_of_job.get().map_or_else(|| self.objects.clone(), |make| make(lease))
    }

    /// Runs builds and timers until `shutdown`. Begins by removing what an earlier server left on the disk.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        work::run(self, shutdown).await;
    }

    /// One step of a build's state machine, committed with its events and with what `more` adds. The input
    /// is made from the build as it stands, so that a concurrent change is never overwritten.
    pub(crate) async fn advance(
        &self,
        build_key: &str,
        mut input: impl FnMut(&mut BuildDoc) -> Input,
        mut more: impl FnMut(&BuildDoc, &mut Txn),
    ) -> Result<BuildDoc, AdvanceError> {
        let mut round = 0;
        loop {
            let seen = self.store.get::<BuildDoc>(build_key).await?.ok_or(AdvanceError::Gone)?;
            let mut doc = (*seen).clone();
            let input = input(&mut doc);
            let (progress, effects) = doc.progress.step(input, self.store.now())?;
            doc.progress = progress;
            let mut txn = Txn::new();
            if effects.contains(&Effect::Released) {
                let counters_key = key(&[&doc.account, &doc.region, doc.project_name()]);
                if let Some(counters) = self.store.get::<CountersDoc>(&counters_key).await? {
                    let mut released = (*counters).clone();
                    released.active.remove(&doc.id);
                    txn.replace(&counters, &released);
                }
                txn.cancel(store::TIMERS_QUEUE, &doc.key());
            }
            txn.replace(&seen, &doc);
            self.carry_out(&doc, &effects, &mut txn);
            more(&doc, &mut txn);
            round += 1;
            match self.store.commit(txn).await {
                Ok(()) => return Ok(doc),
                Err(StoreError::Conflict { .. }) if round < 100 => tokio::task::yield_now().await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The events that a step's effects ask for.
    pub(crate) fn carry_out(&self, doc: &BuildDoc, effects: &[Effect], txn: &mut Txn) {
        let now = self.store.now();
        for effect in effects {
            match effect {
                Effect::PhaseChanged(index) => {
                    if let Some(phase) = doc.progress.phases.get(*index) {
                        txn.emit(events::phase_change(doc, phase, now));
                    }
                }
                Effect::StateChanged => {
                    txn.emit(events::state_change(doc, now));
                }
                Effect::Released => {}
            }
        }
    }
}

/// Why a build did not advance.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdvanceError {
    #[error("the build was deleted")]
    Gone,
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error(transparent)]
    Store(#[from] StoreError),
}
