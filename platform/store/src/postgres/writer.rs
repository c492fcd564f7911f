//! The one task of a process that commits.
//!
//! Requests queue up on a channel. The task takes what is there and commits it as one PostgreSQL
//! transaction ([`super::group`]); while it waits for the database, the next group gathers. Where the
//! database refuses a group for what is in it, each request is tried alone.
//!
//! **Lost connections.** Before COMMIT was sent, nothing happened, and the group is tried again on a new
//! connection while the requests' patience lasts. After that the answer is not known, but it can be asked
//! for: each group writes its number into this process's row of `towpath.writers`, first thing in its
//! transaction. A new connection that asks for that row waits for the old transaction, if it still lives,
//! and then reads which number came to be. Only where the database stays away is the outcome unknown, and
//! then the request is told so.

use super::failure::Failure;
use super::group::{self, Item, Receipt};
use super::link::{Link, PATIENCE, Session, backoff};
use crate::StoreError;
use crate::limits::{MAX_GROUP_BYTES, MAX_GROUP_REQUESTS, WRITER_QUEUE};
use crate::txn::Op;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use towpath_api::Timestamp;

/// How often a group is tried again because transactions stood in each other's way.
const CONTENTION_ROUNDS: u32 = 5;
/// Rows of processes that have not committed for so long go.
const FORGOTTEN_MS: i64 = 30 * 24 * 3_600_000;

const RESOLVE: &str = "INSERT INTO towpath.writers (writer, number, at) VALUES ($1, 0, $2)
    ON CONFLICT (writer) DO UPDATE SET at = excluded.at RETURNING number";
const FORGET: &str = "DELETE FROM towpath.writers WHERE writer IN (
    SELECT writer FROM towpath.writers WHERE at < $1 FOR UPDATE SKIP LOCKED)";

struct Request {
    ops: Vec<Op>,
    bytes: usize,
    now: Timestamp,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

/// The handle of the task.
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Request>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub async fn start(link: Link, id: String, now: Timestamp) -> Result<Writer, StoreError> {
        let session = link.session(Instant::now() + PATIENCE).await?;
        session.query(RESOLVE, &[&id, &now.as_millis()]).await?;
        session.query(FORGET, &[&(now.as_millis() - FORGOTTEN_MS)]).await?;
        let (sender, receiver) = mpsc::channel(WRITER_QUEUE);
        let task = tokio::spawn(Task { link, id, number: 0 }.run(receiver));
        Ok(Writer { queue: Mutex::new(Some(sender)), task: Mutex::new(Some(task)) })
    }

    pub async fn commit(&self, ops: Vec<Op>, bytes: usize, now: Timestamp) -> Result<(), StoreError> {
        let sender = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (reply, answer) = oneshot::channel();
        let sender = sender.ok_or(StoreError::Closed)?;
        sender.send(Request { ops, bytes, now, reply }).await.map_err(|_| StoreError::Closed)?;
        drop(sender);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub async fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

struct Task {
    link: Link,
    id: String,
    number: i64,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.recv().await {
            let mut bytes = first.bytes;
            let mut group = vec![first];
            while group.len() < MAX_GROUP_REQUESTS && bytes < MAX_GROUP_BYTES {
                let Ok(request) = queue.try_recv() else { break };
                bytes += request.bytes;
                group.push(request);
            }
            self.serve(group).await;
        }
        self.link.close().await;
    }

    async fn serve(&mut self, group: Vec<Request>) {
        match self.commit(&group).await {
            Ok(outcomes) => answer(group, outcomes),
            Err(failure @ Failure::Database { .. }) if group.len() > 1 => {
                let requests = group.len();
                tracing::warn!(error = %failure, requests, "a group of commits failed; trying each alone");
                for request in group {
                    let alone = [request];
                    match self.commit(&alone).await {
                        Ok(outcomes) => answer(alone, outcomes),
                        Err(failure) => answer(alone, [Err(failure.into())]),
                    }
                }
            }
            Err(failure) => {
                let shared = Arc::new(failure);
                let outcomes: Vec<_> =
                    group.iter().map(|_| Err(StoreError::storage(Shared(shared.clone())))).collect();
                answer(group, outcomes);
            }
        }
    }

    /// Tries until it is decided, or the patience is at its end.
    async fn commit(&mut self, group: &[Request]) -> Result<Vec<Result<(), StoreError>>, Failure> {
        let items: Vec<Item<'_>> =
            group.iter().map(|request| Item { ops: &request.ops, now: request.now.as_millis() }).collect();
        let deadline = Instant::now() + PATIENCE;
        let mut contended = 0;
        loop {
            let session = self.link.session(deadline).await?;
            let failure = match self.attempt(&session, &items).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(failure) => failure,
            };
            match failure {
                Failure::Contended { .. } if contended < CONTENTION_ROUNDS && Instant::now() < deadline => {
                    contended += 1;
                    sleep(backoff(contended)).await;
                }
                Failure::Broken { .. } if Instant::now() < deadline => {}
                failure => return Err(failure),
            }
        }
    }

    /// [`Failure::Broken`] and [`Failure::Contended`] say that nothing was committed.
    async fn attempt(
        &mut self,
        session: &Session,
        items: &[Item<'_>],
    ) -> Result<Vec<Result<(), StoreError>>, Failure> {
        self.number += 1;
        let at = items.iter().map(|item| item.now).max().unwrap_or_default();
        let receipt = Receipt { writer: &self.id, number: self.number, at };
        let decided = match group::decide(session, &receipt, items).await {
            Ok(decided) => decided,
            Err(failure) => {
                self.roll_back(session).await;
                return Err(failure);
            }
        };
        if decided.is_empty() {
            self.roll_back(session).await;
            return Ok(decided.outcomes);
        }
        match group::write(session, &self.id, &decided).await {
            Ok(()) => Ok(decided.outcomes),
            Err(Failure::Broken { place, reason }) => match self.resolve(at).await {
                Ok(true) => Ok(decided.outcomes),
                Ok(false) => Err(Failure::Broken { place, reason }),
                Err(failure) => Err(Failure::Unknown { place, reason: failure.to_string() }),
            },
            Err(failure) => {
                self.roll_back(session).await;
                Err(failure)
            }
        }
    }

    async fn roll_back(&self, session: &Session) {
        if session.is_usable() && session.answer(session.client.batch_execute("ROLLBACK")).await.is_err() {
            session.give_up();
        }
    }

    /// Whether the last group was committed.
    async fn resolve(&self, at: i64) -> Result<bool, Failure> {
        let rows = self.link.query_again(RESOLVE, &[&self.id, &at]).await?;
        Ok(rows.first().is_some_and(|row| row.get::<_, i64>(0) == self.number))
    }
}

fn answer(
    group: impl IntoIterator<Item = Request>,
    outcomes: impl IntoIterator<Item = Result<(), StoreError>>,
) {
    for (request, outcome) in group.into_iter().zip(outcomes) {
        // Whoever asked may have gone; what was committed stays committed.
        let _ = request.reply.send(outcome);
    }
}

/// One failure, told to each request of its group.
#[derive(Debug)]
struct Shared(Arc<Failure>);

impl fmt::Display for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.0.as_ref())
    }
}
