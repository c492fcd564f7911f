//! The wire layer: everything between a socket and a service's `Dispatch`.
//!
//! A request's way: [`route`] names the service, operation and protocol from the head alone;
//! [`server`] refuses it if the head's signature cannot be right, reads the body up to the service's
//! limit, and checks the signature over the raw bytes ([`sigv4`]); only then is the body inflated and
//! decoded by [`protocol`] into a [`towpath_api::Node`], checked against the model by [`validate`], and
//! handed to the service. The answer, or the error, goes back through the same codec. Tokens of listings
//! are sealed and opened on the way.
//!
//! State owned: none that outlives a connection. Nothing here is specific to a service: what a service
//! is comes from its static [`towpath_api::model::Service`]. A crash loses the requests in flight, and
//! nothing that was acknowledged. The few words that AWS's services have each for themselves are tables in
//! [`validate`] and `paging`.

pub mod client;
pub mod paging;
pub mod protocol;
pub mod route;
pub mod server;
pub mod sigv4;
#[cfg(test)]
mod test_model;
pub mod uri;
pub mod validate;

pub use server::auth::Authenticator;
pub use server::handler::{Body, BoxError, Handler, Peer, Request, RequestId, Response};
pub use server::{Builder, Observation, Server};
