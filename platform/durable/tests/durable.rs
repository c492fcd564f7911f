//! Stories of jobs and events: what a service may rely on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use towpath_api::{Clock, Event, Timestamp};
use towpath_durable::{Backoff, Cursor, Held, Retry, Shutdown, Subscriber, Worker};
use towpath_store::{Document, Job, Options, Store, Txn};

#[derive(Debug, Serialize, Deserialize)]
struct Done {
    key: String,
    runs: u32,
}

impl Document for Done {
    const KIND: &'static str = "test/done";

    fn key(&self) -> String {
        self.key.clone()
    }
}

#[derive(Clone)]
struct Hand(Arc<AtomicI64>);

impl Hand {
    fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

struct Fixture {
    folder: tempfile::TempDir,
    store: Store,
    hand: Hand,
    shutdown: Shutdown,
}

async fn open(path: &Path, hand: &Hand) -> Store {
    Store::open(Options::new(path).with_clock(Arc::new(hand.clone()))).await.unwrap()
}

impl Fixture {
    async fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let hand = Hand(Arc::new(AtomicI64::new(1_000_000)));
        let store = open(folder.path(), &hand).await;
        Fixture { folder, store, hand, shutdown: Shutdown::new() }
    }

    async fn enqueue(&self, key: &str, after_ms: i64) {
        let mut txn = Txn::new();
        txn.enqueue(Job::new("q", key, self.store.now().plus_millis(after_ms)));
        self.store.commit(txn).await.unwrap();
    }

    async fn emit(&self, name: &str) {
        let mut txn = Txn::new();
        let detail = serde_json::json!({});
        txn.emit(Event::new("aws.test", name, ("0", "r"), self.store.now(), Vec::new(), detail));
        self.store.commit(txn).await.unwrap();
    }

    /// A worker that tells each run and completes it.
    fn start(&self, worker: Worker) -> (mpsc::UnboundedReceiver<Held>, tokio::task::JoinHandle<()>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let handler = move |held: Held| {
            let sender = sender.clone();
            async move {
                sender.send(held.clone())?;
                Ok(Txn::new())
            }
        };
        let running = tokio::spawn(worker.run(handler, self.shutdown.clone()));
        (receiver, running)
    }

    fn worker(&self) -> Worker {
        Worker::new(self.store.clone(), "q")
    }
}

/// Waits for what must come, and fails rather than hang.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), what).await.expect("nothing happened for ten seconds")
}

async fn until<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    soon(async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_wakes_the_worker_within_milliseconds() {
    let fixture = Fixture::new().await;
    let (mut runs, _running) = fixture.start(fixture.worker());
    let mut fastest = Duration::MAX;
    for number in 0..20 {
        fixture.enqueue(&number.to_string(), 0).await;
        let committed = Instant::now();
        soon(runs.recv()).await.unwrap();
        fastest = fastest.min(committed.elapsed());
    }
    assert!(fastest < Duration::from_millis(5), "{fastest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_runs_when_the_clock_says_so() {
    let fixture = Fixture::new().await;
    let (mut runs, running) = fixture.start(fixture.worker());
    fixture.enqueue("timer", 3_600_000).await;
    fixture.enqueue("now", 0).await;
    assert_eq!(soon(runs.recv()).await.unwrap().key, "now");
    fixture.hand.advance(3_600_000);
    fixture.store.wake_all();
    assert_eq!(soon(runs.recv()).await.unwrap().key, "timer");
    fixture.shutdown.trigger();
    soon(running).await.unwrap();
    assert!(runs.recv().await.is_none(), "each ran once");
    assert_eq!(fixture.store.next_due("q").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_timer_needs_no_commit_to_fire() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(folder.path())).await.unwrap();
    let fired = Arc::new(Notify::new());
    let tell = fired.clone();
    let handler = move |_: Held| {
        tell.notify_one();
        async { Ok(Txn::new()) }
    };
    tokio::spawn(Worker::new(store.clone(), "q").run(handler, Shutdown::new()));
    let mut txn = Txn::new();
    txn.enqueue(Job::new("q", "k", store.now().plus_millis(60)));
    let start = Instant::now();
    store.commit(txn).await.unwrap();
    soon(fired.notified()).await;
    assert!(start.elapsed() >= Duration::from_millis(55), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_job_comes_back_later_each_time_and_is_never_dropped() {
    let fixture = Fixture::new().await;
    let (sender, mut attempts) = mpsc::unbounded_channel();
    let handler = move |held: Held| {
        let sender = sender.clone();
        async move {
            sender.send(held.attempt)?;
            match held.attempt {
                1 => Err(Retry::new("no such host")),
                2 => panic!("a defect"),
                3 => Err(Retry::after(7000, "not yet")),
                _ => Ok(Txn::new()),
            }
        }
    };
    let backoff = Backoff { first_ms: 1000, cap_ms: 60_000 };
    let running = tokio::spawn(fixture.worker().backoff(backoff).run(handler, fixture.shutdown.clone()));
    fixture.enqueue("k", 0).await;
    for (attempt, delay_ms) in [(1, 1000), (2, 2000), (3, 7000)] {
        assert_eq!(soon(attempts.recv()).await.unwrap(), attempt);
        let due = fixture.store.now().plus_millis(delay_ms);
        until(async || fixture.store.next_due("q").await.unwrap() == Some(due)).await;
        fixture.hand.advance(delay_ms);
        fixture.store.wake_all();
    }
    assert_eq!(soon(attempts.recv()).await.unwrap(), 4);
    until(async || fixture.store.next_due("q").await.unwrap().is_none()).await;
    fixture.shutdown.trigger();
    soon(running).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_and_completion_are_one_commit_and_a_conflict_asks_again() {
    let fixture = Fixture::new().await;
    let store = fixture.store.clone();
    let mut txn = Txn::new();
    txn.create(&Done { key: "k".into(), runs: 0 });
    store.commit(txn).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let handler = move |held: Held| {
        let (store, count) = (store.clone(), count.clone());
        async move {
            let seen = store.get::<Done>(&held.key).await?.ok_or_else(|| Retry::new("missing"))?;
            let mut txn = Txn::new();
            if count.fetch_add(1, Ordering::SeqCst) < 3 {
                txn.put(&Done { key: "k".into(), runs: seen.runs + 1 });
                store.commit(std::mem::take(&mut txn)).await?;
            }
            txn.replace(&seen, &Done { key: "k".into(), runs: seen.runs + 100 });
            Ok(txn)
        }
    };
    tokio::spawn(fixture.worker().run(handler, fixture.shutdown.clone()));
    fixture.enqueue("k", 0).await;
    until(async || fixture.store.get::<Done>("k").await.unwrap().unwrap().runs == 103).await;
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    until(async || fixture.store.next_due("q").await.unwrap().is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_jobs_run_at_once_than_allowed() {
    let fixture = Fixture::new().await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now_, most_) = (now.clone(), most.clone());
    let handler = move |_: Held| {
        let (now, most) = (now_.clone(), most_.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Txn::new())
        }
    };
    for number in 0..20 {
        fixture.enqueue(&number.to_string(), 0).await;
    }
    tokio::spawn(fixture.worker().concurrency(3).run(handler, fixture.shutdown.clone()));
    until(async || fixture.store.next_due("q").await.unwrap().is_none()).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_job_keeps_its_lease_through_clock_jumps_and_loses_it_when_cancelled() {
    let fixture = Fixture::new().await;
    let (sender, mut told) = mpsc::unbounded_channel();
    let handler = move |held: Held| {
        let sender = sender.clone();
        async move {
            sender.send("started")?;
            held.cancelled().await;
            sender.send("cancelled")?;
            std::future::pending::<()>().await;
            Ok(Txn::new())
        }
    };
    let worker = fixture.worker().lease_ms(60).grace_ms(20);
    tokio::spawn(worker.run(handler, fixture.shutdown.clone()));
    fixture.enqueue("k", 0).await;
    assert_eq!(soon(told.recv()).await.unwrap(), "started");
    let leased_until = fixture.store.next_due("q").await.unwrap().unwrap();
    fixture.hand.advance(3_600_000);
    fixture.store.wake_all();
    until(async || fixture.store.next_due("q").await.unwrap().unwrap() > leased_until).await;
    assert!(told.try_recv().is_err(), "an hour's jump starts nothing twice and stops nothing");
    let mut txn = Txn::new();
    txn.cancel("q", "k");
    fixture.store.commit(txn).await.unwrap();
    assert_eq!(soon(told.recv()).await.unwrap(), "cancelled");
    soon(told.closed_by_handler()).await;
}

/// A handler that ignores its cancellation is dropped after the grace time: with it, its sender's clone.
trait ClosedByHandler {
    async fn closed_by_handler(&mut self);
}

impl<T> ClosedByHandler for mpsc::UnboundedReceiver<T> {
    async fn closed_by_handler(&mut self) {
        while self.sender_strong_count() > 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_gives_its_jobs_back_and_the_next_one_runs_them() {
    let fixture = Fixture::new().await;
    let started = Arc::new(Notify::new());
    let tell = started.clone();
    let handler = move |held: Held| {
        tell.notify_one();
        async move {
            held.cancelled().await;
            Err::<Txn, _>(Retry::new("stopped"))
        }
    };
    let running = tokio::spawn(fixture.worker().run(handler, fixture.shutdown.clone()));
    fixture.enqueue("k", 0).await;
    soon(started.notified()).await;
    fixture.shutdown.trigger();
    soon(running).await.unwrap();
    let next = Fixture { shutdown: Shutdown::new(), ..fixture };
    let (mut runs, _running) = next.start(next.worker());
    assert_eq!(soon(runs.recv()).await.unwrap().key, "k");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_sees_each_event_once_in_order_also_after_a_restart() {
    let fixture = Fixture::new().await;
    fixture.emit("0").await;
    let mut seen = Vec::new();
    let mut fixture = fixture;
    for round in 0..3 {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let failing = AtomicUsize::new(2);
        let handler = move |event: Event| {
            let sender = sender.clone();
            let fail =
                failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            async move {
                if fail {
                    return Err(Retry::after(1, "not yet"));
                }
                let mut txn = Txn::new();
                txn.create(&Done { key: event.detail_type.clone(), runs: 1 });
                sender.send(event.detail_type)?;
                Ok(txn)
            }
        };
        let subscriber = Subscriber::new(fixture.store.clone(), "test");
        let running = tokio::spawn(subscriber.run(handler, fixture.shutdown.clone()));
        for number in 1..10 {
            fixture.emit(&(round * 9 + number).to_string()).await;
        }
        while seen.len() < round * 9 + 10 {
            seen.push(soon(receiver.recv()).await.unwrap());
        }
        let last = fixture.store.last_sequence().await.unwrap();
        let position = async || fixture.store.get::<Cursor>("test").await.unwrap().unwrap().sequence;
        until(async || position().await == last).await;
        fixture.shutdown.trigger();
        soon(running).await.unwrap();
        fixture.store.close().await;
        let store = open(fixture.folder.path(), &fixture.hand).await;
        fixture = Fixture { store, shutdown: Shutdown::new(), ..fixture };
    }
    assert_eq!(seen, (0..28).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_subscriber_can_begin_now_and_filter_what_it_sees() {
    let fixture = Fixture::new().await;
    fixture.emit("old").await;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let handler = move |event: Event| {
        let sender = sender.clone();
        async move {
            sender.send(event.detail_type)?;
            Ok(Txn::new())
        }
    };
    let subscriber = Subscriber::new(fixture.store.clone(), "late")
        .from_now()
        .filter(|event| event.detail_type.starts_with("wanted"));
    tokio::spawn(subscriber.run(handler, fixture.shutdown.clone()));
    until(async || fixture.store.get::<Cursor>("late").await.unwrap().is_some()).await;
    for name in ["unwanted", "wanted 1", "unwanted", "wanted 2"] {
        fixture.emit(name).await;
    }
    assert_eq!(soon(receiver.recv()).await.unwrap(), "wanted 1");
    assert_eq!(soon(receiver.recv()).await.unwrap(), "wanted 2");
    let last = fixture.store.last_sequence().await.unwrap();
    until(async || fixture.store.get::<Cursor>("late").await.unwrap().unwrap().sequence == last).await;
}
