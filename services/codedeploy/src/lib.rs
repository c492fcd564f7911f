//! CodeDeploy for the server platform, in place: a revision from S3 goes onto on-premises instances, a few
//! at a time, by way of the agents on them.
//!
//! **The story.** CreateDeployment writes a deployment (`Created`) and a job. The job ([`work`]) reads the
//! revision as the group's service role, chooses the hosts by their tags, and lets the planner ([`state`])
//! take as many as the deployment configuration allows. A taken host has one open host command; its agent
//! polls for it, acknowledges it, carries it out and reports ([`command`]). Each report moves the host one
//! life-cycle event on; when a host ends, the planner takes the next ones or ends the deployment, and a
//! failed or stopped deployment is rolled back by a new deployment of the last good revision.
//!
//! **State it owns.** The documents in [`store`]. In memory only: who waits in a long poll, and when an
//! unacknowledged command was last handed out.
//!
//! **Invariants.**
//! - Healthy hosts never fall below the minimum (see [`state::fleet`]).
//! - One deployment per group is active; one command per host is open.
//! - A change, its events and its timers are one transaction.
//! - A host's agent can move its own open command and nothing else.
//!
//! **Crash.** kill -9 at any moment: what was acknowledged is in the documents; a deployment that was
//! created and not planned is planned by its job after the restart, open commands are handed out again,
//! and timers give silent hosts up. Nothing runs twice, because a command is bound to its event.
//!
//! Operations: <https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_Operations.html>.

pub mod api;
pub mod command;
mod error;
pub mod state;
pub mod store;
pub mod work;

use crate::command::pkcs7::Signer;
use crate::state::host::Limits;
use crate::work::hub::Hub;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::OnceCell;
use towpath_api::{Identity, Objects, Timestamp};
use towpath_durable::Shutdown;
use towpath_store::Store;

/// The principal as which this service assumes roles.
pub const SERVICE: &str = "codedeploy.amazonaws.com";

#[derive(Clone, Debug)]
pub struct Config {
    /// How long a poll is held open while there is nothing to do.
    pub poll_hold_ms: u64,
    /// After so long an unacknowledged command is handed out again.
    pub redelivery_ms: i64,
    /// A command that no agent takes, and an agent that stopped sending signs of life, fail the host.
    pub agent_timeout_ms: i64,
    /// One life-cycle event, from acknowledgement to completion: AWS's limit for its scripts together is an
    /// hour; the agent enforces it, this is for agents that do not report.
    pub event_timeout_ms: i64,
    /// Deployments that ended earlier are forgotten; 0 keeps them all.
    pub keep_history_days: u32,
    /// Bundles up to this size are opened to see that they have an AppSpec file, before a host is touched.
    pub max_inspected_bytes: u64,
    /// Where a bundle is unpacked for that: a folder of its own, emptied at the start. The system's folder for
    /// temporary files where it is `None`.
    pub scratch: Option<PathBuf>,
    /// Reads an AppSpec file as the agents will, so that a deployment with a broken one touches no host.
    pub appspec_check: Option<AppSpecCheck>,
}

/// Says what is wrong with the text of an AppSpec file. The parser is the agent's; whoever wires the
/// services together hands it over.
#[derive(Clone)]
pub struct AppSpecCheck(pub Arc<CheckAppSpec>);

pub type CheckAppSpec = dyn Fn(&str) -> Result<(), String> + Send + Sync;

impl fmt::Debug for AppSpecCheck {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("AppSpecCheck")
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            poll_hold_ms: 5_000,
            redelivery_ms: 5_000,
            agent_timeout_ms: 5 * 60_000,
            event_timeout_ms: 3_600_000 + 5 * 60_000,
            keep_history_days: 365,
            max_inspected_bytes: 64 << 20,
            scratch: None,
            appspec_check: None,
        }
    }
}

impl Config {
    fn limits(&self) -> Limits {
        Limits { agent_timeout_ms: self.agent_timeout_ms, event_timeout_ms: self.event_timeout_ms }
    }
}

/// The service. It implements the generated traits `CodeDeploy` and `CodeDeployCommand`.
pub struct CodeDeployService {
    store: Store,
    identity: Arc<dyn Identity>,
    objects: Arc<dyn Objects>,
    config: Config,
    hub: Hub,
    signer: OnceCell<Signer>,
    /// Since when agents can be heard: a silence before that was this server's own.
    listening_since: Timestamp,
}

impl CodeDeployService {
    pub fn new(
        store: Store,
        identity: Arc<dyn Identity>,
        objects: Arc<dyn Objects>,
        config: Config,
    ) -> Arc<CodeDeployService> {
        Arc::new(CodeDeployService {
            listening_since: store.now(),
            store,
            identity,
            objects,
            config,
            hub: Hub::default(),
            signer: OnceCell::new(),
        })
    }

    /// Plans deployments and gives silent hosts up, until `shutdown`; then held polls are answered.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        if let Some(folder) = &self.config.scratch
            && let Err(error) = empty(folder)
        {
            tracing::error!(%error, folder = %folder.display(), "what an earlier server left stays");
        }
        work::run(self, shutdown).await;
    }
}

/// Nothing in the scratch folder outlives the process that made it.
fn empty(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(folder),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn a_scratch_folder_is_empty_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = folder.path().join("data/scratch");
        super::empty(&scratch).unwrap();
        std::fs::create_dir(scratch.join("left")).unwrap();
        std::fs::write(scratch.join("left/bundle"), "half of it").unwrap();
        super::empty(&scratch).unwrap();
        assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
    }
}
