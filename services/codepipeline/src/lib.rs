//! CodePipeline: what carries a change from its source to production.
//!
//! **Story.** [`structure`] reads a pipeline's declaration and refuses what is not sound. [`state`] is
//! the pure machine that moves executions through stages. [`flow`] commits its decisions: board,
//! executions, action executions, events and jobs in one transaction. [`work`] carries out one action
//! execution per durable job: it asks, remembers what it asked for, and waits to be woken by the event
//! that ends the work. [`triggers`] turns pushes and new objects into starts, each exactly once. `api/`
//! is the public API; `render` gives documents AWS's shapes.
//!
//! **State.** The documents in [`store`]. **Crash.** A start, a transition and a result are each one
//! commit. An action execution whose job was interrupted is driven again from what its document says; what
//! it had asked for outside is found again by its token, never asked for twice.
//!
//! A pipeline acts only with its role, so it can do what that role may do and nothing else.

mod api;
pub mod error;
pub mod events;
pub mod flow;
mod history;
mod purge;
mod render;
mod starts;
pub mod state;
pub mod store;
pub mod structure;
#[cfg(test)]
mod tests;
pub mod triggers;
pub mod variables;
pub mod work;

use flow::Flow;
use std::path::PathBuf;
use std::sync::Arc;
use towpath_api::pipeline_builds::PipelineBuilds;
use towpath_api::sources::Sources;
use towpath_api::{Identity, Objects};
use towpath_api_codebuild::CodeBuild;
use towpath_api_codedeploy::CodeDeploy;
use towpath_api_sts::Sts;
use towpath_durable::{Shutdown, Subscriber, Worker};
use towpath_store::Store;

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Config {
    /// A folder for artifacts on their way; emptied at start.
    pub scratch: PathBuf,
    /// Action executions that are driven at the same time.
    pub concurrency: usize,
    /// How long a waiting action may go without a look, should an event be lost.
    pub net_ms: i64,
    /// Executions that ended earlier are forgotten; 0 keeps them all.
    pub keep_history_days: u32,
}

impl Config {
    pub fn new(scratch: impl Into<PathBuf>) -> Config {
        Config { scratch: scratch.into(), concurrency: 16, net_ms: 60_000, keep_history_days: 365 }
    }
}

/// The other services, by their public APIs.
#[derive(Clone)]
pub struct Handles {
    pub identity: Arc<dyn Identity>,
    pub sts: Arc<dyn Sts>,
    pub objects: Arc<dyn Objects>,
    pub sources: Arc<dyn Sources>,
    pub builds: Arc<dyn PipelineBuilds>,
    pub codebuild: Arc<dyn CodeBuild>,
    pub codedeploy: Arc<dyn CodeDeploy>,
}

/// The service. It implements [`towpath_api_codepipeline::CodePipeline`].
pub struct Pipelines {
    flow: Flow,
    handles: Handles,
    config: Config,
}

impl Pipelines {
    pub fn new(store: Store, handles: Handles, config: Config) -> Arc<Pipelines> {
        Arc::new(Pipelines { flow: Flow::new(store), handles, config })
    }

    /// Works until `shutdown`: drives actions, starts what events ask for.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        if let Err(error) = work::scratch::prepare(&self.config.scratch).await {
            let scratch = self.config.scratch.display();
            tracing::error!(%error, %scratch, "the folder for artifacts on their way cannot be prepared");
        }
        let store = self.flow.store.clone();
        let (actions, starts, purges, events) = (self.clone(), self.clone(), self.clone(), self.clone());
        let actions = Worker::new(store.clone(), store::ACTIONS)
            .concurrency(self.config.concurrency)
            .run(move |held| work::drive(actions.clone(), held), shutdown.clone());
        let starts = Worker::new(store.clone(), store::STARTS)
            .concurrency(4)
            .run(move |held| triggers::start(starts.clone(), held), shutdown.clone());
        let purges = Worker::new(store.clone(), store::PURGES)
            .concurrency(1)
            .run(move |held| purge::purge(purges.clone(), held), shutdown.clone());
        let history = history::run(self.clone(), self.config.keep_history_days, shutdown.clone());
        let events = Subscriber::new(store, "codepipeline")
            .filter(triggers::concerns_us)
            .run(move |event| triggers::receive(events.clone(), event), shutdown);
        tokio::join!(actions, starts, purges, history, events);
    }
}
