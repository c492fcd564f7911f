//! The handle that services hold.

use crate::backend::{Backend, ClaimRequest, Row, Rows, Scan};
use crate::limits::{KEY_CEILING, MAX_LIST, MAX_UPDATE_ROUNDS};
use crate::options::{Location, Options};
use crate::signals::{Signals, Wakes};
use crate::{Change, Document, Lease, Order, Page, StoreError, Txn, Versioned, postgres, sqlite};
use std::sync::Arc;
use tokio::sync::watch;
use towpath_api::{Clock, Event, Timestamp};

/// Durable state. A cheap handle; the last one that is dropped closes the store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Box<dyn Backend>,
    clock: Arc<dyn Clock>,
    wall: Arc<dyn Clock>,
    signals: Arc<Signals>,
    shared: bool,
}

impl Store {
    pub async fn open(options: Options) -> Result<Store, StoreError> {
        let (clock, wall, steady) = (options.clock.clone(), options.wall.clone(), options.steady.clone());
        let signals = Arc::new(Signals::new());
        let (backend, shared): (Box<dyn Backend>, bool) = match &options.location {
            Location::Folder(path) => (Box::new(sqlite::Sqlite::open(path.clone(), options).await?), false),
            Location::Database(url) => {
                (Box::new(postgres::Postgres::open(url, &options, signals.clone()).await?), true)
            }
        };
        if let Some(steady) = steady {
            // Not by the time that an event tells: that may be a client's, by a clock that was set.
            steady.not_before(backend.last_emitted().await?.unwrap_or(Timestamp::EPOCH));
        }
        Ok(Store { inner: Arc::new(Inner { backend, clock, wall, signals, shared }) })
    }

    /// Whether other processes may have the same store open.
    pub fn is_shared(&self) -> bool {
        self.inner.shared
    }

    pub fn clock(&self) -> &dyn Clock {
        self.inner.clock.as_ref()
    }

    /// The time that never jumps: for documents, timers and timeouts.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The machine's clock as it is set: for signatures, sessions, and times that come from clients.
    pub fn wall(&self) -> Timestamp {
        self.inner.wall.now()
    }

    pub async fn get<D: Document>(&self, key: &str) -> Result<Option<Versioned<D>>, StoreError> {
        self.inner.backend.get(D::KIND, key.to_owned()).await?.map(decode).transpose()
    }

    /// Documents whose key starts with `prefix`, beyond `after` in the given order; at most `limit`
    /// (and never more than [`crate::MAX_LIST`] or [`crate::MAX_LIST_BYTES`]). Only `next` tells whether
    /// there are more.
    pub async fn list<D: Document>(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        order: Order,
    ) -> Result<Page<D>, StoreError> {
        if prefix.contains(KEY_CEILING) || after.is_some_and(|after| after.contains(KEY_CEILING)) {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let scan = Scan {
            kind: D::KIND,
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            limit: limit.min(MAX_LIST),
            order,
        };
        let Rows { rows, more } = self.inner.backend.scan(scan).await?;
        let next = rows.last().filter(|_| more).map(|row| row.key.clone());
        let items = rows.into_iter().map(decode).collect::<Result<_, _>>()?;
        Ok(Page { items, next })
    }

    /// Makes every change of `txn` true, on the disk, or none. [`StoreError::Conflict`] and
    /// [`StoreError::LeaseLost`] say that an expectation did not hold.
    pub async fn commit(&self, txn: Txn) -> Result<(), StoreError> {
        txn.check()?;
        if txn.is_empty() {
            return Ok(());
        }
        let wakes = Wakes::of(&txn.ops);
        self.inner.backend.commit(txn.ops, txn.bytes, self.now(), txn.durability).await?;
        self.inner.signals.fire(&wakes);
        Ok(())
    }

    /// Reads a document, lets `decide` say what becomes of it (and add to the transaction), commits, and
    /// starts again where someone else was faster. `decide` may run several times: no effects in it.
    pub async fn update<D, T, E>(
        &self,
        key: &str,
        mut decide: impl FnMut(Option<&D>, &mut Txn) -> Result<(Change<D>, T), E>,
    ) -> Result<T, E>
    where
        D: Document,
        E: From<StoreError>,
    {
        let mut round = 0;
        loop {
            let current = self.get::<D>(key).await?;
            let mut txn = Txn::new();
            let (change, value) = decide(current.as_deref(), &mut txn)?;
            match (&current, change) {
                (None, Change::Put(doc)) => {
                    txn.create(&doc);
                }
                (Some(old), Change::Put(doc)) => {
                    txn.replace(old, &doc);
                }
                (Some(old), Change::Delete) => {
                    txn.delete(old);
                }
                (Some(seen), Change::Keep) if !txn.is_empty() => {
                    txn.expect(seen);
                }
                (None, _) if !txn.is_empty() => {
                    txn.expect_absent::<D>(key);
                }
                _ => {}
            }
            round += 1;
            match self.commit(txn).await {
                Ok(()) => return Ok(value),
                Err(StoreError::Conflict { .. }) if round < MAX_UPDATE_ROUNDS => {
                    tokio::task::yield_now().await
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Claims jobs of `queue` that are due: free ones, and those whose lease another worker let expire.
    /// A worker's own leases are never given to it twice, so a clock that jumps forward does not start
    /// running work again.
    pub async fn claim(
        &self,
        queue: &str,
        worker: &str,
        lease_ms: i64,
        limit: usize,
    ) -> Result<Vec<Lease>, StoreError> {
        let now = self.now();
        let request = ClaimRequest {
            queue: queue.to_owned(),
            worker: worker.to_owned(),
            now,
            expires_at: now.plus_millis(lease_ms),
            limit: limit.min(MAX_LIST),
        };
        self.inner.backend.claim(request).await
    }

    /// Holds a job for `lease_ms` from now. [`StoreError::LeaseLost`] where another worker has it, or it
    /// was cancelled; an expired lease that nobody claimed can still be renewed.
    pub async fn renew(&self, lease: &mut Lease, lease_ms: i64) -> Result<(), StoreError> {
        let expires_at = self.now().plus_millis(lease_ms);
        self.inner.backend.renew((&*lease).into(), expires_at).await?;
        lease.expires_at = expires_at;
        Ok(())
    }

    /// When the next job of `queue` becomes claimable: its `run_at`, or the end of its lease.
    pub async fn next_due(&self, queue: &str) -> Result<Option<Timestamp>, StoreError> {
        self.inner.backend.next_due(queue.to_owned()).await
    }

    /// Events after `sequence`, in order.
    pub async fn events_after(&self, sequence: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        self.inner.backend.events_after(sequence, limit.min(MAX_LIST)).await
    }

    /// The newest event's sequence, 0 before the first; events that were pruned count.
    pub async fn last_sequence(&self) -> Result<u64, StoreError> {
        self.inner.backend.last_sequence().await
    }

    /// [`StoreError::TooNew`] once a newer version has made the database one that this version cannot use.
    pub async fn check_version(&self) -> Result<(), StoreError> {
        self.inner.backend.check_version().await
    }

    /// Removes events with a sequence up to `through` that were emitted before `before`, at most `limit`
    /// at a time; says how many went.
    pub async fn prune_events(
        &self,
        through: u64,
        before: Timestamp,
        limit: usize,
    ) -> Result<u64, StoreError> {
        self.inner.backend.prune_events(through, before, limit).await
    }

    /// Changes after every commit that wrote events or jobs.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.inner.signals.committed()
    }

    /// Changes after every commit that wrote events.
    pub fn emitted(&self) -> watch::Receiver<u64> {
        self.inner.signals.emitted()
    }

    /// Changes after every commit that touched a job of `queue`.
    pub fn queue_changed(&self, queue: &str) -> watch::Receiver<u64> {
        self.inner.signals.queue(queue)
    }

    /// Changes after every commit that wrote a document of `kind` ([`crate::Document::KIND`]), by whichever
    /// process. A commit of this process is told before [`Store::commit`] returns; one of another process
    /// soon after it: a cache that is emptied by this is at most seconds behind, also while the line that
    /// brings the news is broken.
    pub fn kind_changed(&self, kind: &str) -> watch::Receiver<u64> {
        self.inner.signals.kind(kind)
    }

    /// Wakes everyone who waits for jobs, events or documents: for whoever moved the clock.
    pub fn wake_all(&self) {
        self.inner.signals.fire_all();
    }

    /// Lets accepted commits finish and closes the files; later commits answer [`StoreError::Closed`].
    pub async fn close(&self) {
        self.inner.backend.close().await;
    }
}

fn decode<D: Document>(row: Row) -> Result<Versioned<D>, StoreError> {
    match serde_json::from_str(&row.body) {
        Ok(doc) => Ok(Versioned { doc, version: row.version }),
        Err(source) => Err(StoreError::Unreadable { kind: D::KIND.into(), key: row.key, source }),
    }
}
