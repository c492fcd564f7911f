//! What a database's error means for whoever asked.

use crate::StoreError;
use tokio_postgres::error::SqlState;

/// A statement that was not carried out, or whose answer never came.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// An expectation did not hold: the request's own affair.
    #[error(transparent)]
    Refused(#[from] StoreError),
    /// The connection broke. What was sent may or may not have happened.
    #[error("the connection to {place} broke: {reason}")]
    Broken { place: String, reason: String },
    /// Nobody is there, or not yet, or nobody who takes writes.
    #[error("{place} cannot be reached: {reason}")]
    Unreachable { place: String, reason: String },
    /// One side does not want the other: a password, a certificate. Waiting will not help.
    #[error("{place} does not let us in: {reason}")]
    NotAllowed { place: String, reason: String },
    /// Transactions stood in each other's way, or a lock was not given in time; nothing was changed.
    #[error("{place} gave up on a transaction: {reason}")]
    Contended { place: String, reason: String },
    /// The database refused: a full disk, missing rights, a defect.
    #[error("{place} failed: {reason}")]
    Database { place: String, reason: String },
    /// The connection broke while a commit was under way, and the database did not come back to say.
    #[error("{place} went away during a commit; whether it was carried out is unknown: {reason}")]
    Unknown { place: String, reason: String },
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> StoreError {
        match failure {
            Failure::Refused(error) => error,
            failure => StoreError::storage(failure),
        }
    }
}

impl Failure {
    /// Of a statement on a connection that stood.
    pub fn of(place: &str, error: &tokio_postgres::Error) -> Failure {
        let (place, reason) = (place.to_owned(), reason(error));
        match error.code() {
            Some(code) if is_contention(code) => Failure::Contended { place, reason },
            Some(code) if is_ending(code) => Failure::Broken { place, reason },
            Some(_) => Failure::Database { place, reason },
            // Without a code of the server's own, it is the line that failed.
            None => Failure::Broken { place, reason },
        }
    }

    /// Of an attempt to connect.
    pub fn of_connecting(place: &str, error: &tokio_postgres::Error) -> Failure {
        // The library keeps this kind of error to itself.
        let is_tls = error.to_string().contains("TLS");
        let (place, reason) = (place.to_owned(), reason(error));
        if is_tls {
            return Failure::NotAllowed { place, reason };
        }
        match error.code() {
            Some(code) if is_ending(code) => Failure::Unreachable { place, reason },
            Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => Failure::Unreachable { place, reason },
            Some(_) => Failure::NotAllowed { place, reason },
            None => Failure::Unreachable { place, reason },
        }
    }

    pub fn is_broken(&self) -> bool {
        matches!(self, Failure::Broken { .. })
    }
}

fn is_contention(code: &SqlState) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::OUT_OF_MEMORY,
    ]
    .contains(code)
}

/// The server ends the session: it stops, starts, crashed, became a standby, or waited too long for us.
fn is_ending(code: &SqlState) -> bool {
    const IDLE_IN_TRANSACTION: &str = "25P03";
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ]
    .contains(code)
        || code.code() == IDLE_IN_TRANSACTION
        || code.code().starts_with("08")
}

/// The error with its causes; of the server's own the message and the code. Their details may show what is
/// in a document, and stay away.
fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(database) = error.as_db_error() {
        return format!("{} ({})", database.message(), database.code().code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
