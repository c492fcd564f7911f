//! The tables, and how an older database becomes a newer one.
//!
//! Migrations **expand, then contract**: a version first adds what it needs and still works for the
//! version before it; what nobody reads any more goes in a later one. `PRAGMA user_version` is the schema
//! that was written last, `oldest_reader` the oldest schema that a program may know to open it: so going
//! back one version works until a contraction says otherwise.
//!
//! The same goes for the documents in the tables: a version that writes some which the version before cannot read
//! adds a migration for that alone, without SQL, whose `oldest_reader` is its own. An older program is then refused
//! at its start, and not by one request after another.

use crate::StoreError;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use std::path::Path;

/// "TOWP": marks the file as ours.
const APPLICATION_ID: i64 = 0x544f_5750;

struct Migration {
    sql: &'static str,
    /// The oldest schema version whose programs can still use the database afterwards.
    oldest_reader: i64,
}

/// Version n is entry n - 1. Entries are never edited once released.
const MIGRATIONS: &[Migration] = &[Migration {
    oldest_reader: 1,
    sql: "
        CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
        INSERT INTO counters VALUES ('tick', 0), ('oldest_reader', 1);
        CREATE TABLE documents (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            key TEXT NOT NULL,
            version INTEGER NOT NULL,
            body TEXT NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX documents_by_key ON documents (kind, key);
        CREATE TABLE outbox (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            emitted_at INTEGER NOT NULL,
            event TEXT NOT NULL
        ) STRICT;
        CREATE TABLE jobs (
            queue TEXT NOT NULL,
            key TEXT NOT NULL,
            payload TEXT NOT NULL,
            run_at INTEGER NOT NULL,
            -- When a job that was woken while it was leased shall run again.
            again_at INTEGER,
            attempt INTEGER NOT NULL,
            fence INTEGER NOT NULL,
            lease_owner TEXT,
            lease_expires_at INTEGER,
            PRIMARY KEY (queue, key)
        ) STRICT;
        CREATE INDEX jobs_free ON jobs (queue, run_at) WHERE lease_owner IS NULL;
        CREATE INDEX jobs_leased ON jobs (queue, lease_expires_at) WHERE lease_owner IS NOT NULL;
    ",
}];

pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let known = MIGRATIONS.len() as i64;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        return Err(StoreError::Foreign(path.display().to_string()));
    }
    if found > known {
        let oldest: Option<i64> = transaction
            .query_row("SELECT value FROM counters WHERE name = 'oldest_reader'", [], |row| row.get(0))
            .optional()?;
        if oldest.is_none_or(|oldest| oldest > known) {
            return Err(StoreError::TooNew { place: path.display().to_string(), found, known });
        }
        return Ok(transaction.commit()?);
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        transaction.execute_batch(migration.sql)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.execute(
            "UPDATE counters SET value = ?1 WHERE name = 'oldest_reader'",
            [migration.oldest_reader],
        )?;
    }
    if application == 0 {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn migrated() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Path::new("test.db")).unwrap();
        connection
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = migrated();
        migrate(&mut connection, Path::new("test.db")).unwrap();
    }

    #[test]
    fn a_newer_schema_is_opened_only_where_it_says_so() {
        let mut connection = migrated();
        connection.pragma_update(None, "user_version", 99).unwrap();
        migrate(&mut connection, Path::new("test.db")).unwrap();
        connection.execute("UPDATE counters SET value = 99 WHERE name = 'oldest_reader'", []).unwrap();
        let error = migrate(&mut connection, Path::new("test.db")).unwrap_err();
        assert!(matches!(error, StoreError::TooNew { found: 99, .. }), "{error}");
    }

    #[test]
    fn another_programs_database_is_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(migrate(&mut connection, Path::new("x")), Err(StoreError::Foreign(_))));
    }
}
