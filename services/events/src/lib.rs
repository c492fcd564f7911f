//! Events: the pattern language that decides who hears of which change, and the record of what
//! happened.
//!
//! Every service writes its changes of state to the store's outbox, in the transaction that makes them
//! true, in the shape that AWS documents for them. This crate reads that outbox: [`Pattern`] is
//! EventBridge's matching as a pure function, [`Events::recent`] lists what happened, and
//! [`Events::run`] prunes what is old and heard by all.
//!
//! **What it owns.** Nothing but the removal of old events.
//!
//! **Invariants.** An event stays until every subscriber's cursor is past it *and* it is older than the
//! retention; a subscriber that stands still therefore keeps events, and is named in the log.
//!
//! **Crash.** Pruning is one small transaction at a time and starts over.

mod matcher;
mod parse;
mod pattern;
mod recent;
mod retention;

pub use pattern::{MAX_PATTERN_BYTES, Pattern, PatternError};
pub use recent::{Listing, Recorded};

use std::sync::Arc;
use std::time::Duration;
use towpath_durable::Shutdown;
use towpath_store::Store;

/// How long events are kept.
#[derive(Clone, Debug)]
pub struct Config {
    pub retention_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { retention_days: 14 }
    }
}

/// The record of events.
pub struct Events {
    store: Store,
    config: Config,
}

/// Between two rounds of pruning.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

impl Events {
    pub fn new(config: Config, store: Store) -> Arc<Events> {
        Arc::new(Events { store, config })
    }

    /// Prunes at the start and every hour.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        loop {
            match self.prune().await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "old events were removed"),
                Err(error) => {
                    tracing::error!(%error, "old events cannot be removed; trying again in an hour")
                }
            }
            if !shutdown.sleep(PRUNE_EVERY).await {
                return;
            }
        }
    }
}
