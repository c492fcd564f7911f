//! Queries. Each sees one consistent state: that of the newest commit when it began.

use crate::backend::{Row, Rows, Scan};
use crate::limits::{KEY_CEILING, MAX_LIST_BYTES};
use crate::{Order, StoreError};
use rusqlite::{Connection, OptionalExtension, params};
use towpath_api::{Event, Timestamp};

/// What a listing may be to be read at once: some hundred microseconds.
const SHORT_ROWS: usize = 64;
const SHORT_BYTES: usize = 128 << 10;

pub(super) fn get(connection: &Connection, kind: &str, key: String) -> Result<Option<Row>, StoreError> {
    let found = connection
        .prepare_cached("SELECT version, body FROM documents WHERE kind = ?1 AND key = ?2")?
        .query_row(params![kind, key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.map(|(version, body)| Row { key, version, body }))
}

/// A listing that may be long.
pub(super) fn scan(connection: &Connection, scan: &Scan) -> Result<Rows, StoreError> {
    scan_within(connection, scan, Bounds { rows: scan.limit, bytes: MAX_LIST_BYTES })
}

/// The same listing where it is short, `None` where it is not: for whoever must not be kept waiting.
pub(super) fn scan_short(connection: &Connection, scan: &Scan) -> Result<Option<Rows>, StoreError> {
    let bounds = Bounds { rows: scan.limit.min(SHORT_ROWS), bytes: SHORT_BYTES };
    let found = scan_within(connection, scan, bounds)?;
    Ok((!found.more || found.rows.len() == scan.limit).then_some(found))
}

/// A page has at most so many rows, and no more than so many bytes once there is one.
struct Bounds {
    rows: usize,
    bytes: usize,
}

fn scan_within(connection: &Connection, scan: &Scan, bounds: Bounds) -> Result<Rows, StoreError> {
    let ceiling = format!("{}{KEY_CEILING}", scan.prefix);
    let limit = bounds.rows as i64 + 1;
    match scan.order {
        Order::Ascending => {
            let after = scan.after.as_deref().unwrap_or("");
            let from = scan.prefix.as_str().max(after);
            let mut statement = connection.prepare_cached(
                "SELECT key, version, body FROM documents
                 WHERE kind = ?1 AND key >= ?2 AND key < ?3 AND key > ?4 ORDER BY key LIMIT ?5",
            )?;
            page(statement.query(params![scan.kind, from, ceiling, after, limit])?, &bounds)
        }
        Order::Descending => {
            let before = scan.after.as_deref().unwrap_or(&ceiling).min(&ceiling);
            let mut statement = connection.prepare_cached(
                "SELECT key, version, body FROM documents
                 WHERE kind = ?1 AND key >= ?2 AND key < ?3 ORDER BY key DESC LIMIT ?4",
            )?;
            page(statement.query(params![scan.kind, scan.prefix, before, limit])?, &bounds)
        }
    }
}

fn page(mut found: rusqlite::Rows, bounds: &Bounds) -> Result<Rows, StoreError> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let row = Row { key: row.get(0)?, version: row.get(1)?, body: row.get(2)? };
        bytes += row.body.len();
        if rows.len() == bounds.rows || (bytes > bounds.bytes && !rows.is_empty()) {
            return Ok(Rows { rows, more: true });
        }
        rows.push(row);
    }
    Ok(Rows { rows, more: false })
}

pub(super) fn next_due(connection: &Connection, queue: &str) -> Result<Option<Timestamp>, StoreError> {
    let due: Option<i64> = connection
        .prepare_cached(
            "SELECT min(at) FROM (
                SELECT min(run_at) AS at FROM jobs WHERE queue = ?1 AND lease_owner IS NULL
                UNION ALL
                SELECT min(lease_expires_at) FROM jobs WHERE queue = ?1 AND lease_owner IS NOT NULL
             )",
        )?
        .query_row([queue], |row| row.get(0))?;
    Ok(due.map(Timestamp::from_millis))
}

pub(super) fn events_after(
    connection: &Connection,
    sequence: u64,
    limit: usize,
) -> Result<Vec<(u64, Event)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, event FROM outbox WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let rows = statement.query_map(params![clamp(sequence), limit as i64], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    rows.map(|row| {
        let (sequence, text) = row?;
        let event = serde_json::from_str(&text).map_err(|source| StoreError::Unreadable {
            kind: "event".into(),
            key: sequence.to_string(),
            source,
        })?;
        Ok((sequence as u64, event))
    })
    .collect()
}

pub(super) fn last_sequence(connection: &Connection) -> Result<u64, StoreError> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0) as u64)
}

pub(super) fn last_emitted(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT emitted_at FROM outbox ORDER BY sequence DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.map(Timestamp::from_millis))
}

/// SQLite's integers are signed; a cursor beyond them is beyond every event.
pub(super) fn clamp(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn large_documents_make_short_pages() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrate(&mut connection, std::path::Path::new("test.db")).unwrap();
        let insert =
            "INSERT INTO documents (kind, key, version, body) VALUES ('k', ?1, 1, printf('%.*c', ?2, 'x'))";
        for number in 0..11 {
            let size = MAX_LIST_BYTES as i64 / 9;
            connection.execute(insert, params![format!("{number:02}"), size]).unwrap();
        }
        for order in [Order::Ascending, Order::Descending] {
            let mut request = Scan { kind: "k", prefix: String::new(), after: None, limit: 100, order };
            let first = scan(&connection, &request).unwrap();
            assert_eq!((first.rows.len(), first.more), (9, true));
            request.after = first.rows.last().map(|row| row.key.clone());
            let rest = scan(&connection, &request).unwrap();
            assert_eq!((rest.rows.len(), rest.more), (2, false));
        }
    }

    #[test]
    fn a_short_listing_is_whole_or_not_given() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrate(&mut connection, std::path::Path::new("test.db")).unwrap();
        let insert =
            "INSERT INTO documents (kind, key, version, body) VALUES (?1, ?2, 1, printf('%.*c', ?3, 'x'))";
        let fill = |kind: &str, rows: usize, bytes: usize| {
            for number in 0..rows {
                connection.execute(insert, params![kind, format!("{number:03}"), bytes as i64]).unwrap();
            }
        };
        fill("few", SHORT_ROWS, 10);
        fill("many", SHORT_ROWS + 1, 10);
        fill("large", 3, SHORT_BYTES / 2);
        fill("one", 1, SHORT_BYTES * 2);
        let short = |kind, limit| {
            let request = Scan { kind, prefix: String::new(), after: None, limit, order: Order::Ascending };
            let long = scan(&connection, &request).unwrap();
            let found = scan_short(&connection, &request).unwrap();
            found.map(|found| {
                let keys = |rows: &Rows| rows.rows.iter().map(|row| row.key.clone()).collect::<Vec<_>>();
                assert_eq!((keys(&found), found.more), (keys(&long), long.more));
                found.rows.len()
            })
        };
        assert_eq!(short("none", 1000), Some(0));
        assert_eq!(short("few", 1000), Some(SHORT_ROWS));
        assert_eq!(short("few", SHORT_ROWS), Some(SHORT_ROWS));
        assert_eq!(short("few", 5), Some(5));
        assert_eq!(short("many", 1000), None);
        assert_eq!(short("many", SHORT_ROWS), Some(SHORT_ROWS));
        assert_eq!(short("large", 1000), None);
        assert_eq!(short("large", 2), Some(2));
        assert_eq!(short("one", 1000), Some(1));
    }
}
