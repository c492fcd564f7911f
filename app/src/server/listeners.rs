//! The ports of a server.
//!
//! Without TLS there is one port. With TLS the public one speaks nothing else, and there is a second, on the
//! loopback alone and with a number of the moment: what runs inside a build reaches the server through a
//! relay that ends there. Its bytes never leave the machine, and a build needs to know nothing of certificates;
//! its requests are signed like all others, and are not `aws:SecureTransport`.

use super::StartError;
use crate::tls::Certificates;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use towpath_durable::Shutdown;
use towpath_wire::server::Server;

type Serving = JoinHandle<std::io::Result<()>>;

pub struct Listeners {
    public: TcpListener,
    public_address: SocketAddr,
    /// For relays, where the public one speaks TLS, and its certificates.
    relayed: Option<(TcpListener, SocketAddr, Arc<Certificates>)>,
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |cause| StartError::Listen { address, cause };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

impl Listeners {
    /// Takes the public port; `certificates` are told which it is.
    pub async fn open(
        address: SocketAddr,
        certificates: impl FnOnce(SocketAddr) -> Result<Option<Arc<Certificates>>, StartError>,
    ) -> Result<Listeners, StartError> {
        let (public, public_address) = bind(address).await?;
        let relayed = match certificates(public_address)? {
            None => None,
            Some(certificates) => {
                let (listener, address) = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
                Some((listener, address, certificates))
            }
        };
        Ok(Listeners { public, public_address, relayed })
    }

    pub fn certificates(&self) -> Option<&Arc<Certificates>> {
        self.relayed.as_ref().map(|(_, _, certificates)| certificates)
    }

    pub fn public_address(&self) -> SocketAddr {
        self.public_address
    }

    /// Where the relays of builds lead to: plain HTTP on this machine.
    pub fn relayed_address(&self) -> SocketAddr {
        self.relayed.as_ref().map_or_else(|| reachable(self.public_address), |(_, address, _)| *address)
    }

    /// Serves all ports until told to stop. The first that fails ends them.
    pub fn serve(self, server: Arc<Server>, shutdown: &Shutdown) -> Result<Serving, StartError> {
        let stop = |shutdown: Shutdown| async move { shutdown.wait().await };
        let Some((relayed, _, certificates)) = self.relayed else {
            return Ok(tokio::spawn(server.serve(self.public, stop(shutdown.clone()))));
        };
        let public =
            server.clone().serve_tls(self.public, certificates.server_config()?, stop(shutdown.clone()));
        let relayed = server.serve(relayed, stop(shutdown.clone()));
        Ok(tokio::spawn(async move { tokio::try_join!(public, relayed).map(drop) }))
    }
}

/// A server on every address is reached on this machine's own.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        false => address,
    }
}
