//! Claims, renewals and pruning: single statements that are transactions of their own.
//!
//! A claim is as durable as a commit. Unlike the embedded database, this one may crash while the holder
//! lives on: a fence that was handed out must not be handed out again.

use super::board::is_storable;
use super::failure::Failure;
use super::link::Link;
use super::read::clamp;
use crate::StoreError;
use crate::backend::ClaimRequest;
use crate::txn::{Hold, Lease};
use towpath_api::Timestamp;

/// Free jobs that are due come first, then those whose lease another worker let expire. Rows that somebody
/// is just working on are left out rather than waited for. Running a job now also answers a wake-up that
/// came while the last holder had it.
const CLAIM: &str = "WITH free AS MATERIALIZED (
        SELECT key, 0 AS class, run_at AS at FROM towpath.jobs
        WHERE queue = $1 AND lease_owner IS NULL AND run_at <= $2
        ORDER BY run_at, key LIMIT $3 FOR UPDATE SKIP LOCKED
    ), expired AS MATERIALIZED (
        SELECT key, 1 AS class, lease_expires_at AS at FROM towpath.jobs
        WHERE queue = $1 AND lease_owner IS NOT NULL AND lease_expires_at <= $2 AND lease_owner <> $4
        ORDER BY lease_expires_at, key LIMIT $3 - (SELECT count(*) FROM free) FOR UPDATE SKIP LOCKED
    ), taken AS (SELECT * FROM free UNION ALL SELECT * FROM expired)
    UPDATE towpath.jobs AS job SET
        fence = nextval('towpath.tick'), lease_owner = $4, lease_expires_at = $5, attempt = attempt + 1,
        again_at = CASE WHEN again_at <= $2 THEN NULL ELSE again_at END
    FROM taken WHERE job.queue = $1 AND job.key = taken.key
    RETURNING taken.class, taken.at, job.key, job.payload, job.attempt, job.fence";
const RENEW: &str = "UPDATE towpath.jobs SET lease_expires_at = $4
    WHERE queue = $1 AND key = $2 AND fence = $3 AND lease_owner IS NOT NULL RETURNING fence";
const PRUNE: &str = "DELETE FROM towpath.outbox WHERE sequence IN (
        SELECT sequence FROM towpath.outbox WHERE sequence <= $1 AND emitted_at < $2
        ORDER BY sequence LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING sequence";

pub(super) async fn claim(link: &Link, request: &ClaimRequest) -> Result<Vec<Lease>, Failure> {
    if !is_storable(&request.queue) || !is_storable(&request.worker) {
        return Ok(Vec::new());
    }
    let (now, expires_at) = (request.now.as_millis(), request.expires_at.as_millis());
    let limit = request.limit as i64;
    // Once: a claim whose answer is lost may have happened.
    let rows = link.query_once(CLAIM, &[&request.queue, &now, &limit, &request.worker, &expires_at]).await?;
    let mut leases: Vec<((i32, i64), Lease)> = Vec::with_capacity(rows.len());
    for row in rows {
        let (key, payload): (String, &str) = (row.get(2), row.get(3));
        let payload = serde_json::from_str(payload).map_err(|source| StoreError::Unreadable {
            kind: "job".into(),
            key: key.clone(),
            source,
        })?;
        let lease = Lease {
            queue: request.queue.clone(),
            key,
            payload,
            attempt: row.get::<_, i32>(4) as u32,
            fence: row.get::<_, i64>(5) as u64,
            expires_at: request.expires_at,
        };
        leases.push(((row.get(0), row.get(1)), lease));
    }
    leases.sort_by(|(a, first), (b, second)| a.cmp(b).then_with(|| first.key.cmp(&second.key)));
    Ok(leases.into_iter().map(|(_, lease)| lease).collect())
}

pub(super) async fn renew(link: &Link, hold: &Hold, expires_at: Timestamp) -> Result<(), Failure> {
    let lost = || StoreError::LeaseLost { queue: hold.queue.clone(), key: hold.key.clone() };
    if !is_storable(&hold.queue) || !is_storable(&hold.key) {
        return Err(lost().into());
    }
    let rows =
        link.query_again(RENEW, &[&hold.queue, &hold.key, &hold.fence, &expires_at.as_millis()]).await?;
    if rows.is_empty() { Err(lost().into()) } else { Ok(()) }
}

pub(super) async fn prune(
    link: &Link,
    through: u64,
    before: Timestamp,
    limit: usize,
) -> Result<u64, Failure> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = link.query_once(PRUNE, &[&clamp(through), &before.as_millis(), &limit]).await?;
    Ok(rows.len() as u64)
}
