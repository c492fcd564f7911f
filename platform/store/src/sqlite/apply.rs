//! One transaction's changes, carried out inside a savepoint of the writer.

use crate::StoreError;
use crate::backend::ClaimRequest;
use crate::txn::{Hold, Lease, Op};
use rusqlite::{Connection, OptionalExtension, params};
use towpath_api::Timestamp;

/// Why a request was not carried out.
pub(super) enum Failure {
    /// An expectation did not hold: the request's own affair.
    Refused(StoreError),
    /// The database failed: everything that shares its transaction is in doubt.
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Database(error)
    }
}

/// The writer's own number that never comes back: versions and fences.
pub(super) type Tick = i64;

pub(super) fn commit(connection: &Connection, ops: &[Op], now: Timestamp, tick: Tick) -> Result<(), Failure> {
    for op in ops {
        if let Op::Complete(hold) | Op::Guard(hold) | Op::Release { hold, .. } = op {
            check_hold(connection, hold)?;
        }
    }
    ops.iter().try_for_each(|op| apply(connection, op, now, tick))
}

fn apply(connection: &Connection, op: &Op, now: Timestamp, tick: Tick) -> Result<(), Failure> {
    match op {
        Op::Create { .. } | Op::Replace { .. } | Op::Put { .. } | Op::Delete { .. } => {
            write_document(connection, op, tick)
        }
        Op::Expect { kind, key, version } => {
            let found = version_of(connection, kind, key)?;
            if found == Some(*version) { Ok(()) } else { conflict(kind, key) }
        }
        Op::ExpectAbsent { kind, key } => match version_of(connection, kind, key)? {
            None => Ok(()),
            Some(_) => conflict(kind, key),
        },
        Op::Emit { event } => {
            connection
                .prepare_cached("INSERT INTO outbox (emitted_at, event) VALUES (?1, ?2)")?
                .execute(params![now.as_millis(), event])?;
            Ok(())
        }
        Op::Enqueue { .. } | Op::Cancel { .. } => write_job(connection, op),
        Op::Complete(hold) => complete(connection, hold),
        Op::Guard(_) => Ok(()),
        Op::Release { hold, run_at } => release(connection, hold, *run_at),
    }
}

fn write_document(connection: &Connection, op: &Op, tick: Tick) -> Result<(), Failure> {
    let (changed, kind, key) = match op {
        Op::Create { kind, key, body } => {
            let changed = connection
                .prepare_cached(
                    "INSERT INTO documents (kind, key, version, body) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![kind, key, tick, body])?;
            (changed, kind, key)
        }
        Op::Replace { kind, key, version, body } => {
            let changed = connection
                .prepare_cached(
                    "UPDATE documents SET version = ?4, body = ?5 WHERE kind = ?1 AND key = ?2 AND version = ?3",
                )?
                .execute(params![kind, key, version, tick, body])?;
            (changed, kind, key)
        }
        Op::Put { kind, key, body } => {
            let changed = connection
                .prepare_cached(
                    "INSERT INTO documents (kind, key, version, body) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (kind, key) DO UPDATE SET version = excluded.version, body = excluded.body",
                )?
                .execute(params![kind, key, tick, body])?;
            (changed, kind, key)
        }
        Op::Delete { kind, key, version } => {
            let changed = connection
                .prepare_cached("DELETE FROM documents WHERE kind = ?1 AND key = ?2 AND version = ?3")?
                .execute(params![kind, key, version])?;
            (changed, kind, key)
        }
        _ => return Ok(()),
    };
    if changed == 1 { Ok(()) } else { conflict(kind, key) }
}

fn write_job(connection: &Connection, op: &Op) -> Result<(), Failure> {
    match op {
        Op::Enqueue { queue, key, payload, run_at } => connection
            .prepare_cached(
                "INSERT INTO jobs (queue, key, payload, run_at, attempt, fence) VALUES (?1, ?2, ?3, ?4, 0, 0)
                 ON CONFLICT (queue, key) DO UPDATE SET
                    payload = excluded.payload,
                    run_at = iif(lease_owner IS NULL, min(run_at, excluded.run_at), run_at),
                    again_at = iif(lease_owner IS NULL, NULL,
                                   min(coalesce(again_at, excluded.run_at), excluded.run_at))",
            )?
            .execute(params![queue, key, payload, run_at])?,
        Op::Cancel { queue, key } => connection
            .prepare_cached("DELETE FROM jobs WHERE queue = ?1 AND key = ?2")?
            .execute(params![queue, key])?,
        _ => 0,
    };
    Ok(())
}

/// The job goes, unless it was woken since it was claimed: then it is as good as new. Where the same
/// transaction cancelled it, there is nothing left to do.
fn complete(connection: &Connection, hold: &Hold) -> Result<(), Failure> {
    connection
        .prepare_cached("DELETE FROM jobs WHERE queue = ?1 AND key = ?2 AND fence = ?3 AND again_at IS NULL")?
        .execute(params![hold.queue, hold.key, hold.fence])?;
    connection
        .prepare_cached(
            "UPDATE jobs SET run_at = again_at, again_at = NULL, attempt = 0,
                             lease_owner = NULL, lease_expires_at = NULL
             WHERE queue = ?1 AND key = ?2 AND fence = ?3",
        )?
        .execute(params![hold.queue, hold.key, hold.fence])?;
    Ok(())
}

fn release(connection: &Connection, hold: &Hold, run_at: i64) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "UPDATE jobs SET run_at = min(coalesce(again_at, ?4), ?4), again_at = NULL,
                             lease_owner = NULL, lease_expires_at = NULL
             WHERE queue = ?1 AND key = ?2 AND fence = ?3",
        )?
        .execute(params![hold.queue, hold.key, hold.fence, run_at])?;
    Ok(())
}

pub(super) fn renew(connection: &Connection, hold: &Hold, expires_at: Timestamp) -> Result<(), Failure> {
    let changed = connection
        .prepare_cached(
            "UPDATE jobs SET lease_expires_at = ?4
             WHERE queue = ?1 AND key = ?2 AND fence = ?3 AND lease_owner IS NOT NULL",
        )?
        .execute(params![hold.queue, hold.key, hold.fence, expires_at.as_millis()])?;
    if changed == 1 { Ok(()) } else { lease_lost(hold) }
}

/// Free jobs that are due come first, then those whose lease another worker let expire.
pub(super) fn claim(
    connection: &Connection,
    request: &ClaimRequest,
    mut next_fence: impl FnMut() -> Tick,
) -> Result<Vec<Lease>, Failure> {
    let (queue, now) = (&request.queue, request.now.as_millis());
    let mut keys: Vec<String> = connection
        .prepare_cached(
            "SELECT key FROM jobs WHERE queue = ?1 AND lease_owner IS NULL AND run_at <= ?2
             ORDER BY run_at, key LIMIT ?3",
        )?
        .query_map(params![queue, now, request.limit as i64], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let rest = request.limit.saturating_sub(keys.len()) as i64;
    let expired = connection
        .prepare_cached(
            "SELECT key FROM jobs WHERE queue = ?1 AND lease_owner IS NOT NULL AND lease_expires_at <= ?2
                AND lease_owner <> ?4 ORDER BY lease_expires_at, key LIMIT ?3",
        )?
        .query_map(params![queue, now, rest, request.worker], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    keys.extend(expired);
    keys.into_iter().map(|key| take(connection, request, key, next_fence())).collect()
}

/// Running it now also answers a wake-up that came while the last holder had it.
fn take(connection: &Connection, request: &ClaimRequest, key: String, fence: Tick) -> Result<Lease, Failure> {
    let expires_at = request.expires_at.as_millis();
    let now = request.now.as_millis();
    let (payload, attempt): (String, u32) = connection
        .prepare_cached(
            "UPDATE jobs SET fence = ?3, lease_owner = ?4, lease_expires_at = ?5, attempt = attempt + 1,
                             again_at = iif(again_at <= ?6, NULL, again_at)
             WHERE queue = ?1 AND key = ?2 RETURNING payload, attempt",
        )?
        .query_row(params![request.queue, key, fence, request.worker, expires_at, now], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let payload = serde_json::from_str(&payload).map_err(|source| {
        Failure::Refused(StoreError::Unreadable { kind: "job".into(), key: key.clone(), source })
    })?;
    Ok(Lease {
        queue: request.queue.clone(),
        key,
        payload,
        attempt,
        fence: fence as u64,
        expires_at: request.expires_at,
    })
}

pub(super) fn prune(
    connection: &Connection,
    through: u64,
    before: Timestamp,
    limit: usize,
) -> Result<u64, Failure> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM outbox WHERE sequence IN (
                SELECT sequence FROM outbox WHERE sequence <= ?1 AND emitted_at < ?2 ORDER BY sequence LIMIT ?3)",
        )?
        .execute(params![super::read::clamp(through), before.as_millis(), limit as i64])?;
    Ok(removed as u64)
}

fn check_hold(connection: &Connection, hold: &Hold) -> Result<(), Failure> {
    let held: Option<i64> = connection
        .prepare_cached(
            "SELECT 1 FROM jobs WHERE queue = ?1 AND key = ?2 AND fence = ?3 AND lease_owner IS NOT NULL",
        )?
        .query_row(params![hold.queue, hold.key, hold.fence], |row| row.get(0))
        .optional()?;
    if held.is_some() { Ok(()) } else { lease_lost(hold) }
}

fn version_of(connection: &Connection, kind: &str, key: &str) -> Result<Option<i64>, Failure> {
    Ok(connection
        .prepare_cached("SELECT version FROM documents WHERE kind = ?1 AND key = ?2")?
        .query_row(params![kind, key], |row| row.get(0))
        .optional()?)
}

fn conflict<T>(kind: &str, key: &str) -> Result<T, Failure> {
    Err(Failure::Refused(StoreError::Conflict { kind: kind.to_owned(), key: key.to_owned() }))
}

fn lease_lost<T>(hold: &Hold) -> Result<T, Failure> {
    Err(Failure::Refused(StoreError::LeaseLost { queue: hold.queue.clone(), key: hold.key.clone() }))
}
