//! A connection that mends itself.
//!
//! `tokio-postgres` sends what several tasks ask over one connection without waiting in between, so a link
//! is shared rather than checked out: a handful serves a whole server, and there is no pool to exhaust.
//! This, the bounded wait for a database that restarts, and the settings that every session needs are why
//! links are written here and not taken from a pooling crate.

use super::failure::Failure;
use super::place::Place;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

/// How long a request waits for a database that is not there.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a statement may take until its connection counts as dead. Longer than the server's own limits,
/// so that it is the server that says what took so long.
pub(super) const ANSWER: Duration = Duration::from_secs(25);
const FIRST_BACKOFF_MS: u64 = 20;
const LAST_BACKOFF_MS: u64 = 1000;
const SESSION_TIMEOUT: Duration = Duration::from_secs(8);

/// Settings of every session, where the server knows them. A client that is frozen within a transaction
/// holds its locks: the server ends it. `synchronous_commit` may be stronger than `on`, but not off: an
/// acknowledged commit is durable. Every query here has its index.
const SETTINGS: &str = "
    SELECT set_config(wanted.name, wanted.value, false)
    FROM (VALUES
        ('idle_in_transaction_session_timeout', '5s'),
        ('lock_timeout', '10s'),
        ('statement_timeout', '20s'),
        ('client_connection_check_interval', '5s'),
        ('default_transaction_isolation', 'read committed'),
        ('client_min_messages', 'warning'),
        ('enable_seqscan', 'off'),
        ('enable_bitmapscan', 'off'),
        ('jit', 'off'),
        ('synchronous_commit', CASE current_setting('synchronous_commit')
            WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END)
    ) AS wanted (name, value) JOIN pg_settings USING (name)";

/// An open connection.
pub(super) struct Session {
    pub client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
    broken: AtomicBool,
    pub place: Arc<Place>,
}

impl Session {
    pub async fn open(place: Arc<Place>) -> Result<Session, Failure> {
        let failed = |error| Failure::of_connecting(&place.name, &error);
        let (client, connection) = place.config.connect(place.tls.clone()).await.map_err(failed)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database ended");
            }
        });
        client.simple_query(SETTINGS).await.map_err(failed)?;
        let place = place.clone();
        Ok(Session { client, statements: Mutex::default(), broken: AtomicBool::new(false), place })
    }

    pub fn is_usable(&self) -> bool {
        !self.broken.load(Ordering::Acquire) && !self.client.is_closed()
    }

    /// Nobody uses it any more: an answer is missing, or it is in the middle of a transaction.
    pub fn give_up(&self) {
        self.broken.store(true, Ordering::Release);
    }

    pub async fn prepared(&self, sql: &'static str) -> Result<Statement, Failure> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.answer(self.client.prepare(sql)).await?;
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).insert(sql, statement.clone());
        Ok(statement)
    }

    pub async fn query(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failure> {
        let statement = self.prepared(sql).await?;
        self.answer(self.client.query(&statement, parameters)).await
    }

    /// Waits for an answer, but not for ever.
    pub async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        let failure = match timeout(ANSWER, asked).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Failure::of(&self.place.name, &error),
            Err(_) => {
                let reason = format!("no answer within {} s", ANSWER.as_secs());
                Failure::Broken { place: self.place.name.clone(), reason }
            }
        };
        if failure.is_broken() {
            self.give_up();
        }
        Err(failure)
    }
}

/// One place for a connection.
pub(super) struct Link {
    place: Arc<Place>,
    state: tokio::sync::Mutex<State>,
    using: AtomicUsize,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Link {
    pub fn new(place: Arc<Place>) -> Link {
        Link { place, state: Default::default(), using: AtomicUsize::new(0) }
    }

    /// The connection, made anew where there is none; waits until `deadline` for a database that is away,
    /// and tries once in any case.
    pub async fn session(&self, deadline: Instant) -> Result<Arc<Session>, Failure> {
        let Ok(mut state) = timeout_at(deadline.max(soon()), self.state.lock()).await else {
            let reason = format!("not within {} s", PATIENCE.as_secs());
            return Err(Failure::Unreachable { place: self.place.name.clone(), reason });
        };
        loop {
            if let Some(session) = state.session.as_ref().filter(|session| session.is_usable()) {
                return Ok(session.clone());
            }
            state.session = None;
            if let Some(not_before) = state.not_before.take() {
                sleep_until(not_before.min(deadline)).await;
            }
            let failure = match timeout(SESSION_TIMEOUT, Session::open(self.place.clone())).await {
                Ok(Ok(session)) => {
                    state.failures = 0;
                    state.session = Some(Arc::new(session));
                    continue;
                }
                Ok(Err(failure)) => failure,
                Err(_) => {
                    let reason = format!("no connection within {} s", SESSION_TIMEOUT.as_secs());
                    Failure::Unreachable { place: self.place.name.clone(), reason }
                }
            };
            state.failures += 1;
            let again = Instant::now() + backoff(state.failures);
            state.not_before = Some(again);
            if again >= deadline || !matches!(failure, Failure::Unreachable { .. }) {
                return Err(failure);
            }
        }
    }

    /// Asks, and asks again where the connection broke: for what may be done twice.
    pub async fn query_again(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failure> {
        let _using = Using::one(&self.using);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let session = self.session(deadline).await?;
            match session.query(sql, parameters).await {
                Err(failure) if failure.is_broken() && Instant::now() < deadline => {}
                Err(Failure::Contended { .. }) if Instant::now() < deadline => {}
                outcome => return outcome,
            }
        }
    }

    /// Asks once.
    pub async fn query_once(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failure> {
        let _using = Using::one(&self.using);
        self.session(Instant::now() + PATIENCE).await?.query(sql, parameters).await
    }

    pub async fn close(&self) {
        self.state.lock().await.session = None;
    }
}

/// Several links for the same things: who asks takes the one that is least in use.
pub(super) struct Links(Vec<Link>);

impl Links {
    pub fn new(place: &Arc<Place>, count: usize) -> Links {
        Links((0..count.max(1)).map(|_| Link::new(place.clone())).collect())
    }

    pub fn one(&self) -> Option<&Link> {
        self.0.iter().min_by_key(|link| link.using.load(Ordering::Relaxed))
    }

    pub async fn close(&self) {
        for link in &self.0 {
            link.close().await;
        }
    }
}

struct Using<'a>(&'a AtomicUsize);

impl Using<'_> {
    fn one(count: &AtomicUsize) -> Using<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Using(count)
    }
}

impl Drop for Using<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(1)
}

/// Doubles, with a part by chance: servers that lost one database must not all come back at once.
pub(super) fn backoff(failures: u32) -> Duration {
    let full = (FIRST_BACKOFF_MS << failures.min(10)).min(LAST_BACKOFF_MS);
    let chance = u64::from(towpath_api::id::random_bytes::<1>()[0]);
    Duration::from_millis(full / 2 + full / 2 * chance / 255)
}
