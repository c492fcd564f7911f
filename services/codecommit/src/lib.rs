//! CodeCommit: source repositories over git's own protocol and over AWS's API.
//!
//! A repository is a bare git repository on disk, found by its id. Packs go in and out through the `git`
//! binary ([`http`]); commits, trees and blobs are read in process ([`git`]). What the API writes enters
//! through the same door as a push ([`mod@write`]).
//!
//! State: the documents of [`store`] (repositories, their names, their recorded references) and the
//! repositories on disk. Git owns the objects and the references; the documents own everything else. Where
//! several nodes share the documents, they share the objects too, and the disk is a cache ([`shared`]).
//!
//! Invariants:
//! - Whatever moves a reference is acknowledged only when its move is recorded and its event is in the
//!   outbox, both in one transaction ([`reconcile`]).
//! - No hook runs, no configuration from outside is read, nothing from a pushed tree is carried out.
//! - Every request is authorized by the caller's policies, for every reference that it changes.
//!
//! Crash: objects and references are on the disk before git answers. A move that was made and not
//! recorded is recorded at the next start, from git's own log, with its author.
//!
//! Sources: <https://docs.aws.amazon.com/codecommit/latest/userguide/welcome.html>,
//! <https://docs.aws.amazon.com/codecommit/latest/APIReference/Welcome.html>.

mod api;
mod commit;
pub mod error;
pub mod git;
pub mod http;
pub mod names;
pub mod reconcile;
mod service;
mod shared;
mod sources;
pub mod state;
pub mod store;
mod upkeep;
mod work;
mod write;

pub use git::process::Limits;
pub use http::{GitHandler, PREFIX};
pub use service::{CodeCommitService, Config};
