//! The machine that runs a build's commands: this server's own, or a worker's.

use crate::Bounds;
use crate::sandbox::Sandboxes;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use towpath_runner::Relay;

/// Where attempts run.
pub(crate) struct Machine {
    pub sandboxes: Arc<dyn Sandboxes>,
    /// How commands reach the server. `None`: they do not.
    pub endpoint: Option<Endpoint>,
    pub bounds: Bounds,
}

/// The server as a build's commands see it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// `AWS_ENDPOINT_URL`.
    pub url: String,
    /// The door that `url` leads through, where it is not the server's own address.
    pub relay: Option<Relay>,
    /// What clone URLs begin with, where git is to go to `url` instead.
    pub public_urls: Vec<String>,
}

impl Endpoint {
    /// Through a relay: what listens on the host's own loopback is not otherwise seen inside.
    pub fn relayed(mut outside: SocketAddr, public_urls: Vec<String>) -> Endpoint {
        if outside.ip().is_unspecified() {
            outside.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        let inside = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), outside.port());
        Endpoint { url: format!("http://{inside}"), relay: Some(Relay { inside, outside }), public_urls }
    }
}
