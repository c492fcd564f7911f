//! A worker's door to its servers for what runs inside builds.
//!
//! Commands of a build should need no certificates, and should not have to know which of several servers lives.
//! So they speak plain HTTP to a relay that ends at a port of this machine's loopback; from there each connection
//! goes on to the server that answers the worker itself, or the next, over TLS where its URL says so. Bytes are passed on as they are:
//! who speaks here has no more rights than at the server itself, which authenticates every request.
//!
//! **Owns** a listener, for as long as the process lives. **Limits**: connections at the same time, and how long
//! one may take to be made.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};

const MAX_CONNECTIONS: usize = 512;
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// After a failure to accept, which is one of this machine's limits.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    #[error("the endpoint {0} is no URL with a host")]
    Endpoint(String),
    #[error("there is no bundle of authorities on this machine: name one by --ca or SSL_CERT_FILE")]
    NoAuthorities,
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("no port on the loopback: {0}")]
    Listen(#[from] std::io::Error),
}

struct Target {
    host: String,
    port: u16,
    tls: Option<(ServerName<'static>, TlsConnector)>,
}

/// Servers, and the number of the one that answers the worker's own requests, counted in rounds.
struct Targets {
    all: Vec<Target>,
    chosen: Arc<AtomicUsize>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Whether builds need it: one server that speaks plain HTTP is reached directly, and one behind a proxy as the
/// proxy's variables say.
pub fn is_needed(endpoints: &[String]) -> bool {
    let [endpoint] = endpoints else { return true };
    let Ok(uri) = endpoint.parse::<Uri>() else { return false };
    let local = uri.host().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
    let proxy = ureq::Proxy::try_from_env().filter(|proxy| !local && !proxy.is_no_proxy(&uri));
    uri.scheme_str() == Some("https") && proxy.is_none()
}

/// Listens, and passes on until the process ends.
pub async fn open(
    endpoints: &[String],
    trust: &TlsConfig,
    chosen: Arc<AtomicUsize>,
) -> Result<SocketAddr, TunnelError> {
    let all = endpoints.iter().map(|endpoint| Target::of(endpoint, trust)).collect::<Result<_, _>>()?;
    let targets = Arc::new(Targets { all, chosen });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tokio::spawn(async move {
        while let Ok(permit) = permits.clone().acquire_owned().await {
            let Ok((inside, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let targets = targets.clone();
            tokio::spawn(async move {
                targets.pass(inside).await;
                drop(permit);
            });
        }
    });
    Ok(address)
}

impl Target {
    fn of(endpoint: &str, trust: &TlsConfig) -> Result<Target, TunnelError> {
        let wrong = || TunnelError::Endpoint(endpoint.to_owned());
        let uri: Uri = endpoint.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
        if uri.scheme_str() != Some("https") {
            return Ok(Target { port: uri.port_u16().unwrap_or(80), host, tls: None });
        }
        let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
        let tls = Some((name, connector(trust)?));
        Ok(Target { port: uri.port_u16().unwrap_or(443), host, tls })
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((name, connector)) => Ok(Box::new(connector.connect(name.clone(), stream).await?)),
        }
    }
}

/// The authorities that the worker itself trusts.
fn connector(trust: &TlsConfig) -> Result<TlsConnector, TunnelError> {
    let RootCerts::Specific(certificates) = trust.root_certs() else {
        return Err(TunnelError::NoAuthorities);
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().map(|one| CertificateDer::from(one.der())));
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Targets {
    async fn pass(&self, mut inside: TcpStream) {
        let Some(mut server) = self.connect().await else { return };
        // Either side may end it at any time.
        if let Err(error) = copy_bidirectional(&mut inside, &mut server).await {
            tracing::debug!(%error, "a connection of a build broke off");
        }
    }

    /// To the server that answers the worker, or the first after it that can be reached.
    async fn connect(&self) -> Option<Box<dyn Stream>> {
        let chosen = self.chosen.load(Ordering::Relaxed);
        for number in (0..self.all.len()).map(|step| chosen.wrapping_add(step) % self.all.len()) {
            let target = &self.all[number];
            let made = tokio::time::timeout(CONNECT_TIME, target.connect()).await;
            match made.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
                Ok(stream) => return Some(stream),
                Err(error) => {
                    tracing::debug!(host = target.host, port = target.port, %error, "a server does not answer");
                }
            }
        }
        tracing::warn!("no server answers a build's request");
        None
    }
}
