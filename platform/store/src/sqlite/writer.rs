//! The one thread that writes.
//!
//! Requests queue up on a channel. The thread takes what is there, carries each out in a savepoint of
//! one SQLite transaction, and acknowledges all of them after the one fsync that makes it durable: while
//! it waits for the disk, the next group gathers. A request whose expectations fail is rolled back alone.
//! A failing database (a full disk) rolls the whole group back, and then each request is tried alone, so
//! that one large commit takes no small ones with it.
//!
//! What deleted documents leave behind is used again; where there is much of it, it is given back to the
//! file system: a little now and then, and all of it when nobody has written for a moment.
//!
//! A group of nothing but claims and renewals is not synced: opening the store frees every lease anyway. Nor is
//! one of commits that do not wait for the disk. The log is one sequence, so the next sync takes them along.

use super::apply::{self, Failure, Tick};
use crate::backend::ClaimRequest;
use crate::limits::{MAX_GROUP_BYTES, MAX_GROUP_REQUESTS, WRITER_QUEUE};
use crate::txn::{Durability, Hold, Lease, Op};
use crate::{OUTSIDE, StoreError};
use rusqlite::Connection;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use towpath_api::Timestamp;

/// How often the writer looks for space to give back.
const GROUPS_PER_SHRINK: u64 = 64;
/// Free pages (of 4 KiB) that stay for the next documents, and how many go at a time.
const FREE_PAGES_KEPT: i64 = 4096;
const SHRINK_PAGES: i64 = 512;
/// After this long without a request the rest of the free space goes.
const QUIET: Duration = Duration::from_secs(1);

pub(super) enum Task {
    Commit { ops: Vec<Op>, bytes: usize, now: Timestamp, durability: Durability },
    Claim(ClaimRequest),
    Renew { hold: Hold, expires_at: Timestamp },
    Prune { through: u64, before: Timestamp, limit: usize },
}

impl Task {
    fn bytes(&self) -> usize {
        match self {
            Task::Commit { bytes, .. } => *bytes,
            _ => 0,
        }
    }

    fn durable(&self) -> bool {
        matches!(self, Task::Commit { durability: Durability::Now, .. } | Task::Prune { .. })
    }
}

#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    Leases(Vec<Lease>),
    Removed(u64),
}

struct Request {
    task: Task,
    reply: oneshot::Sender<Result<Outcome, StoreError>>,
}

/// The handle of the thread.
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Frees the leases of the process that had the store before, and starts. Leases of others
    /// ([`OUTSIDE`]) last until they expire.
    pub fn start(connection: Connection, lock: File) -> Result<Writer, StoreError> {
        connection.execute(
            "UPDATE jobs SET run_at = min(coalesce(again_at, run_at), run_at), again_at = NULL,
                             lease_owner = NULL, lease_expires_at = NULL
             WHERE lease_owner IS NOT NULL AND substr(lease_owner, 1, length(?1)) <> ?1",
            [OUTSIDE],
        )?;
        let tick =
            connection.query_row("SELECT value FROM counters WHERE name = 'tick'", [], |row| row.get(0))?;
        let (sender, receiver) = mpsc::channel(WRITER_QUEUE);
        let worker = Thread { connection, saved_tick: tick, tick, synced: true, groups: 0 };
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || {
            worker.run(receiver);
            drop(lock);
        })?;
        Ok(Writer { queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    pub async fn run(&self, task: Task) -> Result<Outcome, StoreError> {
        let sender = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (reply, answer) = oneshot::channel();
        let sender = sender.ok_or(StoreError::Closed)?;
        sender.send(Request { task, reply }).await.map_err(|_| StoreError::Closed)?;
        drop(sender);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub async fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Writer {
    /// Waits for the thread, so that the folder is free again when the last handle is gone.
    fn drop(&mut self) {
        self.queue.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

/// A thread that waits for a request, but not for ever.
struct Waiting(Waker);

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Default for Waiting {
    /// For the thread that makes it.
    fn default() -> Waiting {
        Waiting(Waker::from(Arc::new(Unpark(std::thread::current()))))
    }
}

impl Waiting {
    /// What the queue has within the time, its end included; `None`: nothing came.
    fn within(&self, queue: &mut mpsc::Receiver<Request>, limit: Duration) -> Option<Option<Request>> {
        let end = Instant::now() + limit;
        loop {
            if let Poll::Ready(received) = queue.poll_recv(&mut Context::from_waker(&self.0)) {
                return Some(received);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::park_timeout(left);
        }
    }
}

struct Thread {
    connection: Connection,
    saved_tick: Tick,
    tick: Tick,
    /// Whether `PRAGMA synchronous` is `full` at the moment.
    synced: bool,
    groups: u64,
}

impl Thread {
    fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let waiting = Waiting::default();
        // Nobody wrote since the free space was given back.
        let mut settled = false;
        loop {
            let first = match settled {
                true => queue.blocking_recv(),
                false => match waiting.within(&mut queue, QUIET) {
                    Some(received) => received,
                    None => {
                        settled = true;
                        self.settle(&queue);
                        continue;
                    }
                },
            };
            let Some(first) = first else { return };
            settled = false;
            let mut bytes = first.task.bytes();
            let mut group = vec![first];
            while group.len() < MAX_GROUP_REQUESTS && bytes < MAX_GROUP_BYTES {
                let Ok(request) = queue.try_recv() else { break };
                bytes += request.task.bytes();
                group.push(request);
            }
            self.serve(group);
            self.groups += 1;
            if self.groups.is_multiple_of(GROUPS_PER_SHRINK)
                && let Err(error) = self.shrink(&queue)
            {
                tracing::warn!(%error, "cannot give free space back to the file system");
            }
        }
    }

    /// Gives back what is free until somebody comes. The file itself becomes smaller when the log is carried
    /// over into it, which otherwise waits for the next writes.
    fn settle(&self, queue: &mpsc::Receiver<Request>) {
        let settled = self.shrink(queue).and_then(|shrunk| match shrunk && queue.is_empty() {
            true => self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())),
            false => Ok(()),
        });
        if let Err(error) = settled {
            tracing::warn!(%error, "cannot give free space back to the file system");
        }
    }

    /// Whether anything was given back.
    fn shrink(&self, queue: &mpsc::Receiver<Request>) -> Result<bool, rusqlite::Error> {
        let free = || self.connection.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0));
        let mut first = true;
        while free()? > FREE_PAGES_KEPT && (first || queue.is_empty()) {
            first = false;
            self.execute("BEGIN IMMEDIATE")?;
            // One call frees one page, unless it is read to its end, which this interface does not do for
            // statements without columns.
            let free_page = || self.connection.execute_batch("PRAGMA incremental_vacuum(1)");
            if (0..SHRINK_PAGES).try_for_each(|_| free_page()).is_err() {
                self.execute("ROLLBACK")?;
                return Ok(false);
            }
            self.execute("COMMIT")?;
        }
        Ok(!first)
    }

    fn serve(&mut self, group: Vec<Request>) {
        match self.run_group(&group) {
            Ok(outcomes) => answer(group, outcomes),
            Err(error) if group.len() == 1 => answer(group, vec![Err(error.into())]),
            Err(error) => {
                tracing::warn!(%error, requests = group.len(), "a group of commits failed; trying each alone");
                for request in group {
                    let alone = [request];
                    let outcome = match self.run_group(&alone) {
                        Ok(mut outcomes) => outcomes.pop().unwrap_or(Err(StoreError::Closed)),
                        Err(error) => Err(error.into()),
                    };
                    answer(alone, [outcome]);
                }
            }
        }
    }

    /// One SQLite transaction. An error means that nothing of the group happened.
    fn run_group(&mut self, group: &[Request]) -> Result<Vec<Result<Outcome, StoreError>>, rusqlite::Error> {
        self.set_synced(group.iter().any(|request| request.task.durable()))?;
        let result = self.try_group(group);
        if result.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        result
    }

    fn try_group(&mut self, group: &[Request]) -> Result<Vec<Result<Outcome, StoreError>>, rusqlite::Error> {
        self.execute("BEGIN IMMEDIATE")?;
        let mut outcomes = Vec::with_capacity(group.len());
        for request in group {
            self.execute("SAVEPOINT request")?;
            match self.carry_out(&request.task) {
                Ok(outcome) => outcomes.push(Ok(outcome)),
                Err(Failure::Refused(error)) => {
                    self.execute("ROLLBACK TO request")?;
                    outcomes.push(Err(error));
                }
                Err(Failure::Database(error)) => return Err(error),
            }
            self.execute("RELEASE request")?;
        }
        if self.tick != self.saved_tick {
            self.connection
                .prepare_cached("UPDATE counters SET value = ?1 WHERE name = 'tick'")?
                .execute([self.tick])?;
        }
        self.execute("COMMIT")?;
        self.saved_tick = self.tick;
        Ok(outcomes)
    }

    fn carry_out(&mut self, task: &Task) -> Result<Outcome, Failure> {
        match task {
            Task::Commit { ops, now, .. } => {
                self.tick += 1;
                apply::commit(&self.connection, ops, *now, self.tick).map(|()| Outcome::Done)
            }
            Task::Claim(request) => {
                let tick = &mut self.tick;
                let next_fence = || {
                    *tick += 1;
                    *tick
                };
                apply::claim(&self.connection, request, next_fence).map(Outcome::Leases)
            }
            Task::Renew { hold, expires_at } => {
                apply::renew(&self.connection, hold, *expires_at).map(|()| Outcome::Done)
            }
            Task::Prune { through, before, limit } => {
                apply::prune(&self.connection, *through, *before, *limit).map(Outcome::Removed)
            }
        }
    }

    fn execute(&self, statement: &str) -> Result<(), rusqlite::Error> {
        self.connection.prepare_cached(statement)?.execute([]).map(|_| ())
    }

    fn set_synced(&mut self, synced: bool) -> Result<(), rusqlite::Error> {
        if self.synced != synced {
            self.connection.pragma_update(None, "synchronous", if synced { "full" } else { "normal" })?;
            self.synced = synced;
        }
        Ok(())
    }
}

fn answer(
    group: impl IntoIterator<Item = Request>,
    outcomes: impl IntoIterator<Item = Result<Outcome, StoreError>>,
) {
    for (request, outcome) in group.into_iter().zip(outcomes) {
        // Whoever asked may have gone; what was committed stays committed.
        let _ = request.reply.send(outcome);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn request(durability: Durability) -> Request {
        let ops = vec![Op::Put { kind: "k", key: "key".into(), body: "{}".into() }];
        let task = Task::Commit { ops, bytes: 2, now: Timestamp::EPOCH, durability };
        Request { task, reply: oneshot::channel().0 }
    }

    #[test]
    fn a_group_waits_for_the_disk_when_one_of_it_does() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrate(&mut connection, std::path::Path::new("test.db")).unwrap();
        connection.pragma_update(None, "synchronous", "full").unwrap();
        let mut thread = Thread { connection, saved_tick: 0, tick: 0, synced: true, groups: 0 };
        let synchronous = |thread: &Thread| {
            thread.connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0)).unwrap()
        };
        const NORMAL: i64 = 1;
        const FULL: i64 = 2;
        for (group, expected) in [
            (vec![Durability::Now], FULL),
            (vec![Durability::WithTheNext], NORMAL),
            (vec![Durability::WithTheNext, Durability::Now], FULL),
            (vec![Durability::WithTheNext, Durability::WithTheNext], NORMAL),
        ] {
            let group: Vec<Request> = group.into_iter().map(request).collect();
            let outcomes = thread.run_group(&group).unwrap();
            assert!(outcomes.iter().all(Result::is_ok));
            assert_eq!(synchronous(&thread), expected);
        }
    }
}
