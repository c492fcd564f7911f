//! kill -9 in the middle of work: every job's changes are there once, whatever the moment.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use towpath_api::Event;
use towpath_durable::{Held, Shutdown, Subscriber, Worker};
use towpath_store::{Change, Document, Job, Options, Order, Store, StoreError, Txn};

const JOBS: usize = 300;

/// What a job leaves: created, not put, so that a second run that commits would conflict for ever.
#[derive(Serialize, Deserialize)]
struct Done {
    key: String,
}

impl Document for Done {
    const KIND: &'static str = "test/done";

    fn key(&self) -> String {
        self.key.clone()
    }
}

/// How many events the subscriber has counted.
#[derive(Default, Serialize, Deserialize)]
struct Count {
    events: usize,
}

impl Document for Count {
    const KIND: &'static str = "test/count";

    fn key(&self) -> String {
        "count".into()
    }
}

async fn work(held: Held) -> Result<Txn, towpath_durable::Retry> {
    tokio::time::sleep(Duration::from_millis(2)).await;
    println!("\nRAN {}", held.key);
    let mut txn = Txn::new();
    let event = Event::new("test", "Done", ("0", "r"), held.expires_at, Vec::new(), serde_json::Value::Null);
    txn.create(&Done { key: held.key.clone() }).emit(event);
    Ok(txn)
}

async fn count(store: Store) -> Result<Txn, towpath_durable::Retry> {
    let seen = store.get::<Count>("count").await?;
    let mut txn = Txn::new();
    let events = seen.as_ref().map_or(0, |count| count.events) + 1;
    match seen {
        Some(seen) => txn.replace(&seen, &Count { events }),
        None => txn.create(&Count { events }),
    };
    Ok(txn)
}

async fn start(store: &Store, shutdown: &Shutdown) -> Vec<tokio::task::JoinHandle<()>> {
    let worker = Worker::new(store.clone(), "q").concurrency(4);
    let counting = store.clone();
    let subscriber = Subscriber::new(store.clone(), "counter");
    vec![
        tokio::spawn(worker.run(work, shutdown.clone())),
        tokio::spawn(subscriber.run(move |_| count(counting.clone()), shutdown.clone())),
    ]
}

/// Not a test: the process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below"]
async fn child() {
    let Ok(path) = std::env::var("TOWPATH_DURABLE_CHILD") else { return };
    let store = Store::open(Options::new(path)).await.unwrap();
    start(&store, &Shutdown::new()).await;
    std::future::pending::<()>().await;
}

fn run_and_kill(path: &Path, after: usize) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env("TOWPATH_DURABLE_CHILD", path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ran = lines.map_while(Result::ok).filter(|line| line.starts_with("RAN")).take(after).count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(ran, after, "the child ended early");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_and_every_event_counts_once_however_often_the_process_dies() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(folder.path())).await.unwrap();
    let mut txn = Txn::new();
    (0..JOBS).for_each(|number| _ = txn.enqueue(Job::new("q", number.to_string(), store.now())));
    store.commit(txn).await.unwrap();
    store.close().await;
    for after in [1, 17, 40, 2, 60] {
        run_and_kill(folder.path(), after);
    }
    let store = Store::open(Options::new(folder.path())).await.unwrap();
    let before = store.list::<Done>("", None, JOBS, Order::Ascending).await.unwrap().items.len();
    assert!(before > 0 && before < JOBS, "{before}: killed in the middle");
    let shutdown = Shutdown::new();
    let tasks = start(&store, &shutdown).await;
    let counted = async || {
        let read = |current: Option<&Count>, _: &mut Txn| {
            Ok::<_, StoreError>((Change::Keep, current.map_or(0, |count| count.events)))
        };
        store.update("count", read).await.unwrap()
    };
    let all = async {
        while counted().await < JOBS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("jobs or events are stuck");
    shutdown.trigger();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(counted().await, JOBS);
    assert_eq!(store.list::<Done>("", None, JOBS + 1, Order::Ascending).await.unwrap().items.len(), JOBS);
    assert_eq!(store.events_after(0, JOBS + 1).await.unwrap().len(), JOBS);
    assert_eq!(store.next_due("q").await.unwrap(), None);
}
