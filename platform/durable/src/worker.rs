//! Workers: they claim the jobs of one queue and have a handler do them.

use crate::retry::Causes;
use crate::{Backoff, Held, Retry, Shutdown};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use towpath_api::id;
use towpath_store::{Lease, Store, StoreError, Txn};

/// The longest sleep between two looks at the queue: timers follow the wall clock, which may be set.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// The pause after a look that failed, or that found due jobs which could not be claimed.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a handler is asked again at once because its changes met a conflict.
const CONFLICT_ROUNDS: u32 = 10;
/// From this attempt on a failing job is reported as an error rather than a warning.
const ALARMING_ATTEMPT: u32 = 5;

/// Claims jobs of a queue, keeps their leases, and commits what the handler returns.
pub struct Worker {
    store: Store,
    queue: String,
    concurrency: usize,
    lease_ms: i64,
    grace: Duration,
    backoff: Backoff,
}

impl Worker {
    pub fn new(store: Store, queue: impl Into<String>) -> Worker {
        Worker {
            store,
            queue: queue.into(),
            concurrency: 8,
            lease_ms: 30_000,
            grace: Duration::from_secs(10),
            backoff: Backoff::default(),
        }
    }

    /// Jobs that are worked on at the same time.
    pub fn concurrency(mut self, jobs: usize) -> Worker {
        self.concurrency = jobs.max(1);
        self
    }

    /// How long a lease holds without being renewed; it is renewed three times as often.
    pub fn lease_ms(mut self, lease_ms: i64) -> Worker {
        self.lease_ms = lease_ms.max(3);
        self
    }

    /// How long a handler that was told to stop may take before its future is dropped.
    pub fn grace_ms(mut self, grace_ms: u64) -> Worker {
        self.grace = Duration::from_millis(grace_ms);
        self
    }

    pub fn backoff(mut self, backoff: Backoff) -> Worker {
        self.backoff = backoff;
        self
    }

    /// Works until `shutdown`. What the handler returns is committed together with the job's completion;
    /// where that meets a conflict, the handler is asked again. On [`Retry`] the job is given back for
    /// later. Handlers that run at the shutdown are told, and dropped after the grace time; their jobs
    /// run again after the next start.
    pub async fn run<H, F>(self, handler: H, shutdown: Shutdown)
    where
        H: Fn(Held) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Txn, Retry>> + Send + 'static,
    {
        let shared = Arc::new(Shared { worker: self, handler, shutdown });
        let mut changed = shared.worker.store.queue_changed(&shared.worker.queue);
        let mut running = JoinSet::new();
        let mut owner = id::uuid();
        while !shared.shutdown.is_shutdown() {
            while running.try_join_next().is_some() {}
            changed.borrow_and_update();
            let free = shared.worker.concurrency - running.len();
            let pause = match shared.worker.look(&owner, free).await {
                Ok(Look::Claimed(leases)) => {
                    for lease in leases {
                        running.spawn(shared.clone().work(lease));
                    }
                    continue;
                }
                Ok(Look::Wait(pause)) => pause,
                Err(error) => {
                    tracing::error!(queue = shared.worker.queue, error = %Causes(&error), "cannot claim jobs");
                    // The claim may have happened all the same. Under a new name those leases expire.
                    owner = id::uuid();
                    PAUSE
                }
            };
            wait(pause, &mut changed, &mut running, &shared.shutdown).await;
        }
        while running.join_next().await.is_some() {}
    }

    /// Reads first: claiming writes, and most looks find nothing.
    async fn look(&self, owner: &str, free: usize) -> Result<Look, StoreError> {
        if free == 0 {
            return Ok(Look::Wait(LOOK_AGAIN));
        }
        let Some(due) = self.store.next_due(&self.queue).await? else {
            return Ok(Look::Wait(LOOK_AGAIN));
        };
        let ahead_ms = due.since_millis(self.store.now());
        if ahead_ms > 0 {
            return Ok(Look::Wait(LOOK_AGAIN.min(Duration::from_millis(ahead_ms as u64))));
        }
        let leases = self.store.claim(&self.queue, owner, self.lease_ms, free).await?;
        Ok(if leases.is_empty() { Look::Wait(PAUSE) } else { Look::Claimed(leases) })
    }
}

enum Look {
    Claimed(Vec<Lease>),
    Wait(Duration),
}

/// Sleeps until there may be something to do: the queue changed, a job ended, the time is up.
async fn wait(
    pause: Duration,
    changed: &mut watch::Receiver<u64>,
    running: &mut JoinSet<()>,
    shutdown: &Shutdown,
) {
    tokio::select! {
        _ = changed.changed() => {}
        Some(_) = running.join_next() => {}
        () = tokio::time::sleep(pause) => {}
        () = shutdown.wait() => {}
    }
}

struct Shared<H> {
    worker: Worker,
    handler: H,
    shutdown: Shutdown,
}

/// A handler in a task of its own, so that it cannot keep its lease from being renewed. It ends with
/// whoever attends it.
struct Task(JoinHandle<Result<Txn, Retry>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How a handler's run ended.
enum End {
    Returned(Result<Txn, Retry>),
    LeaseLost,
    Stopped,
}

impl<H, F> Shared<H>
where
    H: Fn(Held) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Txn, Retry>> + Send + 'static,
{
    async fn work(self: Arc<Self>, lease: Lease) {
        let mut conflicts = 0;
        loop {
            let held = Held::new(lease.clone());
            let task = Task(tokio::spawn((self.handler)(held.clone())));
            let retry = match self.attend(task, &held).await {
                End::Returned(Ok(mut txn)) => {
                    txn.complete(&lease);
                    match self.worker.store.commit(txn).await {
                        Ok(()) => return,
                        Err(StoreError::LeaseLost { .. }) => return self.report_lost(&lease),
                        Err(StoreError::Conflict { .. }) if conflicts < CONFLICT_ROUNDS => {
                            conflicts += 1;
                            continue;
                        }
                        Err(error) => Retry::new(error),
                    }
                }
                End::Returned(Err(retry)) => retry,
                End::LeaseLost => return self.report_lost(&lease),
                End::Stopped => return self.give_back(&lease, 0).await,
            };
            let after_ms = retry.after_ms.unwrap_or_else(|| self.worker.backoff.delay_ms(lease.attempt));
            self.report_failure(&lease, &retry, after_ms);
            return self.give_back(&lease, after_ms).await;
        }
    }

    /// Renews the lease while the handler runs, and stops the handler when it is lost; where other
    /// processes may take the job, also when it could not be renewed in time.
    async fn attend(&self, mut task: Task, held: &Held) -> End {
        let mut lease = held.lease().clone();
        let pace = Duration::from_millis((self.worker.lease_ms / 3).max(1) as u64);
        // On the clock that nobody sets, and that goes on while this process is frozen.
        let mut held_until = Instant::now() + pace * 3;
        loop {
            tokio::select! {
                result = &mut task.0 => return End::Returned(flatten(result)),
                () = tokio::time::sleep(pace) => {
                    let asked = Instant::now();
                    match self.renew(&mut lease, held_until.max(asked + pace)).await {
                        Ok(()) => held_until = asked + pace * 3,
                        Err(StoreError::LeaseLost { .. }) => {
                            held.cancel();
                            self.let_end(task).await;
                            return End::LeaseLost;
                        }
                        Err(error) => {
                            let (queue, key) = (&lease.queue, &lease.key);
                            tracing::warn!(queue, key, error = %Causes(&error), "cannot renew a lease");
                            if self.worker.store.is_shared() && Instant::now() >= held_until {
                                return self.stop(task, held).await;
                            }
                        }
                    }
                }
                () = self.shutdown.wait() => return self.stop(task, held).await,
            }
        }
    }

    /// A shared store that does not answer must not keep a handler running beyond its lease.
    async fn renew(&self, lease: &mut Lease, deadline: Instant) -> Result<(), StoreError> {
        let renewal = self.worker.store.renew(lease, self.worker.lease_ms);
        if !self.worker.store.is_shared() {
            return renewal.await;
        }
        let no_answer = || StoreError::Storage("no answer before the lease ended".into());
        tokio::time::timeout_at(deadline, renewal).await.unwrap_or_else(|_| Err(no_answer()))
    }

    async fn stop(&self, task: Task, held: &Held) -> End {
        held.cancel();
        match self.let_end(task).await {
            Some(Ok(txn)) => End::Returned(Ok(txn)),
            _ => End::Stopped,
        }
    }

    /// The grace time of a handler that was told to stop.
    async fn let_end(&self, mut task: Task) -> Option<Result<Txn, Retry>> {
        match tokio::time::timeout(self.worker.grace, &mut task.0).await {
            Ok(result) => Some(flatten(result)),
            Err(_) => {
                task.0.abort();
                // Until its destructors have run, the handler still is at work.
                let _ = (&mut task.0).await;
                None
            }
        }
    }

    /// Keeps trying while the disk is full: this worker's own leases are never given to it again, so one
    /// that is not given back would block its job until the next start.
    async fn give_back(&self, lease: &Lease, after_ms: i64) {
        loop {
            let mut txn = Txn::new();
            txn.release(lease, self.worker.store.now().plus_millis(after_ms));
            match self.worker.store.commit(txn).await {
                Err(StoreError::Storage(error)) => {
                    let (queue, key) = (&lease.queue, &lease.key);
                    tracing::error!(queue, key, %error, "cannot give a job back; trying again");
                    if !self.shutdown.sleep(PAUSE * 4).await {
                        return;
                    }
                }
                // Lost or closed: it is not ours to give back.
                _ => return,
            }
        }
    }

    fn report_lost(&self, lease: &Lease) {
        tracing::warn!(
            queue = lease.queue,
            key = lease.key,
            "a job was cancelled or claimed by another worker"
        );
    }

    fn report_failure(&self, lease: &Lease, retry: &Retry, after_ms: i64) {
        let (queue, key, attempt, cause) =
            (&lease.queue, &lease.key, lease.attempt, Causes(retry.error.as_ref()));
        if attempt >= ALARMING_ATTEMPT {
            tracing::error!(queue, key, attempt, after_ms, %cause, "a job keeps failing");
        } else {
            tracing::warn!(queue, key, attempt, after_ms, %cause, "a job failed and will be tried again");
        }
    }
}

/// A handler that panicked failed like any other.
fn flatten(result: Result<Result<Txn, Retry>, tokio::task::JoinError>) -> Result<Txn, Retry> {
    match result {
        Ok(result) => result,
        Err(error) => Err(Retry::new(error)),
    }
}
