//! CloudWatch Logs: groups, streams and events, written by builds while they run and read by whoever
//! follows them. <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CloudWatchLogsConcepts.html>.
//!
//! **How events are stored.** A PutLogEvents batch becomes one [`store::Segment`] and a new version of
//! its [`store::Stream`], in one commit. A stream's segments form up to eight *runs*; within a run they
//! are in order and never overlap, so the head, the tail and any time in between are found by one seek
//! in the keys, however long the stream is. A writer that goes forward in time always appends to the
//! first run; writers that overlap get runs of their own, and reading merges the runs
//! ([`placement`], [`reader`]).
//!
//! **Invariants.**
//! - Every event has a position (time, number); the number grows with each event that the stream takes
//!   in. Reading is in the order of positions, and a token is a position: it stays valid whatever is
//!   written or removed.
//! - What is older than the group's retention is not shown, also before [`work`] has removed it.
//!
//! **Crash.** A batch is there whole or not at all. Deleting a group or a stream first removes its
//! document, so that nobody sees it, together with a job that removes the rest and runs until it is done.

mod api;
pub mod pattern;
mod placement;
mod reader;
mod store;
mod work;

use std::sync::Arc;
use towpath_durable::Shutdown;
use towpath_store::Store;

/// Nothing can be set yet.
#[derive(Clone, Debug, Default)]
pub struct Config {}

/// The service. It implements [`towpath_api_logs::Logs`].
pub struct LogsService {
    store: Store,
}

impl LogsService {
    pub fn new(_config: Config, store: Store) -> Arc<LogsService> {
        Arc::new(LogsService { store })
    }

    /// Removes what was deleted or has expired.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        tokio::join!(work::purge::run(self.clone(), shutdown.clone()), work::expiry::run(self, shutdown));
    }
}
