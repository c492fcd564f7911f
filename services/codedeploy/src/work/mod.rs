//! What happens to deployments besides API calls: planning, moving on, giving up, rolling back.
//!
//! * [`plan`]: the job of a new or stopping deployment.
//! * [`engine`]: one event of a deployment or a host, as one transaction.
//! * [`notice`]: the events that others can see.
//! * [`hub`]: who waits, in memory.
//! * [`history`]: what ended long ago is forgotten.
//!
//! Two queues: [`DEPLOYMENTS`] (key: deployment id) and [`TIMERS`] (key: deployment id and instance). Their
//! handlers read what is intended and what is there, so a handler that runs again after a crash finds its
//! work done or does it.

pub mod engine;
pub mod history;
pub mod hub;
pub mod notice;
pub mod plan;
pub mod rollback;

use crate::CodeDeployService;
use std::sync::Arc;
use towpath_durable::{Held, Retry, Shutdown, Worker};
use towpath_store::{Job, Txn};

pub const DEPLOYMENTS: &str = "codedeploy/deployments";
pub const TIMERS: &str = "codedeploy/timers";

pub(crate) async fn run(service: Arc<CodeDeployService>, shutdown: Shutdown) {
    let store = service.store.clone();
    let planner = {
        let service = service.clone();
        Worker::new(store.clone(), DEPLOYMENTS).concurrency(4).run(
            move |held: Held| {
                let service = service.clone();
                async move { service.reconcile(&held.key).await }
            },
            shutdown.clone(),
        )
    };
    let timers = {
        let service = service.clone();
        Worker::new(store, TIMERS).concurrency(8).run(
            move |held: Held| {
                let service = service.clone();
                async move { service.check_host(&held).await }
            },
            shutdown.clone(),
        )
    };
    let history = history::run(service.store.clone(), service.config.keep_history_days, shutdown.clone());
    let closing = async {
        shutdown.wait().await;
        service.hub.close();
    };
    tokio::join!(planner, timers, history, closing);
}

impl CodeDeployService {
    /// A host's timer. Deadlines move while the host works, so the timer looks and, if it is too early,
    /// sets itself again.
    async fn check_host(&self, held: &Held) -> Result<Txn, Retry> {
        let mut txn = Txn::new();
        let Some((deployment_id, instance)) = held.key.split_once('\u{1f}') else {
            return Ok(txn);
        };
        if let Some(again_at) = self.give_up_if_silent(deployment_id, instance).await? {
            txn.enqueue(Job::new(TIMERS, held.key.clone(), again_at));
        }
        Ok(txn)
    }
}
