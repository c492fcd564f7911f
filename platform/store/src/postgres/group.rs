//! One PostgreSQL transaction for a group of the store's: lock and read in one round trip, decide in memory
//! ([`super::board`]), write and commit in another.
//!
//! **Locks.** Each name that the group touches has an advisory lock, so that absence holds as well as a
//! version does; the rows of its jobs are locked too, because claims and renewals take only those. All are
//! taken in the order of names. A group of many names takes one lock for everything instead: PostgreSQL's
//! table of locks has bounds. The only lock after these is the outbox counter's row, so nothing can wait in
//! a circle.
//!
//! **Order of events.** A sequence would hand out numbers in the order of asking, but commits become
//! visible in another order, and a subscriber that saw 8 would never go back for 7. So numbers come from a
//! row that stays locked until the commit is visible: whoever sees a number sees every smaller one. The
//! statement that takes it is the last one before COMMIT.

use super::board::{Board, Changes, JobRow, Name, Touched};
use super::failure::Failure;
use super::link::Session;
use crate::StoreError;
use crate::signals::Wakes;
use crate::txn::Op;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::pin::Pin;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

/// Names that are locked one by one.
const MAX_NAMED_LOCKS: usize = 128;
/// PostgreSQL takes 7,999 bytes in a notification.
const MAX_NOTICE_BYTES: usize = 7900;
pub(super) const CHANNEL: &str = "towpath";

const RECEIPT: &str = "INSERT INTO towpath.writers (writer, number, at) VALUES ($1, $2, $3)
    ON CONFLICT (writer) DO UPDATE SET number = excluded.number, at = excluded.at";
const LOCK_SHARED: &str =
    "SELECT pg_advisory_xact_lock_shared(hashtextextended('towpath documents and jobs', 0))";
const LOCK_ALL: &str = "SELECT pg_advisory_xact_lock(hashtextextended('towpath documents and jobs', 0))";
const LOCK_NAMES: &str = "SELECT pg_advisory_xact_lock(name) FROM unnest($1::bigint[]) AS name";
const DOCUMENTS: &str = "SELECT wanted.place, document.version
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (kind, key, place)
    JOIN towpath.documents AS document ON document.kind = wanted.kind AND document.key = wanted.key";
const JOBS: &str = "SELECT wanted.place, job.run_at, job.again_at, job.attempt, job.fence,
           job.lease_owner IS NOT NULL
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (queue, key, place)
    JOIN towpath.jobs AS job ON job.queue = wanted.queue AND job.key = wanted.key
    ORDER BY job.queue, job.key FOR UPDATE OF job";
const WRITE: &str = "INSERT INTO towpath.documents (kind, key, version, body)
    SELECT kind, key, nextval('towpath.tick'), body
    FROM unnest($1::text[], $2::text[], $3::text[]) AS new (kind, key, body)
    ON CONFLICT (kind, key) DO UPDATE SET version = excluded.version, body = excluded.body";
const DELETE: &str = "DELETE FROM towpath.documents AS document
    USING unnest($1::text[], $2::text[]) AS old (kind, key)
    WHERE document.kind = old.kind AND document.key = old.key";
const NEW_JOBS: &str = "INSERT INTO towpath.jobs (queue, key, payload, run_at, attempt, fence)
    SELECT queue, key, payload, run_at, 0, 0
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS new (queue, key, payload, run_at)";
const CHANGE_JOBS: &str = "UPDATE towpath.jobs AS job SET
        payload = coalesce(new.payload, job.payload), run_at = new.run_at, again_at = new.again_at,
        attempt = new.attempt, fence = new.fence,
        lease_owner = CASE WHEN new.leased THEN job.lease_owner END,
        lease_expires_at = CASE WHEN new.leased THEN job.lease_expires_at END
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::integer[], $7::bigint[],
                $8::boolean[]) AS new (queue, key, payload, run_at, again_at, attempt, fence, leased)
    WHERE job.queue = new.queue AND job.key = new.key";
const END_JOBS: &str =
    "DELETE FROM towpath.jobs AS job USING unnest($1::text[], $2::text[]) AS old (queue, key)
    WHERE job.queue = old.queue AND job.key = old.key";
const NOTIFY: &str = "SELECT pg_notify($1, $2)";
const EMIT: &str = "WITH counter AS (
        UPDATE towpath.counters SET value = value + cardinality($1::bigint[]) WHERE name = 'outbox'
        RETURNING value - cardinality($1::bigint[]) AS before)
    INSERT INTO towpath.outbox (sequence, emitted_at, event)
    SELECT counter.before + new.place, new.emitted_at, new.event
    FROM counter, unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS new (emitted_at, event, place)";
const ALL: &[&str] = &[
    RECEIPT,
    LOCK_SHARED,
    LOCK_ALL,
    LOCK_NAMES,
    DOCUMENTS,
    JOBS,
    WRITE,
    DELETE,
    NEW_JOBS,
    CHANGE_JOBS,
    END_JOBS,
    NOTIFY,
    EMIT,
];

/// One transaction of the store's.
pub(super) struct Item<'a> {
    pub ops: &'a [Op],
    pub now: i64,
}

/// Who commits, and which of its groups this is.
pub(super) struct Receipt<'a> {
    pub writer: &'a str,
    pub number: i64,
    pub at: i64,
}

/// What shall be written, and what each transaction will be told once it is.
pub(super) struct Decided<'a> {
    pub outcomes: Vec<Result<(), StoreError>>,
    changes: Changes<'a>,
    wakes: Wakes,
}

impl Decided<'_> {
    pub fn is_empty(&self) -> bool {
        self.changes == Changes::default()
    }
}

/// Leaves the session within the transaction, its locks held.
pub(super) async fn decide<'a>(
    session: &Session,
    receipt: &Receipt<'_>,
    items: &[Item<'a>],
) -> Result<Decided<'a>, Failure> {
    for sql in ALL {
        session.prepared(sql).await?;
    }
    let mut touched = Touched::default();
    items.iter().for_each(|item| touched.add(item.ops));
    let (docs, jobs): (Vec<Name<'a>>, Vec<Name<'a>>) =
        (touched.docs.into_iter().collect(), touched.jobs.into_iter().collect());
    let mut board = read(session, receipt, &docs, &jobs).await?;
    let mut wakes = Wakes::default();
    let outcomes = items
        .iter()
        .map(|item| {
            board.apply(item.ops, item.now)?;
            wakes.add(item.ops);
            Ok(())
        })
        .collect();
    Ok(Decided { outcomes, changes: board.changes(), wakes })
}

async fn read<'a>(
    session: &Session,
    receipt: &Receipt<'_>,
    docs: &[Name<'a>],
    jobs: &[Name<'a>],
) -> Result<Board<'a>, Failure> {
    let (first, names) = match lock_names(docs, jobs) {
        Some(names) => (LOCK_SHARED, names),
        None => (LOCK_ALL, Vec::new()),
    };
    let (kinds, doc_keys): (Vec<&str>, Vec<&str>) = docs.iter().copied().unzip();
    let (queues, job_keys): (Vec<&str>, Vec<&str>) = jobs.iter().copied().unzip();
    let statements = (
        session.prepared(RECEIPT).await?,
        session.prepared(first).await?,
        session.prepared(LOCK_NAMES).await?,
        session.prepared(DOCUMENTS).await?,
        session.prepared(JOBS).await?,
    );
    let client = &session.client;
    // Sent together, answered in order; each sees what was committed when it begins, and the reads begin
    // when the locks are held.
    let (receipt, names) =
        ([&receipt.writer as Parameter, &receipt.number, &receipt.at], [&names as Parameter]);
    let doc_parameters = [&kinds as Parameter, &doc_keys];
    let job_parameters = [&queues as Parameter, &job_keys];
    let asked = async {
        let (begun, receipt, locked, named, docs, jobs) = tokio::join!(
            biased;
            client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED"),
            client.execute(&statements.0, &receipt),
            client.execute(&statements.1, &[]),
            client.execute(&statements.2, &names),
            client.query(&statements.3, &doc_parameters),
            client.query(&statements.4, &job_parameters),
        );
        begun?;
        receipt?;
        locked?;
        named?;
        Ok((docs?, jobs?))
    };
    let (doc_rows, job_rows) = session.answer(asked).await?;
    let mut board = Board::default();
    for row in doc_rows {
        if let Some(name) = named_by(&row, docs) {
            board.document(name, row.get(1));
        }
    }
    for row in job_rows {
        if let Some(name) = named_by(&row, jobs) {
            let (run_at, again_at, attempt) = (row.get(1), row.get(2), row.get(3));
            let (fence, leased) = (row.get(4), row.get(5));
            board.job(name, JobRow { payload: None, run_at, again_at, attempt, fence, leased });
        }
    }
    Ok(board)
}

type Parameter<'a> = &'a (dyn ToSql + Sync);

/// The row's first column counts the names from 1.
fn named_by<'a>(row: &Row, names: &[Name<'a>]) -> Option<Name<'a>> {
    let place: i64 = row.get(0);
    names.get(usize::try_from(place).ok()?.checked_sub(1)?).copied()
}

/// `None` where there are too many.
fn lock_names(docs: &[Name<'_>], jobs: &[Name<'_>]) -> Option<Vec<i64>> {
    if docs.len() + jobs.len() > MAX_NAMED_LOCKS {
        return None;
    }
    let named = docs.iter().map(|name| ("document", name)).chain(jobs.iter().map(|name| ("job", name)));
    let names: BTreeSet<i64> = named.map(|(what, (space, key))| lock_name(what, space, key)).collect();
    Some(names.into_iter().collect())
}

/// Every version of this program must compute the same. Two names that share a lock only wait for each other.
fn lock_name(what: &str, space: &str, key: &str) -> i64 {
    let digest = Sha256::new().chain_update(what).chain_update([0]).chain_update(space);
    let digest = digest.chain_update([0]).chain_update(key).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

/// Ends the transaction. [`Failure::Broken`] leaves open whether it was committed.
pub(super) async fn write(session: &Session, writer: &str, decided: &Decided<'_>) -> Result<(), Failure> {
    let changes = &decided.changes;
    let mut steps: Vec<(&'static str, Columns<'_>)> = Vec::new();
    if !changes.written.is_empty() {
        let (names, bodies): (Vec<Name<'_>>, Vec<&str>) = changes.written.iter().copied().unzip();
        let mut columns = named(&names);
        columns.push(Box::new(bodies));
        steps.push((WRITE, columns));
    }
    if !changes.deleted.is_empty() {
        steps.push((DELETE, named(&changes.deleted)));
    }
    if !changes.new_jobs.is_empty() {
        steps.push((NEW_JOBS, new_jobs(&changes.new_jobs)));
    }
    if !changes.changed_jobs.is_empty() {
        steps.push((CHANGE_JOBS, changed_jobs(&changes.changed_jobs)));
    }
    if !changes.ended_jobs.is_empty() {
        steps.push((END_JOBS, named(&changes.ended_jobs)));
    }
    steps.push((NOTIFY, vec![Box::new(CHANNEL), Box::new(notice(writer, &decided.wakes))]));
    if !changes.events.is_empty() {
        let (times, events): (Vec<i64>, Vec<&str>) = changes.events.iter().copied().unzip();
        steps.push((EMIT, vec![Box::new(times), Box::new(events)]));
    }
    let mut asked: Vec<Asked<'_>> = Vec::new();
    for (sql, columns) in &steps {
        let statement = session.prepared(sql).await?;
        asked.push(Box::pin(async move {
            let columns: Vec<Parameter<'_>> =
                columns.iter().map(|column| column.as_ref() as Parameter<'_>).collect();
            session.client.execute(&statement, &columns).await.map(|_| ())
        }));
    }
    // After a failed statement PostgreSQL makes a rollback of it.
    asked.push(Box::pin(session.client.batch_execute("COMMIT")));
    let all =
        async { futures_util::future::join_all(asked).await.into_iter().collect::<Result<(), Error>>() };
    session.answer(all).await
}

type Asked<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;
type Columns<'a> = Vec<Box<dyn ToSql + Sync + Send + 'a>>;

fn named<'a>(names: &[Name<'a>]) -> Columns<'a> {
    let (spaces, keys): (Vec<&str>, Vec<&str>) = names.iter().copied().unzip();
    vec![Box::new(spaces), Box::new(keys)]
}

fn new_jobs<'a>(jobs: &[(Name<'a>, JobRow<'a>)]) -> Columns<'a> {
    let names: Vec<Name<'a>> = jobs.iter().map(|(name, _)| *name).collect();
    let mut columns = named(&names);
    columns.push(Box::new(jobs.iter().map(|(_, job)| job.payload).collect::<Vec<_>>()));
    columns.push(Box::new(jobs.iter().map(|(_, job)| job.run_at).collect::<Vec<_>>()));
    columns
}

fn changed_jobs<'a>(jobs: &[(Name<'a>, JobRow<'a>)]) -> Columns<'a> {
    let mut columns = new_jobs(jobs);
    columns.push(Box::new(jobs.iter().map(|(_, job)| job.again_at).collect::<Vec<_>>()));
    columns.push(Box::new(jobs.iter().map(|(_, job)| job.attempt).collect::<Vec<_>>()));
    columns.push(Box::new(jobs.iter().map(|(_, job)| job.fence).collect::<Vec<_>>()));
    columns.push(Box::new(jobs.iter().map(|(_, job)| job.leased).collect::<Vec<_>>()));
    columns
}

/// What other processes are told: who it was, and what it woke; of very much only that it was much.
fn notice(writer: &str, wakes: &Wakes) -> String {
    let notice = Notice { writer: writer.to_owned(), wakes: Some(wakes.clone()) };
    match serde_json::to_string(&notice) {
        Ok(text) if text.len() <= MAX_NOTICE_BYTES => text,
        _ => serde_json::json!({ "w": writer }).to_string(),
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Notice {
    #[serde(rename = "w")]
    pub writer: String,
    /// `None`: anything may have changed.
    #[serde(default, rename = "c")]
    pub wakes: Option<Wakes>,
}
