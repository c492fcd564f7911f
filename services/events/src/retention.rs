//! Removing old events.

use crate::Events;
use towpath_durable::Cursor;
use towpath_store::{Order, StoreError};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// Events that one transaction removes.
const BATCH: usize = 1000;

impl Events {
    /// Removes events that every subscriber has dealt with and that are older than the retention; says
    /// how many.
    pub async fn prune(&self) -> Result<u64, StoreError> {
        let before = self.store.now().plus_millis(-i64::from(self.config.retention_days) * DAY_MS);
        let through = self.slowest_cursor().await?;
        let mut removed = 0;
        loop {
            let batch = self.store.prune_events(through, before, BATCH).await?;
            removed += batch;
            if batch < BATCH as u64 {
                break;
            }
        }
        // What is old and still here waits for someone.
        if let Some((_, event)) = self.store.events_after(0, 1).await?.first()
            && event.time < before.plus_millis(-DAY_MS)
        {
            tracing::warn!(sequence = through, "old events are kept because a subscriber does not advance");
        }
        Ok(removed)
    }

    async fn slowest_cursor(&self) -> Result<u64, StoreError> {
        let mut slowest = self.store.last_sequence().await?;
        let mut after = None;
        loop {
            let page = self.store.list::<Cursor>("", after.as_deref(), 1000, Order::Ascending).await?;
            for cursor in &page.items {
                slowest = slowest.min(cursor.sequence);
            }
            after = page.next;
            if after.is_none() {
                return Ok(slowest);
            }
        }
    }
}
