//! Joins the services into one server, and ends them in order. Nothing else knows more than one service.

mod again;
pub mod cluster;
mod descriptors;
mod internal;
mod listeners;
mod nodes;
mod services;

pub use cluster::Cluster;

use crate::client::Connection;
use crate::config::{Config, Transport};
use crate::tls::{self, Certificates, TlsError};
use listeners::{Listeners, reachable};
use nodes::Nodes;
use services::Services;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use towpath_durable::Shutdown;
use towpath_wire::server::Server;

/// How long background work may take to reach a point where it can stop.
const DRAIN: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the data folder {path} cannot be used: {cause}")]
    Data { path: PathBuf, cause: std::io::Error },
    #[error("{address} cannot be listened on: {cause}")]
    Listen { address: std::net::SocketAddr, cause: std::io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{part} cannot start: {cause}")]
    Part { part: &'static str, cause: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "this node ended: the database was taken over by a newer version; start it again with that version"
    )]
    Outdated,
}

/// For `map_err`: what could not start.
fn part<E: Into<Box<dyn std::error::Error + Send + Sync>>>(part: &'static str) -> impl Fn(E) -> StartError {
    move |cause| StartError::Part { part, cause: cause.into() }
}

/// A server that answers.
pub struct Running {
    pub endpoint: String,
    pub data: PathBuf,
    pub account: String,
    pub region: String,
    pub root_key: String,
    certificates: Option<Arc<Certificates>>,
    shutdown: Shutdown,
    nodes: Arc<Nodes>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    background: JoinSet<()>,
    /// A node's own data folder.
    _lock: Option<File>,
}

/// Opens the state, starts every service, and listens: alone, or as a node of a cluster.
pub async fn start(config: Config, cluster: Option<Cluster>) -> Result<Running, StartError> {
    let unusable = |cause| StartError::Data { path: config.data.clone(), cause };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.data).map_err(unusable)?;
    let data = config.data.canonicalize().map_err(unusable)?;
    let lock = cluster.as_ref().map(|_| cluster::lock(&data)).transpose()?;
    let listeners = Listeners::open(config.listen, |address| {
        let hosts = tls::hosts(address, config.public_url.as_deref());
        Ok(Certificates::open(&config.transport, &data, &hosts)?)
    })
    .await?;
    let certificates = listeners.certificates().cloned();
    let endpoint = endpoint(&config, listeners.public_address());
    warn_of_uncovered(certificates.as_deref(), &endpoint);
    let public_url = config.public_url.clone().unwrap_or_else(|| endpoint.clone());
    let shutdown = Shutdown::new();
    let services = Services::open(&config, cluster.as_ref(), &data, (&public_url, &listeners)).await?;
    let mut background = JoinSet::new();
    services.run(&mut background, &shutdown);
    if let Some(certificates) = &certificates {
        background.spawn(certificates.clone().keep_valid(shutdown.clone()));
    }
    let server: Arc<Server> = Arc::new(services.serve(&config, &shutdown));
    let serving = listeners.serve(server, &shutdown)?;
    let connection = Connection {
        endpoint: endpoint.clone(),
        region: config.region.clone(),
        account: config.account.clone(),
        authority: certificates.as_ref().and_then(|certificates| certificates.authority(&data)),
    };
    connection.write(&data).map_err(unusable)?;
    Ok(Running {
        endpoint,
        root_key: services.root_key(),
        data,
        account: config.account,
        region: config.region,
        certificates,
        shutdown,
        nodes: services.nodes(),
        serving,
        background,
        _lock: lock,
    })
}

/// Where this machine's own tools find the server: with a given certificate the public URL, for that is
/// what the certificate is for.
fn endpoint(config: &Config, listening: SocketAddr) -> String {
    let public = config.public_url.as_ref().filter(|_| matches!(config.transport, Transport::Given { .. }));
    match public.filter(|url| url.starts_with("https://")) {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("{}://{}", config.transport.scheme(), reachable(listening)),
    }
}

fn warn_of_uncovered(certificates: Option<&Certificates>, endpoint: &str) {
    if let (Some(certificates), Some(host)) = (certificates, tls::host_of(endpoint))
        && !certificates.covers(&host)
    {
        tracing::warn!(
            host,
            "the certificate is not for this host: set --public-url to a URL that it is for"
        );
    }
}

impl Running {
    /// Until SIGINT or SIGTERM; then requests in flight are answered and background work reaches a
    /// point from which the next start goes on.
    pub async fn wait(mut self) -> Result<(), StartError> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(part("signal handling"))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(part("signal handling"))?;
        let given = self.certificates.clone().filter(|certificates| certificates.is_given());
        let reloading = async {
            let Some(certificates) = given else { return std::future::pending().await };
            let mut hangup = signal(SignalKind::hangup())?;
            while hangup.recv().await.is_some() {
                certificates.reload();
            }
            Ok::<(), std::io::Error>(())
        };
        let ended = tokio::select! {
            ended = reloading => ended.map_err(part("signal handling")),
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            () = self.nodes.outdated() => Err(StartError::Outdated),
            ended = &mut self.serving => {
                let cause = match ended {
                    Ok(Ok(())) => std::io::Error::other("it ended by itself"),
                    Ok(Err(cause)) => cause,
                    Err(panic) => std::io::Error::other(panic),
                };
                return Err(part("the listener")(cause));
            }
        };
        tracing::info!("stopping");
        self.shutdown.trigger();
        let drained = tokio::time::timeout(DRAIN, async {
            while self.background.join_next().await.is_some() {}
            (&mut self.serving).await
        });
        if drained.await.is_err() {
            tracing::warn!("stopped without waiting any longer; unfinished work goes on at the next start");
        }
        ended
    }
}
