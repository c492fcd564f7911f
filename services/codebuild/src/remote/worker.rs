//! A machine that builds for servers elsewhere: one, or several that share a database.
//!
//! **Owns** a data folder: `builds/` with one folder per attempt, and the sandboxes' own. Nothing in it
//! outlives the process: what an earlier worker left is removed at the start.

use super::assignment::Remote;
use super::client::{CallError, Client};
use super::protocol::{Claim, ClaimAnswer, Claimed, MAX_SLOTS};
use crate::sandbox::Sandboxes;
use crate::state::State;
use crate::work::build::Attempt;
use crate::work::machine::{Endpoint, Machine};
use crate::work::remove_folder;
use http::Uri;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_durable::Shutdown;

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub struct Config {
    /// The servers' URLs: one, or nodes over one database.
    pub endpoints: Vec<String>,
    /// Where builds' commands reach the servers in plain HTTP, on this machine's loopback. `None`: as this
    /// process does.
    pub tunnel: Option<SocketAddr>,
    /// Which server answers, as the worker found last: the number of its URL, counted in rounds.
    pub chosen: Arc<AtomicUsize>,
    pub token: String,
    /// Whom to trust behind an `https://` endpoint. `None`: the authorities that browsers trust.
    pub tls: Option<ureq::tls::TlsConfig>,
    /// As it is shown in listings.
    pub name: String,
    /// Builds that run at the same time.
    pub slots: usize,
    /// A folder of this worker's own.
    pub data_dir: PathBuf,
    pub sandboxes: Arc<dyn Sandboxes>,
}

#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("the endpoint {0} is wrong: {1}")]
    Endpoint(String, String),
    #[error("the server does not accept the token: {0}")]
    Token(String),
    #[error("the server refuses this worker: {0}")]
    Refused(String),
    #[error("the data folder {path} cannot be used: {cause}")]
    Data { path: PathBuf, cause: std::io::Error },
}

struct Worker {
    client: Client,
    sandboxes: Arc<dyn Sandboxes>,
    endpoint: Endpoint,
    builds: PathBuf,
}

/// Takes builds until `shutdown`; those that run are then given back. An error when the server does not, or
/// no longer, want this worker.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), WorkerError> {
    let builds = config.data_dir.join("builds");
    let unusable = |cause| WorkerError::Data { path: config.data_dir.clone(), cause };
    remove_folder(&builds).await;
    tokio::fs::create_dir_all(&builds).await.map_err(unusable)?;
    let client = Client::new(&config.endpoints, &config.token, config.tls, config.chosen)?;
    let slots_count = config.slots.clamp(1, MAX_SLOTS);
    let endpoint = match config.tunnel {
        Some(tunnel) => Endpoint::relayed(tunnel, config.endpoints.clone()),
        None => endpoint(&client).await?,
    };
    let worker = Arc::new(Worker { client, sandboxes: config.sandboxes, endpoint, builds });
    let slots = Arc::new(Semaphore::new(slots_count));
    let mut running = JoinSet::new();
    let ask = Claim { name: config.name, slots: slots_count };
    let mut failures = 0u32;
    // After the last answer to a claim: a build that is given back must not come to this worker again.
    let stopping = Shutdown::new();
    let ended = loop {
        while running.try_join_next().is_some() {}
        let permit = tokio::select! {
            permit = slots.clone().acquire_owned() => permit,
            () = shutdown.wait() => break Ok(()),
        };
        let asked_at = Instant::now();
        let answer = worker.client.call::<_, ClaimAnswer>("claim", &ask).await;
        if answer.is_ok() && failures > 0 {
            tracing::info!("the server answers again");
        }
        match answer {
            Ok(ClaimAnswer { claimed }) => {
                failures = 0;
                if let Some(claimed) = claimed {
                    let (worker, stopping) = (worker.clone(), stopping.clone());
                    running.spawn(async move {
                        worker.build(claimed, asked_at, stopping).await;
                        drop(permit);
                    });
                }
            }
            Err(error) if error.is_unknown_token() => break Err(WorkerError::Token(error.to_string())),
            Err(error) if error.is_passing() => {
                failures += 1;
                if failures == 1 {
                    tracing::warn!(endpoint = worker.client.endpoint(), %error, "cannot ask for builds");
                }
                let pause =
                    LONGEST_PAUSE.min(Duration::from_millis(100) * 2u32.saturating_pow(failures.min(8)));
                shutdown.sleep(pause).await;
            }
            Err(error @ (CallError::Refused { .. } | CallError::Local(_) | CallError::Unreachable(_))) => {
                break Err(WorkerError::Refused(error.to_string()));
            }
        }
        if shutdown.is_shutdown() {
            break Ok(());
        }
    };
    stopping.trigger();
    while running.join_next().await.is_some() {}
    ended
}

impl Worker {
    async fn build(&self, claimed: Claimed, asked_at: Instant, stopping: Shutdown) {
        let Claimed { hold, lease_ms, doc, bounds } = claimed;
        let State::Running { attempt } = doc.progress.state else { return };
        let id = doc.id.clone();
        tracing::info!(build = id, attempt, "building");
        let remote = Remote::new(self.client.clone(), hold, lease_ms, asked_at);
        let keeper = tokio::spawn(remote.clone().keep());
        let watcher = tokio::spawn(remote.clone().watch());
        // The attempt's name is not trusted to be one: the folder is this worker's own choice.
        let folder = self.builds.join(format!("{}-{attempt}", towpath_api::id::uuid()));
        let assignment = Arc::new(remote.clone());
        let endpoint = Some(self.endpoint.clone());
        let machine = Arc::new(Machine { sandboxes: self.sandboxes.clone(), endpoint, bounds });
        let attempt = Attempt::begin(machine, assignment, doc, &folder);
        let ended = {
            tokio::pin!(attempt);
            tokio::select! {
                ended = &mut attempt => ended,
                () = stopping.wait() => {
                    remote.let_go();
                    attempt.await
                }
            }
        };
        let shown = ended.as_ref().map_or_else(|stopped| stopped.to_string(), |()| "handed over".to_owned());
        tracing::info!(build = id, ended = shown, "done with a build");
        remote.conclude(ended).await;
        remote.let_go();
        keeper.abort();
        watcher.abort();
        remove_folder(&folder).await;
    }
}

/// How a build's commands reach the server: by its own name where that is a certificate's, else through a
/// relay, so that a server on this machine's loopback is reached as well.
async fn endpoint(client: &Client) -> Result<Endpoint, WorkerError> {
    let wrong = |reason: &dyn std::fmt::Display| {
        WorkerError::Endpoint(client.endpoint().to_owned(), reason.to_string())
    };
    let uri: Uri = client.endpoint().parse().map_err(|error| wrong(&error))?;
    if uri.scheme_str() == Some("https") {
        return Ok(Endpoint { url: client.endpoint().to_owned(), relay: None, public_urls: Vec::new() });
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let found = tokio::net::lookup_host((host, uri.port_u16().unwrap_or(80))).await;
    let found: Vec<SocketAddr> = found.map_err(|error| wrong(&error))?.collect();
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first());
    Ok(Endpoint::relayed(*address.ok_or_else(|| wrong(&"its host has no address"))?, Vec::new()))
}
