//! A database that dies, hangs or is cut off, and processes that are frozen while they hold something.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use towpath_api::{Event, Timestamp};
use towpath_store::{Document, Job, Lease, Options, Order, Store, StoreError, Txn};
use towpath_test_cluster::Cluster;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    id: String,
    text: String,
}

impl Document for Note {
    const KIND: &'static str = "test/note";

    fn key(&self) -> String {
        self.id.clone()
    }
}

fn note(id: &str, text: &str) -> Note {
    Note { id: id.into(), text: text.into() }
}

fn event(name: &str) -> Event {
    let time = Timestamp::from_millis(1000);
    Event::new("aws.test", name, ("000000000000", "us-east-1"), time, Vec::new(), serde_json::json!({}))
}

async fn open(url: &str) -> Store {
    Store::open(Options::database(url)).await.unwrap()
}

/// A document, an event and a job, all of one name.
async fn create(store: &Store, id: &str) -> Result<(), StoreError> {
    let mut txn = Txn::new();
    txn.create(&note(id, "")).emit(event(id)).enqueue(Job::new("q", id, Timestamp::EPOCH));
    store.commit(txn).await
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(120), "not within two minutes: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_unknown(error: &StoreError) -> bool {
    error.to_string().contains("whether it was carried out is unknown")
}

/// What each commit was told, and what is there in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_loses_nothing_it_acknowledged_and_halves_nothing() {
    const CLIENTS: usize = 6;
    let cluster = Cluster::start(&[]);
    let url = cluster.database();
    let stores = [open(&url).await, open(&url).await];
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let told = Arc::new(Mutex::new(Vec::new()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (store, stop) = (stores[client % 2].clone(), stop.clone());
            let (acknowledged, told) = (acknowledged.clone(), told.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    let id = format!("{client}-{number}");
                    let outcome = create(&store, &id).await;
                    acknowledged.fetch_add(usize::from(outcome.is_ok()), Ordering::AcqRel);
                    told.lock().unwrap().push((id, outcome));
                }
            })
        })
        .collect();
    for round in 1..=4 {
        let enough = acknowledged.load(Ordering::Acquire) + 20 + 13 * round;
        until("commits go on", async || acknowledged.load(Ordering::Acquire) >= enough).await;
        cluster.kill();
        cluster.restart();
    }
    stop.store(true, Ordering::Release);
    for client in clients {
        client.await.unwrap();
    }
    let store = open(&url).await;
    let events = store.events_after(0, 10_000).await.unwrap();
    let jobs = store.claim("q", "w", 60_000, 10_000).await.unwrap();
    let notes = store.list::<Note>("", None, 10_000, Order::Ascending).await.unwrap().items;
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let there = sorted(notes.into_iter().map(|note| note.doc.id).collect());
    assert_eq!(there, sorted(events.iter().map(|(_, event)| event.detail_type.clone()).collect()));
    assert_eq!(there, sorted(jobs.into_iter().map(|job| job.key).collect()));
    let numbers: Vec<u64> = events.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>(), "numbers have gaps or come twice");
    for (id, outcome) in told.lock().unwrap().iter() {
        match outcome {
            Ok(()) => assert!(there.binary_search(id).is_ok(), "{id} was acknowledged and is lost"),
            Err(error) if is_unknown(error) => {}
            Err(StoreError::Storage(_)) => {
                assert!(there.binary_search(id).is_err(), "{id} failed and is there")
            }
            Err(error) => panic!("{id}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_or_is_away_fails_requests_in_bounded_time() {
    let cluster = Cluster::start(&[]);
    let store = open(&cluster.database()).await;
    create(&store, "a").await.unwrap();
    let ask = async |name: &str| {
        let start = Instant::now();
        let (read, commit, claim) =
            tokio::join!(store.get::<Note>("a"), create(&store, name), store.claim("q", "w", 60_000, 0),);
        for error in [read.map(|_| ()).unwrap_err(), commit.unwrap_err(), claim.map(|_| ()).unwrap_err()] {
            assert!(matches!(error, StoreError::Storage(_)), "{error}");
            assert!(error.to_string().contains("postgresql://127.0.0.1"), "it says who: {error}");
        }
        assert!(start.elapsed() < Duration::from_secs(100), "{:?}", start.elapsed());
    };
    cluster.freeze();
    ask("hung").await;
    cluster.thaw();
    cluster.kill();
    ask("away").await;
    cluster.restart();
    create(&store, "b").await.unwrap();
    assert!(store.get::<Note>("b").await.unwrap().is_some());
    assert!(store.get::<Note>("away").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_absence_is_waited_for_and_the_news_come_again_afterwards() {
    let cluster = Cluster::start(&[]);
    let url = cluster.database();
    let (here, there) = (open(&url).await, open(&url).await);
    create(&here, "a").await.unwrap();
    cluster.kill();
    let (read, commit, _) = tokio::join!(here.get::<Note>("a"), create(&here, "b"), async {
        tokio::task::block_in_place(|| cluster.restart());
    });
    assert!(read.unwrap().is_some());
    commit.unwrap();
    let mut kind = there.kind_changed(Note::KIND);
    until("the other process is told again", async || {
        // Until it listens again it is woken now and then in any case; so only the news of this very commit
        // counts: it must be there soon after it.
        kind.borrow_and_update();
        let mut txn = Txn::new();
        txn.put(&note("c", ""));
        here.commit(txn).await.unwrap();
        tokio::time::timeout(Duration::from_millis(500), kind.changed()).await.is_ok()
    })
    .await;
}

/// Passes bytes on. Once armed, it meddles with the connection on which the next COMMIT comes.
struct Proxy {
    port: u16,
    armed: Arc<Mutex<Option<Meddle>>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Meddle {
    /// The server gets it; its answer gets lost with the connection.
    LoseAnswer,
    /// The server never gets it, and the connection ends.
    LoseCommit,
    /// The server never gets it, and waits.
    Withhold,
}

impl Proxy {
    async fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(Mutex::new(None));
        let arm = armed.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::spawn(pass(client, server, arm.clone()));
            }
        });
        Proxy { port, armed }
    }
}

async fn pass(client: TcpStream, server: TcpStream, armed: Arc<Mutex<Option<Meddle>>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (cut, mut is_cut) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = &mut is_cut => {}
            _ = tokio::io::copy(&mut from_server, &mut to_client) => return,
        }
        drop(to_client);
        // Not closed before the server is done: it shall carry out what it got.
        let _ = tokio::io::copy(&mut from_server, &mut tokio::io::sink()).await;
    });
    let mut buffer = vec![0; 1 << 20];
    while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
        let bytes = &buffer[..length];
        let commits = bytes.windows(7).any(|window| window == b"COMMIT\0");
        let meddle = if commits { armed.lock().unwrap().take() } else { None };
        match meddle {
            None => to_server.write_all(bytes).await.unwrap(),
            Some(Meddle::LoseAnswer) => {
                cut.send(()).unwrap();
                return to_server.write_all(bytes).await.unwrap();
            }
            Some(Meddle::LoseCommit) => return cut.send(()).unwrap(),
            Some(Meddle::Withhold) => {
                while let Ok(1..) = from_client.read(&mut buffer).await {}
                return;
            }
        }
    }
}

async fn through(proxy: &Proxy, url: &str) -> Store {
    let port = Cluster::shared().port();
    open(&url.replace(&format!(":{port}/"), &format!(":{}/", proxy.port))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_asked_for_and_never_done_twice() {
    let (proxy, url) = (Proxy::start(Cluster::shared().port()).await, Cluster::shared().database());
    let store = through(&proxy, &url).await;
    for round in 0..10 {
        for meddle in [Meddle::LoseAnswer, Meddle::LoseCommit] {
            *proxy.armed.lock().unwrap() = Some(meddle);
            create(&store, &format!("{round}{meddle:?}")).await.unwrap();
            assert!(proxy.armed.lock().unwrap().is_none(), "the proxy saw no commit");
        }
    }
    assert_eq!(store.events_after(0, 100).await.unwrap().len(), 20);
}

/// As by a process that is frozen, or cut off, with its locks held: the database ends its transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_nobody_ends_holds_the_others_up_for_seconds_at_most() {
    let (proxy, url) = (Proxy::start(Cluster::shared().port()).await, Cluster::shared().database());
    let (frozen, store) = (through(&proxy, &url).await, open(&url).await);
    *proxy.armed.lock().unwrap() = Some(Meddle::Withhold);
    let stuck = tokio::spawn(async move {
        let mut txn = Txn::new();
        txn.put(&note("page", "theirs")).emit(event("Theirs"));
        frozen.commit(txn).await
    });
    until("it is about to commit", async || proxy.armed.lock().unwrap().is_none()).await;
    let mut txn = Txn::new();
    txn.put(&note("page", "ours")).emit(event("Ours"));
    store.commit(txn).await.unwrap();
    stuck.await.unwrap().unwrap();
    let events = store.events_after(0, 10).await.unwrap();
    let names: Vec<_> = events.iter().map(|(_, event)| event.detail_type.as_str()).collect();
    assert_eq!(names, ["Ours", "Theirs"]);
}

// ---- frozen processes ---------------------------------------------------------------------------

const CHILD_URL: &str = "TOWPATH_STORE_CHILD_URL";

/// Not a test: a process that holds a job and comes back too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by a test below"]
async fn holder() {
    let Ok(url) = std::env::var(CHILD_URL) else { return };
    let store = open(&url).await;
    let mut lease = store.claim("q", "holder", 300, 1).await.unwrap().remove(0);
    println!("\nCLAIMED {}", lease.fence);
    // Frozen meanwhile. It wakes up as if no time had passed, and goes on with what it was about to do.
    std::io::stdin().lines().next().unwrap().unwrap();
    let mut txn = Txn::new();
    txn.put(&note("result", "the holder's")).emit(event("Late")).complete(&lease);
    let committed = store.commit(txn).await;
    let mut txn = Txn::new();
    txn.guard(&lease).put(&note("progress", "the holder's"));
    let guarded = store.commit(txn).await;
    let renewed = store.renew(&mut lease, 60_000).await;
    let lost = [committed, guarded, renewed].map(|outcome| outcome.is_err_and(|error| error.is_lease_lost()));
    println!("\nLOST {lost:?}");
}

/// Not a test: a process that writes one document over and over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by a test below"]
async fn scribbler() {
    let Ok(url) = std::env::var(CHILD_URL) else { return };
    let store = open(&url).await;
    for number in 0u64.. {
        let mut txn = Txn::new();
        txn.put(&note("page", &number.to_string())).emit(event("Scribbled"));
        match store.commit(txn).await {
            Ok(()) => println!("\nWROTE {number}"),
            // What it was about to commit when it was frozen.
            Err(StoreError::Storage(_)) => println!("\nFAILED {number}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Killed with whoever holds it.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(name: &str, url: &str) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--ignored", "--nocapture"])
            .env(CHILD_URL, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { child, lines }
    }

    fn line(&mut self, start: &str) -> String {
        let found = self.lines.by_ref().map_while(Result::ok).find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("the child ended before it said {start}"))
    }

    fn signal(&self, number: i32) {
        // SAFETY: it sends a signal to a child that was not waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, number) }, 0);
    }

    fn freeze(&self) {
        self.signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.child.id());
        let start = Instant::now();
        while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
            assert!(start.elapsed() < Duration::from_secs(60), "it does not stop");
            std::thread::yield_now();
        }
    }

    fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// When the holder goes on: the other who took its job is at work, or has finished.
#[derive(Clone, Copy, PartialEq)]
enum Revival {
    DuringTheOther,
    AfterTheOther,
}

async fn complete(store: &Store, lease: &Lease) {
    let mut txn = Txn::new();
    txn.put(&note("result", "the other's")).emit(event("Done")).complete(lease);
    store.commit(txn).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_holder_that_is_revived_can_commit_nothing() {
    revive(Revival::DuringTheOther).await;
    revive(Revival::AfterTheOther).await;
}

async fn revive(when: Revival) {
    let url = Cluster::shared().database();
    let store = open(&url).await;
    let mut txn = Txn::new();
    txn.enqueue(Job::new("q", "build", Timestamp::EPOCH));
    store.commit(txn).await.unwrap();
    let mut holder = Process::start("holder", &url);
    let fence: u64 = holder.line("CLAIMED").rsplit_once(' ').unwrap().1.parse().unwrap();
    holder.freeze();
    let mut taken = Vec::new();
    until("its lease expires", async || {
        taken = store.claim("q", "another", 60_000, 1).await.unwrap();
        !taken.is_empty()
    })
    .await;
    let lease = taken.remove(0);
    assert!(lease.fence > fence && lease.attempt == 2);
    if when == Revival::AfterTheOther {
        complete(&store, &lease).await;
    }
    holder.thaw();
    holder.child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    assert_eq!(holder.line("LOST"), "LOST [true, true, true]");
    if when == Revival::DuringTheOther {
        complete(&store, &lease).await;
    }
    assert_eq!(store.get::<Note>("result").await.unwrap().unwrap().text, "the other's");
    assert!(store.get::<Note>("progress").await.unwrap().is_none());
    assert_eq!(store.events_after(0, 10).await.unwrap().len(), 1);
}

/// It may be frozen within a transaction, with locks on what others want: the database ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_frozen_amid_commits_holds_the_others_up_for_seconds_at_most() {
    let url = Cluster::shared().database();
    let store = open(&url).await;
    let mut scribbler = Process::start("scribbler", &url);
    for round in 0..2 {
        tokio::task::block_in_place(|| (0..10 + round).for_each(|_| _ = scribbler.line("WROTE")));
        scribbler.freeze();
        let mut txn = Txn::new();
        txn.put(&note("page", "ours")).emit(event("Ours"));
        store.commit(txn).await.unwrap();
        assert_eq!(store.get::<Note>("page").await.unwrap().unwrap().text, "ours");
        scribbler.thaw();
    }
    tokio::task::block_in_place(|| (0..10).for_each(|_| _ = scribbler.line("WROTE")));
}
