//! The tables, and how an older database becomes a newer one: the scheme of the embedded backend
//! (expand, then contract; `oldest_reader`), in the schema `towpath` of the given database.
//!
//! Servers that start at the same time migrate one after the other, under an advisory lock. A role that may
//! not create schemas can be given an empty schema `towpath` of its own beforehand.

use super::failure::Failure;
use super::link::Session;
use super::place::Place;
use crate::StoreError;
use std::collections::HashMap;

/// "TOWP": marks the schema as ours.
const APPLICATION_ID: i64 = 0x544f_5750;
/// `current_setting('server_version_num')` of PostgreSQL 13, the oldest that its makers still mended when
/// this was written.
const OLDEST_SERVER: i32 = 130_000;

struct Migration {
    sql: &'static str,
    /// The oldest schema version whose programs can still use the database afterwards.
    oldest_reader: i64,
}

/// Version n is entry n - 1. Entries are never edited once released. Keys compare byte by byte, in every
/// locale. The counter's row is locked by each commit that emits: see `group.rs`.
const MIGRATIONS: &[Migration] = &[Migration {
    oldest_reader: 1,
    sql: r#"
        CREATE SEQUENCE towpath.tick;
        CREATE TABLE towpath.counters (name text COLLATE "C" PRIMARY KEY, value bigint NOT NULL)
            WITH (fillfactor = 10);
        INSERT INTO towpath.counters VALUES ('outbox', 0);
        CREATE TABLE towpath.documents (
            kind text COLLATE "C" NOT NULL,
            key text COLLATE "C" NOT NULL,
            version bigint NOT NULL,
            body text NOT NULL,
            PRIMARY KEY (kind, key)
        ) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05);
        CREATE TABLE towpath.outbox (
            sequence bigint PRIMARY KEY,
            emitted_at bigint NOT NULL,
            event text NOT NULL
        );
        CREATE TABLE towpath.jobs (
            queue text COLLATE "C" NOT NULL,
            key text COLLATE "C" NOT NULL,
            payload text NOT NULL,
            run_at bigint NOT NULL,
            -- When a job that was woken while it was leased shall run again.
            again_at bigint,
            attempt integer NOT NULL,
            fence bigint NOT NULL,
            lease_owner text COLLATE "C",
            lease_expires_at bigint,
            PRIMARY KEY (queue, key)
        ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
        CREATE INDEX jobs_free ON towpath.jobs (queue, run_at, key) WHERE lease_owner IS NULL;
        CREATE INDEX jobs_leased ON towpath.jobs (queue, lease_expires_at, key) WHERE lease_owner IS NOT NULL;
        -- Which of its commits each process's writer brought to an end: see `writer.rs`.
        CREATE TABLE towpath.writers (
            writer text COLLATE "C" PRIMARY KEY,
            number bigint NOT NULL,
            at bigint NOT NULL
        ) WITH (fillfactor = 50);
    "#,
}];

/// Checks the server, and migrates.
pub(super) async fn prepare(session: &Session) -> Result<(), Failure> {
    check_server(session).await?;
    migrate(session).await
}

async fn check_server(session: &Session) -> Result<(), Failure> {
    let sql = "SELECT current_setting('server_version_num')::integer, current_setting('server_encoding'),
                      current_setting('fsync')";
    let rows = session.query(sql, &[]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (version, encoding, fsync): (i32, &str, &str) = (row.get(0), row.get(1), row.get(2));
    let unfit = |reason: String| {
        let place = session.place.name.clone();
        Err(Failure::Refused(StoreError::Unfit { place, reason }))
    };
    if version < OLDEST_SERVER {
        return unfit(format!("it is PostgreSQL {}, and 13 is the oldest that will do", version / 10_000));
    }
    if encoding != "UTF8" {
        return unfit(format!("its encoding is {encoding} and must be UTF8"));
    }
    if fsync != "on" {
        tracing::warn!(
            database = session.place.name,
            "the database runs with fsync off: what it acknowledged can be lost"
        );
    }
    Ok(())
}

async fn migrate(session: &Session) -> Result<(), Failure> {
    // Another server may be migrating a large database: that takes the time it takes.
    let begin = "BEGIN; SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0;
                 SET LOCAL idle_in_transaction_session_timeout = '60s';
                 SELECT pg_advisory_xact_lock(hashtextextended('towpath migration', 0))";
    let run = async {
        let failed = |error| Failure::of(&session.place.name, &error);
        session.client.batch_execute(begin).await.map_err(failed)?;
        migrate_locked(session).await?;
        session.client.batch_execute("COMMIT").await.map_err(failed)
    };
    let outcome = run.await;
    if outcome.is_err() {
        // It may be in the middle of a transaction.
        session.give_up();
    }
    outcome
}

async fn migrate_locked(session: &Session) -> Result<(), Failure> {
    let failed = |error| Failure::of(&session.place.name, &error);
    let known = MIGRATIONS.len() as i64;
    let found = match read_meta(session).await? {
        None => {
            session.client.batch_execute(&create_meta()).await.map_err(failed)?;
            0
        }
        Some(meta) => {
            let found = checked_version(&meta, known, &session.place)?;
            if found >= known {
                return Ok(());
            }
            found
        }
    };
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let (version, oldest_reader) = (index as i64 + 1, migration.oldest_reader);
        let sql = format!(
            "{}; UPDATE towpath.meta SET value = {version} WHERE name = 'schema';
             UPDATE towpath.meta SET value = {oldest_reader} WHERE name = 'oldest_reader'",
            migration.sql
        );
        session.client.batch_execute(&sql).await.map_err(failed)?;
    }
    Ok(())
}

fn create_meta() -> String {
    format!(
        r#"DO $$ BEGIN
               IF to_regnamespace('towpath') IS NULL THEN CREATE SCHEMA towpath; END IF;
           END $$;
           CREATE TABLE towpath.meta (name text COLLATE "C" PRIMARY KEY, value bigint NOT NULL);
           INSERT INTO towpath.meta VALUES ('application', {APPLICATION_ID}), ('schema', 0), ('oldest_reader', 1)"#
    )
}

type Meta = HashMap<String, i64>;

/// `None` where nothing is there yet.
async fn read_meta(session: &Session) -> Result<Option<Meta>, Failure> {
    let failed = |error| Failure::of(&session.place.name, &error);
    let sql = "SELECT to_regclass('towpath.meta') IS NOT NULL,
                      (SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('towpath')::oid)";
    let row = session.client.query_one(sql, &[]).await.map_err(failed)?;
    let (has_meta, relations): (bool, i64) = (row.get(0), row.get(1));
    if !has_meta {
        if relations > 0 {
            return Err(StoreError::Foreign(format!("the schema towpath of {}", session.place.name)).into());
        }
        return Ok(None);
    }
    let sql = "SELECT name::text, value::bigint FROM towpath.meta";
    let rows = match session.client.query(sql, &[]).await {
        Ok(rows) => rows,
        Err(error) if error.code().is_some_and(|code| code.code().starts_with("42")) => {
            return Err(StoreError::Foreign(format!("the schema towpath of {}", session.place.name)).into());
        }
        Err(error) => return Err(failed(error)),
    };
    Ok(Some(rows.iter().map(|row| (row.get(0), row.get(1))).collect()))
}

/// Whether this program may still use the database.
pub(super) async fn check(session: &Session) -> Result<(), Failure> {
    let meta = read_meta(session).await?.unwrap_or_default();
    Ok(checked_version(&meta, MIGRATIONS.len() as i64, &session.place).map(drop)?)
}

/// The version that the database has, where this program may use it.
fn checked_version(meta: &Meta, known: i64, place: &Place) -> Result<i64, StoreError> {
    let place = place.name.clone();
    let value = |name: &str| meta.get(name).copied();
    let (Some(APPLICATION_ID), Some(found)) = (value("application"), value("schema")) else {
        return Err(StoreError::Foreign(format!("the schema towpath of {place}")));
    };
    if found > known && value("oldest_reader").is_none_or(|oldest| oldest > known) {
        return Err(StoreError::TooNew { place, found, known });
    }
    Ok(found)
}
