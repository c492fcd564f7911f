//! Queries. Each sees one consistent state: that of the newest commit when it began.

use super::board::is_storable;
use super::failure::Failure;
use super::link::Link;
use crate::backend::{Row, Rows, Scan};
use crate::limits::{KEY_CEILING, MAX_LIST_BYTES};
use crate::{Order, StoreError};
use towpath_api::{Event, Timestamp};

const GET: &str = "SELECT version, body FROM towpath.documents WHERE kind = $1 AND key = $2";
/// Rows beyond the bytes of a page come without their bodies: the sizes are known without reading them.
const ASCENDING: &str = "SELECT key, version, CASE WHEN place = 1 OR total <= $6 THEN body END FROM (
        SELECT key, version, body, row_number() OVER pages AS place,
               sum(octet_length(body)) OVER pages AS total
        FROM (SELECT key, version, body FROM towpath.documents
              WHERE kind = $1 AND key >= $2 AND key < $3 AND key > $4 ORDER BY key LIMIT $5) AS page
        WINDOW pages AS (ORDER BY key ROWS UNBOUNDED PRECEDING)) AS sized ORDER BY key";
const DESCENDING: &str = "SELECT key, version, CASE WHEN place = 1 OR total <= $5 THEN body END FROM (
        SELECT key, version, body, row_number() OVER pages AS place,
               sum(octet_length(body)) OVER pages AS total
        FROM (SELECT key, version, body FROM towpath.documents
              WHERE kind = $1 AND key >= $2 AND key < $3 ORDER BY key DESC LIMIT $4) AS page
        WINDOW pages AS (ORDER BY key DESC ROWS UNBOUNDED PRECEDING)) AS sized ORDER BY key DESC";
const NEXT_DUE: &str = "SELECT least(
    (SELECT min(run_at) FROM towpath.jobs WHERE queue = $1 AND lease_owner IS NULL),
    (SELECT min(lease_expires_at) FROM towpath.jobs WHERE queue = $1 AND lease_owner IS NOT NULL))";
const EVENTS_AFTER: &str =
    "SELECT sequence, event FROM towpath.outbox WHERE sequence > $1 ORDER BY sequence LIMIT $2";
const LAST_EMITTED: &str = "SELECT emitted_at FROM towpath.outbox ORDER BY sequence DESC LIMIT 1";
const LAST_SEQUENCE: &str = "SELECT value FROM towpath.counters WHERE name = 'outbox'";

pub(super) async fn get(link: &Link, kind: &str, key: String) -> Result<Option<Row>, Failure> {
    if !is_storable(&key) {
        return Ok(None);
    }
    let rows = link.query_again(GET, &[&kind, &key]).await?;
    Ok(rows.into_iter().next().map(|row| Row { key, version: row.get(0), body: row.get(1) }))
}

pub(super) async fn scan(link: &Link, scan: &Scan) -> Result<Rows, Failure> {
    if !is_storable(&scan.prefix) {
        return Ok(Rows { rows: Vec::new(), more: false });
    }
    let ceiling = format!("{}{KEY_CEILING}", scan.prefix);
    let (limit, most_bytes) = (scan.limit as i64 + 1, MAX_LIST_BYTES as i64);
    let found = match scan.order {
        Order::Ascending => {
            let after = storable_bound(scan.after.as_deref().unwrap_or(""), "");
            let from = scan.prefix.as_str().max(&after);
            link.query_again(ASCENDING, &[&scan.kind, &from, &ceiling, &after, &limit, &most_bytes]).await?
        }
        Order::Descending => {
            let before = storable_bound(scan.after.as_deref().unwrap_or(&ceiling), "\u{1}").min(ceiling);
            link.query_again(DESCENDING, &[&scan.kind, &scan.prefix, &before, &limit, &most_bytes]).await?
        }
    };
    let mut rows = Vec::with_capacity(found.len().min(scan.limit));
    for row in found {
        let body: Option<String> = row.get(2);
        let Some(body) = body.filter(|_| rows.len() < scan.limit) else {
            return Ok(Rows { rows, more: true });
        };
        rows.push(Row { key: row.get(0), version: row.get(1), body });
    }
    Ok(Rows { rows, more: false })
}

/// A bound with the same keys on either side that has no NUL: no stored key has one, so "a", NUL, "x" lies
/// directly behind "a", and before "a" with anything else.
fn storable_bound(bound: &str, instead: &str) -> String {
    match bound.split_once('\0') {
        None => bound.to_owned(),
        Some((start, _)) => format!("{start}{instead}"),
    }
}

pub(super) async fn next_due(link: &Link, queue: &str) -> Result<Option<Timestamp>, Failure> {
    if !is_storable(queue) {
        return Ok(None);
    }
    let rows = link.query_again(NEXT_DUE, &[&queue]).await?;
    Ok(rows.first().and_then(|row| row.get::<_, Option<i64>>(0)).map(Timestamp::from_millis))
}

pub(super) async fn events_after(
    link: &Link,
    sequence: u64,
    limit: usize,
) -> Result<Vec<(u64, Event)>, Failure> {
    let rows = link.query_again(EVENTS_AFTER, &[&clamp(sequence), &(limit as i64)]).await?;
    rows.iter()
        .map(|row| {
            let (sequence, text): (i64, &str) = (row.get(0), row.get(1));
            let event = serde_json::from_str(text).map_err(|source| StoreError::Unreadable {
                kind: "event".into(),
                key: sequence.to_string(),
                source,
            })?;
            Ok((sequence as u64, event))
        })
        .collect()
}

pub(super) async fn last_sequence(link: &Link) -> Result<u64, Failure> {
    let rows = link.query_again(LAST_SEQUENCE, &[]).await?;
    Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0)) as u64)
}

pub(super) async fn last_emitted(link: &Link) -> Result<Option<Timestamp>, Failure> {
    let rows = link.query_again(LAST_EMITTED, &[]).await?;
    Ok(rows.first().map(|row| Timestamp::from_millis(row.get(0))))
}

/// PostgreSQL's integers are signed; a cursor beyond them is beyond every event.
pub(super) fn clamp(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
