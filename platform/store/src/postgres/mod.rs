//! The backend for several servers: one PostgreSQL database that they share.
//!
//! **What it owns.** The schema `towpath` of the database. Per process eight connections by default: one
//! commits ([`writer`]), one listens ([`listener`]), two claim and renew, the others read. They are links
//! that mend themselves ([`link`]); a pooler in between must keep sessions apart (LISTEN, settings).
//!
//! **Invariants.** Those of the crate, for all processes together. Commits of one process are grouped as in
//! the embedded backend; those of several take turns per name ([`group`]). Times are the callers': servers
//! that share a database need clocks that agree to well within a lease. Where they do not, work may be
//! claimed too early or too late, but a fence still lets only one commit.
//!
//! **Crash.** Of a process: its transactions end, its leases expire. Of the database: acknowledged commits
//! are there afterwards; requests wait ten seconds for it and then fail with [`StoreError::Storage`]. A
//! commit that was under way is asked for when the database is back ([`writer`]); where it does not come
//! back in time, the error says that the outcome is unknown. Callers cope as with any lost answer: every
//! expectation of a transaction names a version or an absence, so who reads again sees whether it happened,
//! and who commits the same transaction again gets a conflict and not a second effect. `Txn::put` and
//! `Txn::emit` alone expect nothing.

mod board;
mod failure;
mod group;
mod jobs;
mod link;
mod listener;
mod place;
mod read;
mod schema;
mod writer;

use crate::backend::{Backend, ClaimRequest, Row, Rows, Scan};
use crate::options::Options;
use crate::signals::Signals;
use crate::txn::{Durability, Hold, Op};
use crate::{Lease, StoreError};
use link::{Link, Links, PATIENCE};
use listener::Listener;
use place::Place;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;
use towpath_api::{Event, Timestamp, async_trait, id};
use writer::Writer;

/// Connections that claim, renew and prune: these wait for the disk, and reads shall not wait behind them.
const JOB_LINKS: usize = 2;

pub(crate) struct Postgres {
    writer: Writer,
    readers: Links,
    jobs: Links,
    listener: Listener,
    closed: AtomicBool,
}

impl Postgres {
    pub async fn open(url: &str, options: &Options, signals: Arc<Signals>) -> Result<Postgres, StoreError> {
        if options.max_bytes.is_some() {
            let reason = "max_bytes bounds the embedded database; give PostgreSQL a tablespace of that size";
            return Err(StoreError::Location(reason.into()));
        }
        let place = Arc::new(Place::parse(url)?);
        let link = Link::new(place.clone());
        schema::prepare(link.session(Instant::now() + PATIENCE).await?.as_ref()).await?;
        let id = id::uuid();
        let writer = Writer::start(link, id.clone(), options.clock.now()).await?;
        let listener = Listener::start(place.clone(), signals, id).await?;
        let (readers, jobs) = (Links::new(&place, options.readers), Links::new(&place, JOB_LINKS));
        Ok(Postgres { writer, readers, jobs, listener, closed: AtomicBool::new(false) })
    }

    fn reader(&self) -> Result<&Link, StoreError> {
        self.open_link(&self.readers)
    }

    fn job_link(&self) -> Result<&Link, StoreError> {
        self.open_link(&self.jobs)
    }

    fn open_link<'a>(&self, links: &'a Links) -> Result<&'a Link, StoreError> {
        let link = links.one().filter(|_| !self.closed.load(Ordering::Acquire));
        link.ok_or(StoreError::Closed)
    }
}

#[async_trait]
impl Backend for Postgres {
    async fn get(&self, kind: &'static str, key: String) -> Result<Option<Row>, StoreError> {
        Ok(read::get(self.reader()?, kind, key).await?)
    }

    async fn scan(&self, scan: Scan) -> Result<Rows, StoreError> {
        Ok(read::scan(self.reader()?, &scan).await?)
    }

    /// Every commit waits for the disk: one that need not shares its transaction with those that must.
    async fn commit(
        &self,
        ops: Vec<Op>,
        bytes: usize,
        now: Timestamp,
        _: Durability,
    ) -> Result<(), StoreError> {
        self.writer.commit(ops, bytes, now).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Lease>, StoreError> {
        Ok(jobs::claim(self.job_link()?, &request).await?)
    }

    async fn renew(&self, hold: Hold, expires_at: Timestamp) -> Result<(), StoreError> {
        Ok(jobs::renew(self.job_link()?, &hold, expires_at).await?)
    }

    async fn next_due(&self, queue: String) -> Result<Option<Timestamp>, StoreError> {
        Ok(read::next_due(self.reader()?, &queue).await?)
    }

    async fn events_after(&self, sequence: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        Ok(read::events_after(self.reader()?, sequence, limit).await?)
    }

    async fn last_sequence(&self) -> Result<u64, StoreError> {
        Ok(read::last_sequence(self.reader()?).await?)
    }

    async fn last_emitted(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(read::last_emitted(self.reader()?).await?)
    }

    async fn prune_events(&self, through: u64, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        Ok(jobs::prune(self.job_link()?, through, before, limit).await?)
    }

    async fn check_version(&self) -> Result<(), StoreError> {
        let session = self.reader()?.session(Instant::now() + PATIENCE).await?;
        Ok(schema::check(&session).await?)
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.writer.close().await;
        self.listener.stop();
        self.readers.close().await;
        self.jobs.close().await;
    }
}
