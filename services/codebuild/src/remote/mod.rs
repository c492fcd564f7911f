//! Builds on other machines: a worker dials a server over HTTP(S), is given queued builds under leases, runs
//! them, and hands over what they left.
//!
//! A worker is trusted less than a server. It has no access to the store, to objects or to repositories: it
//! has a token ([`tokens`]), and by it the few doors of [`door`], each of which names a build that the worker
//! holds and nothing else. What is done there is done by the server, as the build's own service role. The
//! attempt itself is the same code as on a server (`work/build.rs`), over another `Assignment`.
//!
//! - Server's side: [`door`] (requests), [`held`] (what a worker may do with a build that it holds),
//!   [`transfer`] (sources out, results in), [`admin`] (tokens and the listing, for people).
//! - Worker's side: [`client`], [`assignment`], [`worker`].
//!
//! **Invariants.**
//! - A build is held by one worker at a time: the fence of its job's lease is in the build's document, every
//!   request names it, and every change is committed only while the lease has it.
//! - A step that is sent twice is taken once: steps are numbered.
//! - Nothing of a build is stored before all of it has arrived at a server; from then on the worker is not
//!   needed.
//!
//! **Crash.** A worker that is killed, frozen or cut off loses its lease; the build runs again elsewhere. It
//! destroys its sandbox by itself when it could not renew the lease in time, by its own monotonic clock. A
//! server that is killed keeps the leases of workers: they go on when it is back in time.

mod admin;
mod assignment;
mod client;
mod door;
mod held;
mod protocol;
mod results;
mod tokens;
mod transfer;
pub mod worker;

pub use admin::{ADMIN_PREFIX, AdminDoor};
pub use door::{PREFIX, WorkDoor};
