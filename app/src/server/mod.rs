//! Joins the services into one server, and ends them in order. Nothing else knows more than one service.

mod descriptors;
mod internal;
mod services;

use crate::client::Connection;
use crate::config::Config;
use services::Services;
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
    #[error("{part} cannot start: {cause}")]
    Part { part: &'static str, cause: Box<dyn std::error::Error + Send + Sync> },
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
    shutdown: Shutdown,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    background: JoinSet<()>,
}

/// Opens the state, starts every service, and listens.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let unusable = |cause| StartError::Data { path: config.data.clone(), cause };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.data).map_err(unusable)?;
    let data = config.data.canonicalize().map_err(unusable)?;
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .map_err(|cause| StartError::Listen { address: config.listen, cause })?;
    let address = listener.local_addr().map_err(unusable)?;
    let endpoint = format!("http://{address}");
    let public_url = config.public_url.clone().unwrap_or_else(|| endpoint.clone());
    let shutdown = Shutdown::new();
    let services = Services::open(&config, &data, &public_url, address).await?;
    let mut background = JoinSet::new();
    services.run(&mut background, &shutdown);
    let server: Arc<Server> = Arc::new(services.serve(&config));
    let stopping = shutdown.clone();
    let serving =
        tokio::spawn(async move { server.serve(listener, async move { stopping.wait().await }).await });
    let connection = Connection {
        endpoint: endpoint.clone(),
        region: config.region.clone(),
        account: config.account.clone(),
    };
    connection.write(&data).map_err(unusable)?;
    Ok(Running {
        endpoint,
        root_key: services.root_key(),
        data,
        account: config.account,
        region: config.region,
        shutdown,
        serving,
        background,
    })
}

impl Running {
    /// Until SIGINT or SIGTERM; then requests in flight are answered and background work reaches a
    /// point from which the next start goes on.
    pub async fn wait(mut self) -> Result<(), StartError> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(part("signal handling"))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(part("signal handling"))?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            ended = &mut self.serving => {
                let cause = match ended {
                    Ok(Ok(())) => std::io::Error::other("it ended by itself"),
                    Ok(Err(cause)) => cause,
                    Err(panic) => std::io::Error::other(panic),
                };
                return Err(part("the listener")(cause));
            }
        }
        tracing::info!("stopping");
        self.shutdown.trigger();
        let drained = tokio::time::timeout(DRAIN, async {
            while self.background.join_next().await.is_some() {}
            (&mut self.serving).await
        });
        if drained.await.is_err() {
            tracing::warn!("stopped without waiting any longer; unfinished work goes on at the next start");
        }
        Ok(())
    }
}
