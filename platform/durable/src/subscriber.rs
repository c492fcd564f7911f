//! Subscribers: each sees every event of the outbox once, in order.
//!
//! Where several servers share a database, each follows under the same name. Whoever is first with an event
//! moves the cursor; the others find it moved, commit nothing, and stay a moment behind from then on. When
//! the first one stops moving, the next is there within that moment.

use crate::retry::Causes;
use crate::{Backoff, Retry, Shutdown};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::time::Duration;
use towpath_api::Event;
use towpath_store::{Document, Store, StoreError, Txn, Versioned};

/// Events that are read at a time.
const BATCH: usize = 256;
/// How often an event is handled again at once because its changes met a conflict.
const CONFLICT_ROUNDS: u32 = 10;
/// A server that lost a race for an event leaves the next ones to the winner, until the cursor has stood
/// still for so long.
const STANDBY: Duration = Duration::from_millis(200);
/// How far a cursor may lie behind because of events that the filter left out.
const FILTERED_LAG: u64 = 1000;

/// How far a subscriber is: every event up to `sequence` is dealt with. Events may be pruned only behind
/// every cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub subscriber: String,
    pub sequence: u64,
}

impl Document for Cursor {
    const KIND: &'static str = "durable/cursor";

    fn key(&self) -> String {
        self.subscriber.clone()
    }
}

/// Follows the outbox. Its name is its identity: the cursor is kept under it.
pub struct Subscriber {
    store: Store,
    name: String,
    filter: fn(&Event) -> bool,
    start: Start,
    backoff: Backoff,
}

/// Where a subscriber begins that has no cursor yet.
#[derive(Clone, Copy, Debug)]
enum Start {
    Oldest,
    Now,
}

impl Subscriber {
    pub fn new(store: Store, name: impl Into<String>) -> Subscriber {
        Subscriber {
            store,
            name: name.into(),
            filter: |_| true,
            start: Start::Oldest,
            backoff: Backoff { first_ms: 500, cap_ms: 30_000 },
        }
    }

    /// Handles only events for which `filter` holds. It may look at nothing but the event.
    pub fn filter(mut self, filter: fn(&Event) -> bool) -> Subscriber {
        self.filter = filter;
        self
    }

    /// Begins with the events that come after the first start, not with the oldest that are kept.
    pub fn from_now(mut self) -> Subscriber {
        self.start = Start::Now;
        self
    }

    pub fn backoff(mut self, backoff: Backoff) -> Subscriber {
        self.backoff = backoff;
        self
    }

    /// Follows until `shutdown`. The handler's changes are committed together with the moved cursor. Where
    /// it fails, the same event is tried again, later each time, and those behind it wait: order is kept
    /// and nothing is left out.
    pub async fn run<H, F>(self, handler: H, shutdown: Shutdown)
    where
        H: Fn(Event) -> F + Send + Sync,
        F: Future<Output = Result<Txn, Retry>> + Send,
    {
        let mut emitted = self.store.emitted();
        let mut failures = 0;
        let mut position = Position { seen: 0, standby: false };
        while !shutdown.is_shutdown() {
            emitted.borrow_and_update();
            match self.advance(&handler, &mut position, &shutdown).await {
                Ok(Progress::More) => failures = 0,
                Ok(Progress::AtEnd) => {
                    failures = 0;
                    tokio::select! {
                        _ = emitted.changed() => {}
                        () = shutdown.wait() => {}
                    }
                    if position.standby {
                        self.stand_by(&shutdown).await;
                    }
                }
                // Another server was faster: it has dealt with this event, and will with the next.
                Err(failure) if failure.conflict && self.is_dealt_with(failure.sequence).await => {
                    failures = 0;
                    position.standby = true;
                    self.stand_by(&shutdown).await;
                }
                // A conflict is nobody's fault: the event is handled again at once.
                Err(failure) if failure.conflict && failures < CONFLICT_ROUNDS => failures += 1,
                Err(failure) => {
                    failures += 1;
                    let pause = self.report(&failure, failures);
                    shutdown.sleep(pause).await;
                }
            }
        }
    }

    /// Returns when nobody has moved the cursor for a moment.
    async fn stand_by(&self, shutdown: &Shutdown) {
        let mut before = None;
        loop {
            let now = self.cursor().await.ok().map(|cursor| cursor.sequence);
            if now.is_none() || now == before || !shutdown.sleep(STANDBY).await {
                return;
            }
            before = now;
        }
    }

    async fn is_dealt_with(&self, sequence: u64) -> bool {
        self.cursor().await.is_ok_and(|cursor| cursor.sequence >= sequence)
    }

    /// Logs a failure and says how long to wait.
    fn report(&self, failure: &Failure, failures: u32) -> Duration {
        let after_ms = failure.retry.after_ms.unwrap_or_else(|| self.backoff.delay_ms(failures));
        let (subscriber, sequence) = (&self.name, failure.sequence);
        let cause = Causes(failure.retry.error.as_ref());
        tracing::error!(subscriber, sequence, failures, after_ms, %cause, "an event cannot be handled");
        Duration::from_millis(after_ms.max(0) as u64)
    }

    /// Deals with one batch.
    async fn advance<H, F>(
        &self,
        handler: &H,
        Position { seen, standby }: &mut Position,
        shutdown: &Shutdown,
    ) -> Result<Progress, Failure>
    where
        H: Fn(Event) -> F,
        F: Future<Output = Result<Txn, Retry>>,
    {
        let mut cursor = self.cursor().await.map_err(|error| Failure::at(*seen, error))?;
        *seen = (*seen).max(cursor.sequence);
        let events =
            self.store.events_after(*seen, BATCH).await.map_err(|error| Failure::at(*seen, error))?;
        let more = events.len() == BATCH;
        let mut idle = *seen;
        for (sequence, event) in events {
            if shutdown.is_shutdown() {
                break;
            }
            if (self.filter)(&event) {
                let failed = |retry| Failure { sequence, conflict: false, retry };
                let txn = handler(event).await.map_err(failed)?;
                if txn.is_empty() {
                    idle = sequence;
                } else {
                    cursor = self
                        .settle(&cursor, sequence, txn)
                        .await
                        .map_err(|error| Failure::at(sequence, error))?;
                    *standby = false;
                }
            }
            *seen = sequence;
        }
        // Decisions that changed nothing are remembered once per batch: they must not be taken again later,
        // in another situation.
        if idle > cursor.sequence || *seen > cursor.sequence + FILTERED_LAG {
            // Whoever changes that situation commits behind this, so it need not wait for the disk.
            let mut txn = Txn::new();
            txn.without_waiting();
            self.settle(&cursor, *seen, txn).await.map_err(|error| Failure::at(*seen, error))?;
            *standby = false;
        }
        Ok(if more { Progress::More } else { Progress::AtEnd })
    }

    async fn settle(
        &self,
        cursor: &Versioned<Cursor>,
        sequence: u64,
        mut txn: Txn,
    ) -> Result<Versioned<Cursor>, StoreError> {
        txn.replace(cursor, &Cursor { subscriber: self.name.clone(), sequence });
        self.store.commit(txn).await?;
        self.cursor().await
    }

    async fn cursor(&self) -> Result<Versioned<Cursor>, StoreError> {
        loop {
            if let Some(cursor) = self.store.get::<Cursor>(&self.name).await? {
                return Ok(cursor);
            }
            let sequence = match self.start {
                Start::Oldest => 0,
                Start::Now => self.store.last_sequence().await?,
            };
            let mut txn = Txn::new();
            txn.create(&Cursor { subscriber: self.name.clone(), sequence });
            match self.store.commit(txn).await {
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Where a subscriber is in memory.
struct Position {
    /// Beyond the cursor only by events that the filter left out.
    seen: u64,
    /// Another server was faster the last time. It is left to be faster: handling an event twice is harmless,
    /// for the cursor lets one commit, but it is work for nothing.
    standby: bool,
}

enum Progress {
    More,
    AtEnd,
}

struct Failure {
    sequence: u64,
    conflict: bool,
    retry: Retry,
}

impl Failure {
    fn at(sequence: u64, error: StoreError) -> Failure {
        Failure { sequence, conflict: error.is_conflict(), retry: Retry::new(error) }
    }
}
