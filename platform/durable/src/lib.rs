//! Work that survives: workers for leased jobs, subscribers of the outbox, and the signal to stop.
//!
//! **What it owns.** No tables of its own: the jobs and events of `towpath-store`, and one document per
//! subscriber, its [`Cursor`].
//!
//! **Invariants.**
//! - A job's handler has its changes committed together with the job's completion, or not at all, and
//!   only while it holds the lease. A job that fails comes back, later each time; it is logged with its
//!   cause and never dropped.
//! - A subscriber sees each event in order, and its changes are committed together with its cursor.
//! - Nobody polls: a commit wakes who waits, and a timer wakes for the next job that is due.
//!
//! - Several servers on one database share its jobs, and each subscriber moves on one of them at a time.
//!   Where the database does not answer until a lease ends, the handler is stopped: another server may be at
//!   the same work. What it still commits is fenced.
//!
//! **Crash.** kill -9 at any moment: whatever was not committed runs again. In a store of its own at once
//! after the restart, because leases die with their process; in a shared one on any server, when the lease
//! has expired. So a handler must be idempotent: it reads what was intended and what is there, and closes
//! the gap.

mod held;
mod retry;
mod rounds;
mod shutdown;
mod subscriber;
mod worker;

pub use held::Held;
pub use retry::{Backoff, Retry};
pub use rounds::{Piece, Rounds};
pub use shutdown::Shutdown;
pub use subscriber::{Cursor, Subscriber};
pub use worker::Worker;
