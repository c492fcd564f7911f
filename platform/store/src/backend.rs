//! The border between [`crate::Store`] and a database.

use crate::txn::{Durability, Hold, Op};
use crate::{Lease, Order, StoreError};
use towpath_api::{Event, Timestamp, async_trait};

/// A stored document, still text.
#[derive(Debug)]
pub(crate) struct Row {
    pub key: String,
    pub version: i64,
    pub body: String,
}

/// A page of a listing, and whether there is more behind it.
pub(crate) struct Rows {
    pub rows: Vec<Row>,
    pub more: bool,
}

/// A range of keys of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub kind: &'static str,
    pub prefix: String,
    pub after: Option<String>,
    pub limit: usize,
    pub order: Order,
}

/// Who claims which jobs.
#[derive(Clone, Debug)]
pub(crate) struct ClaimRequest {
    pub queue: String,
    pub worker: String,
    pub now: Timestamp,
    pub expires_at: Timestamp,
    pub limit: usize,
}

/// What a database must do. Times come from the caller, so that every backend obeys one clock.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    async fn get(&self, kind: &'static str, key: String) -> Result<Option<Row>, StoreError>;

    async fn scan(&self, scan: Scan) -> Result<Rows, StoreError>;

    /// All or nothing, and as durable as is asked for, or more, when it returns.
    async fn commit(
        &self,
        ops: Vec<Op>,
        bytes: usize,
        now: Timestamp,
        durability: Durability,
    ) -> Result<(), StoreError>;

    /// Need not be durable: a lease that a crash forgets is a lease that is free.
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Lease>, StoreError>;

    async fn renew(&self, hold: Hold, expires_at: Timestamp) -> Result<(), StoreError>;

    async fn next_due(&self, queue: String) -> Result<Option<Timestamp>, StoreError>;

    async fn events_after(&self, sequence: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError>;

    async fn last_sequence(&self) -> Result<u64, StoreError>;

    /// When the last event that is kept was emitted, by the clock of whoever did.
    async fn last_emitted(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Removes events up to and including `through` that were emitted before `before`; at most `limit`.
    async fn prune_events(&self, through: u64, before: Timestamp, limit: usize) -> Result<u64, StoreError>;

    /// Whether another process, of a newer version, has made the database one that this version cannot use.
    async fn check_version(&self) -> Result<(), StoreError>;

    async fn close(&self);
}
