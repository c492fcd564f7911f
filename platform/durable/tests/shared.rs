//! Several servers on one database: workers that die, freeze or lose the database, and subscribers that race.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use towpath_api::{Event, Timestamp};
use towpath_durable::{Cursor, Held, Retry, Shutdown, Subscriber, Worker};
use towpath_store::{Document, Job, Options, Order, Store, Txn};
use towpath_test_cluster::Cluster;

const CHILD_URL: &str = "TOWPATH_DURABLE_CHILD_URL";
const LEASE_MS: i64 = 1500;

/// What a job or an event leaves: created, not put, so that a second one would conflict for ever.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    key: String,
    by: u32,
}

impl Document for Done {
    const KIND: &'static str = "test/done";

    fn key(&self) -> String {
        self.key.clone()
    }
}

async fn open(url: &str) -> Store {
    Store::open(Options::database(url)).await.unwrap()
}

fn worker(store: &Store) -> Worker {
    Worker::new(store.clone(), "q").lease_ms(LEASE_MS).concurrency(4).grace_ms(100)
}

fn done(key: &str) -> Txn {
    let mut txn = Txn::new();
    let time = Timestamp::from_millis(1000);
    let event = Event::new("test", key, ("0", "r"), time, Vec::new(), serde_json::Value::Null);
    txn.create(&Done { key: key.into(), by: std::process::id() }).emit(event);
    txn
}

async fn enqueue(store: &Store, count: usize) {
    let mut txn = Txn::new();
    (0..count).for_each(|number| _ = txn.enqueue(Job::new("q", number.to_string(), store.now())));
    store.commit(txn).await.unwrap();
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(120), "not within two minutes: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn all_done(store: &Store) -> Vec<Done> {
    let page = store.list::<Done>("", None, 10_000, Order::Ascending).await.unwrap();
    page.items.into_iter().map(|item| item.into_doc()).collect()
}

/// Not a test: a server that works. `TOWPATH_DURABLE_CHILD_SLOW` makes every job last until it is cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the tests below"]
async fn server() {
    let Ok(url) = std::env::var(CHILD_URL) else { return };
    let slow = std::env::var("TOWPATH_DURABLE_CHILD_SLOW").is_ok();
    let store = open(&url).await;
    let work = move |held: Held| async move {
        println!("\nRUNS {}", held.key);
        if slow {
            held.cancelled().await;
            println!("\nCANCELLED {}", held.key);
        } else {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<_, Retry>(done(&held.key))
    };
    worker(&store).run(work, Shutdown::new()).await;
}

/// Killed with whoever holds it.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(url: &str, slow: Option<&str>) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["server", "--exact", "--ignored", "--nocapture"]).env(CHILD_URL, url);
        if let Some(slow) = slow {
            command.env("TOWPATH_DURABLE_CHILD_SLOW", slow);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { child, lines }
    }

    fn line(&mut self, start: &str) {
        let found = self.lines.by_ref().map_while(Result::ok).any(|line| line.starts_with(start));
        assert!(found, "the child ended before it said {start}");
    }

    fn signal(&self, number: i32) {
        // SAFETY: it sends a signal to a child that was not waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, number) }, 0);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_work_of_a_killed_server_moves_to_another_within_its_lease() {
    const JOBS: usize = 150;
    let url = Cluster::shared().database();
    let store = open(&url).await;
    enqueue(&store, JOBS).await;
    // Two at a time; each is killed at work, and the next takes its place.
    let mut servers = [Process::start(&url, None), Process::start(&url, None)];
    for round in 0..4 {
        let victim = &mut servers[round % 2];
        tokio::task::block_in_place(|| (0..3 + 2 * round).for_each(|_| victim.line("RUNS")));
        *victim = Process::start(&url, None);
    }
    drop(servers);
    let before = all_done(&store).await.len();
    assert!(before < JOBS, "killed in the middle");
    let (start, _last) = (Instant::now(), Process::start(&url, None));
    until("every job is done", async || all_done(&store).await.len() == JOBS).await;
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(store.events_after(0, 10_000).await.unwrap().len(), JOBS, "each once");
    assert_eq!(store.next_due("q").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_frozen_finds_its_job_gone_and_changes_nothing() {
    let url = Cluster::shared().database();
    let store = open(&url).await;
    enqueue(&store, 1).await;
    let mut frozen = Process::start(&url, Some("yes"));
    tokio::task::block_in_place(|| frozen.line("RUNS 0"));
    frozen.signal(libc::SIGSTOP);
    // Its lease is not renewed any more; another server takes the job, and is still at it when the first
    // one wakes up.
    let (running, mut runs) = mpsc::unbounded_channel();
    let (finish, finished) = tokio::sync::watch::channel(false);
    let shutdown = Shutdown::new();
    let work = move |held: Held| {
        let (running, mut finished) = (running.clone(), finished.clone());
        async move {
            running.send(held.attempt)?;
            finished.wait_for(|finished| *finished).await?;
            Ok(done(&held.key))
        }
    };
    let other = tokio::spawn(worker(&store).run(work, shutdown.clone()));
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), runs.recv()).await.unwrap(), Some(2));
    frozen.signal(libc::SIGCONT);
    tokio::task::block_in_place(|| frozen.line("CANCELLED 0"));
    assert!(all_done(&store).await.is_empty(), "the one that was frozen committed");
    finish.send(true).unwrap();
    until("the other is done", async || !all_done(&store).await.is_empty()).await;
    assert_eq!(all_done(&store).await[0].by, std::process::id());
    shutdown.trigger();
    other.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_is_stopped_when_the_database_does_not_answer_until_its_lease_ends() {
    let cluster = Cluster::start(&[]);
    let store = open(&cluster.database()).await;
    enqueue(&store, 1).await;
    let (told, mut tells) = mpsc::unbounded_channel();
    let shutdown = Shutdown::new();
    let work = move |held: Held| {
        let told = told.clone();
        async move {
            told.send("runs")?;
            if held.attempt == 1 {
                held.cancelled().await;
                told.send("cancelled")?;
                return Err(Retry::after(0, "stopped"));
            }
            Ok(done(&held.key))
        }
    };
    let running = tokio::spawn(worker(&store).run(work, shutdown.clone()));
    let mut next = async || tokio::time::timeout(Duration::from_secs(60), tells.recv()).await.unwrap();
    assert_eq!(next().await, Some("runs"));
    cluster.freeze();
    assert_eq!(next().await, Some("cancelled"));
    cluster.thaw();
    assert_eq!(next().await, Some("runs"), "given back, or expired, when the database is there again");
    until("it is done", async || all_done(&store).await.len() == 1).await;
    shutdown.trigger();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_servers_one_deals_with_each_event_and_another_takes_over() {
    const EVENTS: usize = 60;
    let url = Cluster::shared().database();
    let stores = [open(&url).await, open(&url).await, open(&url).await];
    let emit = async |numbers: std::ops::Range<usize>| {
        let mut txn = Txn::new();
        for number in numbers {
            let (name, time) = (number.to_string(), Timestamp::from_millis(1000));
            txn.emit(Event::new("test", &name, ("0", "r"), time, Vec::new(), serde_json::Value::Null));
        }
        stores[0].commit(txn).await.unwrap();
    };
    let handled = Arc::new(AtomicUsize::new(0));
    let shutdowns: Vec<Shutdown> = stores.iter().map(|_| Shutdown::new()).collect();
    let start = |number: usize| {
        let handled = handled.clone();
        let handler = move |event: Event| {
            handled.fetch_add(1, Ordering::SeqCst);
            async move {
                // Long enough for all of them to be at it.
                tokio::time::sleep(Duration::from_millis(5)).await;
                let mut txn = Txn::new();
                txn.create(&Done { key: format!("{:>4}", event.detail_type), by: number as u32 });
                Ok::<_, Retry>(txn)
            }
        };
        let subscriber = Subscriber::new(stores[number].clone(), "test");
        tokio::spawn(subscriber.run(handler, shutdowns[number].clone()))
    };
    let dealt_with = async || all_done(&stores[2]).await.len();
    emit(0..EVENTS / 2).await;
    let running: Vec<_> = (0..3).map(start).collect();
    until("half of the events are dealt with", async || dealt_with().await == EVENTS / 2).await;
    // Whoever is ahead, the last one goes on.
    shutdowns[0].trigger();
    shutdowns[1].trigger();
    emit(EVENTS / 2..EVENTS).await;
    until("every event is dealt with", async || dealt_with().await == EVENTS).await;
    let keys: Vec<_> = all_done(&stores[2]).await.into_iter().map(|done| done.key).collect();
    assert_eq!(keys, (0..EVENTS).map(|number| format!("{number:>4}")).collect::<Vec<_>>());
    let cursor = async || stores[2].get::<Cursor>("test").await.unwrap().unwrap().sequence;
    until("the cursor is at the end", async || cursor().await == EVENTS as u64).await;
    let handled = handled.load(Ordering::SeqCst);
    assert!(handled < EVENTS * 3 / 2, "{handled}: the losers of a race keep racing");
    shutdowns[2].trigger();
    for task in running {
        task.await.unwrap();
    }
}
