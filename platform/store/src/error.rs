//! What can go wrong with stored state.

use std::path::PathBuf;
use towpath_api::ApiError;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An expectation of the transaction did not hold. Nothing was written: read again, decide again.
    #[error("{kind} {key:?} was changed by someone else")]
    Conflict { kind: String, key: String },
    /// The job is no longer this holder's. Nothing was written, and the work is someone else's now.
    #[error("the lease of job {key:?} in queue {queue} is lost")]
    LeaseLost { queue: String, key: String },
    /// The disk is full, or reading or writing failed. Nothing of the commit is visible.
    #[error("storage failed: {0}")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A limit or a rule of the store was broken: a defect of the caller, or input that is too large.
    #[error("{0}")]
    Invalid(String),
    /// A stored document does not have the form that this version reads.
    #[error("{kind} {key:?} cannot be read: {source}")]
    Unreadable { kind: String, key: String, source: serde_json::Error },
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error(
        "{place} was written by a newer version (schema {found}, this one knows {known}); use that version or restore a backup"
    )]
    TooNew { place: String, found: i64, known: i64 },
    #[error("{0} is not a Towpath store")]
    Foreign(String),
    /// What was given cannot be the place of a store.
    #[error("{0}")]
    Location(String),
    /// The database is there, but cannot keep what a store promises.
    #[error("{place} cannot hold a store: {reason}")]
    Unfit { place: String, reason: String },
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn storage(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        StoreError::Storage(error.into())
    }

    pub fn is_conflict(&self) -> bool {
        matches!(self, StoreError::Conflict { .. })
    }

    pub fn is_lease_lost(&self) -> bool {
        matches!(self, StoreError::LeaseLost { .. })
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        StoreError::storage(error)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::storage(error)
    }
}

/// For a caller of the API every one of these is our own failure. A service that can say more about a
/// conflict matches on it before.
impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        ApiError::internal(error)
    }
}
