//! The vocabulary that every part of Towpath shares: the protocol-neutral [`Node`] tree, the static
//! service [`model`], [`ApiError`], the authenticated [`Call`], time, names and the in-process
//! ports ([`Identity`], [`Objects`], [`Sources`]) that have no generated trait.
//!
//! This crate knows no service and does no I/O of its own. The crates under `platform/api/gen` are
//! generated on top of it, one per service.

pub mod arn;
pub mod call;
pub mod error;
pub mod event;
pub mod id;
pub mod identity;
pub mod log_batches;
pub mod model;
pub mod node;
pub mod objects;
pub mod pipeline_builds;
pub mod sources;
pub mod time;

pub use arn::Arn;
pub use async_trait::async_trait;
pub use call::{AuthzRequest, Call, Caller, Gate};
pub use error::{ApiError, Fault};
pub use event::Event;
pub use identity::{Credential, Identity, SessionCredentials};
pub use node::{FromNode, IntoNode, Name, Node, NodeError};
pub use objects::{ObjectInfo, Objects};
pub use sources::Sources;
pub use time::{Clock, SystemClock, Timestamp};

pub use bytes::Bytes;
#[doc(hidden)]
pub use serde;

/// One service's operations behind one door: what the wire layer calls after it has decoded,
/// authenticated and validated a request. Generated for every service.
#[async_trait]
pub trait Dispatch: Send + Sync {
    fn model(&self) -> &'static model::Service;

    /// `operation` is one of `model().operations`; `input` is a `Node::Map` keyed by member names.
    async fn dispatch(&self, call: &Call, operation: &str, input: Node) -> Result<Node, ApiError>;
}
