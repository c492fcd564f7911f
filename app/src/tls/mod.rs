//! The certificates that this server shows its clients.
//!
//! Purpose: either certificates that were given ([`given`]), or those of an authority of the server's own,
//! made at the first start ([`local`]); both as one `rustls` configuration for the listener.
//! State: the local authority's key and certificate, in the data folder. Invariants: a server never starts
//! with a certificate that it cannot prove or that is no longer valid; one that is replaced while the server runs
//! is replaced by a good one or not at all.

mod given;
mod local;
mod validity;

use crate::config::Transport;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::{ParsedCertificate, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use towpath_api::{Clock, SystemClock, Timestamp};

/// How often is looked whether a certificate of our own has to be renewed.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {cause}")]
    File { path: PathBuf, cause: std::io::Error },
    #[error("{path} has no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    NoCertificate { path: PathBuf },
    #[error("{path} has no private key in PEM form (-----BEGIN PRIVATE KEY-----)")]
    NoKey { path: PathBuf },
    #[error("{path} cannot be read: {cause}")]
    Unreadable { path: PathBuf, cause: String },
    #[error("{path} is not a certificate that can be used: {cause}")]
    Certificate { path: PathBuf, cause: String },
    #[error("the key in {key} is not the key of the certificate in {certificate}")]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("the certificate in {path} was valid until {until}; renew it")]
    Expired { path: PathBuf, until: String },
    #[error("the certificate in {path} is valid from {from} on; is this machine's clock right?")]
    NotYet { path: PathBuf, from: String },
    #[error("a certificate cannot be made: {0}")]
    Make(String),
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

enum Source {
    Given(given::Given),
    Local(Box<local::Local>),
}

/// The certificates of a running server.
pub struct Certificates {
    source: Source,
}

impl Certificates {
    /// `None` where the server speaks plain HTTP. `hosts` are names and addresses that clients use.
    pub fn open(transport: &Transport, data: &Path, hosts: &[String]) -> Result<Option<Arc<Self>>, TlsError> {
        let now = SystemClock.now();
        let source = match transport {
            Transport::Plain => return Ok(None),
            Transport::Given { certificate, key } => {
                Source::Given(given::Given::open(certificate, key, now)?)
            }
            Transport::Local => Source::Local(Box::new(local::Local::open(&folder(data), hosts, now)?)),
        };
        Ok(Some(Arc::new(Certificates { source })))
    }

    /// Where the certificate of the server's own authority is.
    pub fn authority(&self, data: &Path) -> Option<PathBuf> {
        matches!(self.source, Source::Local(_)).then(|| local::certificate_path(&folder(data)))
    }

    /// For the listener. HTTP/1.1 is what the server speaks.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(self.clone())));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Whether clients that ask for `host` will be content.
    pub fn covers(&self, host: &str) -> bool {
        let shown = self.for_name(Some(host));
        let name = ServerName::try_from(host.to_owned());
        let parsed = shown.cert.first().and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
        match (parsed, name) {
            (Some(parsed), Ok(name)) => rustls::client::verify_server_name(&parsed, &name).is_ok(),
            _ => false,
        }
    }

    fn for_name(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        match &self.source {
            Source::Given(given) => given.current(),
            Source::Local(local) => local.for_name(name),
        }
    }

    /// Reads given files again. What is wrong with them is told, and the certificate before stays.
    pub fn reload(&self) {
        let Source::Given(given) = &self.source else { return };
        match given.reload(SystemClock.now()) {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!(%error, "the certificate was not replaced"),
        }
    }

    pub fn is_given(&self) -> bool {
        matches!(self.source, Source::Given(_))
    }

    /// Renews a certificate of our own in time, and warns of one that was given, until told to stop.
    pub async fn keep_valid(self: Arc<Self>, shutdown: towpath_durable::Shutdown) {
        loop {
            let now = SystemClock.now();
            match &self.source {
                Source::Given(given) => given.warn(now),
                Source::Local(local) => {
                    if let Err(error) = local.renew_if_due(now) {
                        tracing::error!(%error, "the certificate was not renewed");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.wait() => return,
            }
        }
    }
}

struct Resolver(Arc<Certificates>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: rustls::server::ClientHello) -> Option<Arc<CertifiedKey>> {
        Some(self.0.for_name(hello.server_name()))
    }
}

fn folder(data: &Path) -> PathBuf {
    data.join("tls")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The names and addresses that a server's own certificate is for: this machine's loopback, what the server
/// listens on, and what its public URL says.
pub fn hosts(listen: SocketAddr, public_url: Option<&str>) -> Vec<String> {
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1"]
        .map(str::to_owned)
        .into_iter()
        .chain([Ipv6Addr::LOCALHOST.to_string()])
        .collect();
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let listening = match listen.ip() {
        address if address.is_unspecified() => machine.trim().to_ascii_lowercase(),
        address => address.to_string(),
    };
    let public = public_url.and_then(host_of).unwrap_or_default();
    for host in [listening, public] {
        if !host.is_empty() && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// The host of a URL; an IPv6 address without its brackets.
pub fn host_of(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let known = host.parse::<IpAddr>().map_or(host, |address| address.to_string());
    (!known.is_empty()).then_some(known)
}

fn shown(at: Timestamp) -> String {
    at.to_iso8601()
}

#[cfg(test)]
mod tests;
