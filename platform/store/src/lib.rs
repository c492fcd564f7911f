//! Durable state: versioned documents, an outbox of events and a table of jobs, changed together by
//! one [`Txn`]; and a content store for large immutable objects ([`blobs`]).
//!
//! **What it owns.** With [`Location::Folder`]: that folder, `towpath.db` (SQLite, WAL) and `lock`. The
//! folder is 0700 and its files are 0600; the lock makes sure that one process has it open. With
//! [`Location::Database`]: the schema `towpath` of a PostgreSQL database, which several servers share.
//!
//! **Invariants.**
//! - A commit is all or nothing, and on the disk (fsync) when [`Store::commit`] returns. Commits that
//!   arrive while another is being written share one fsync.
//! - A document's version never comes back, not even after it was deleted and created again; so an
//!   expectation ([`Txn::replace`], [`Txn::expect`]) cannot be fooled.
//! - A job exists at most once per (queue, key). Its lease is a *fence*, a number that is never given
//!   out twice: whoever holds an older one can commit nothing ([`StoreError::LeaseLost`]).
//! - Events get ascending sequence numbers in the order of their commits.
//!
//! **Crash.** At any moment: unacknowledged commits are there whole or not at all, acknowledged ones
//! are there. A full disk fails the commits that meet it with [`StoreError::Storage`], and nothing else; the
//! store goes on when there is space again. In a folder leases die with the process that held them: opening
//! the store frees every leased job but those of owners [`OUTSIDE`] it. In a shared database they expire, and
//! a database that goes away fails what waits for it within a bounded time (`postgres/mod.rs` says how
//! commits under way end).
//!
//! Both sit behind a private backend trait. `tests/conformance.rs` is written against [`Store`] alone and
//! holds both to the same behaviour; what only several processes can get wrong is in `tests/postgres*.rs`.

mod backend;
pub mod backup;
pub mod blobs;
mod document;
mod error;
mod limits;
mod options;
mod postgres;
mod signals;
mod sqlite;
mod steady;
mod store;
mod txn;

pub use document::{Change, Document, Order, Page, Versioned, key};
pub use error::StoreError;
pub use limits::{
    MAX_DOCUMENT_BYTES, MAX_EVENT_BYTES, MAX_KEY_BYTES, MAX_LIST, MAX_LIST_BYTES, MAX_PAYLOAD_BYTES,
    MAX_TXN_BYTES, MAX_TXN_OPERATIONS,
};
pub use options::{Location, Options};
pub use steady::SteadyClock;
pub use store::Store;
pub use txn::{Job, Lease, Txn};

/// How the names of lease owners begin that are not this process: their leases outlive it.
pub const OUTSIDE: &str = "outside/";
