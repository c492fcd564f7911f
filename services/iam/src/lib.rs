//! IAM and STS: who there is, what they may, and the credentials that prove it.
//!
//! One crate serves both APIs because they are two views of one set of documents: an access key, a role's
//! trust policy and a session have no meaning apart. [`IdentityService`] implements the generated traits
//! `Iam` and `Sts`, and [`towpath_api::Identity`], through which the wire layer authenticates, the git
//! server checks passwords, and services act under the roles that they were given.
//!
//! **What it owns.** The documents of [`documents`] in the store, and two files in the data directory, both
//! 0600: `identity.key` and, unless they are given, `root-credentials.json` (see [`vault`]).
//!
//! **Invariants.**
//! - A secret access key is stored sealed, a password as a salted hash; both are shown once, when made.
//! - Everything that names a user, group or role across documents names its unique id. Who takes a
//!   deleted one's name inherits nothing: no membership, no session, no trust.
//! - A change is in force on the next request, on every node ([`cluster`]). Resolved principals are cached
//!   ([`cache`]) under a generation that every write moves; sessions look their role up by id each time.
//! - Every stored policy was accepted by [`towpath_policy::Policy::parse`]; what cannot be read denies.
//! - Each operation authorizes before it tells whether something exists.
//!
//! **Crash.** Each operation commits once, so it is done whole or not at all. Session tokens carry
//! themselves and survive. Last uses of at most a minute are lost ([`usage`]).
//!
//! Sources: <https://docs.aws.amazon.com/IAM/latest/APIReference/>,
//! <https://docs.aws.amazon.com/STS/latest/APIReference/>.

mod api;
mod aws_managed;
mod cache;
mod cluster;
mod config;
mod documents;
mod identity;
mod limits;
mod problem;
mod resolve;
mod service;
mod session;
mod usage;
mod vault;

pub use cluster::{ClusterError, ClusterKey};
pub use config::{Config, RootCredentials};
pub use service::IdentityService;
pub use vault::VaultError;
