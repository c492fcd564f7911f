//! What survives a process that is killed, a second process, and a full disk.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use towpath_api::{Event, Timestamp};
use towpath_store::{Document, Job, Options, Order, Store, StoreError, Txn};

#[derive(Debug, Serialize, Deserialize)]
struct Count {
    client: usize,
    number: usize,
    padding: String,
}

impl Document for Count {
    const KIND: &'static str = "test/count";

    fn key(&self) -> String {
        format!("{}/{:08}", self.client, self.number)
    }
}

const CLIENTS: usize = 8;

/// Not a test: the process that the tests kill. It commits as fast as it can and prints each
/// acknowledgement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the other tests"]
async fn child() {
    let Ok(path) = std::env::var("TOWPATH_STORE_CHILD") else { return };
    let store = Store::open(Options::new(path)).await.unwrap();
    let start: usize = std::env::var("TOWPATH_STORE_START").unwrap().parse().unwrap();
    for client in 0..CLIENTS {
        let store = store.clone();
        tokio::spawn(async move {
            for number in start.. {
                let time = store.now();
                let detail = serde_json::json!({"client": client, "number": number});
                let event = Event::new("test", "Counted", ("0", "r"), time, Vec::new(), detail);
                let mut txn = Txn::new();
                txn.create(&Count { client, number, padding: "x".repeat(number % 3000) });
                txn.emit(event).enqueue(Job::new("q", format!("{client}/{number}"), time));
                store.commit(txn).await.unwrap();
                println!("\nACK {client} {number}");
            }
        });
    }
    let leases = store.claim("q", "child", 3_600_000, 5).await.unwrap();
    println!("\nLEASED {}", leases.len());
    std::future::pending::<()>().await;
}

fn spawn_child(path: &Path, start: usize) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env("TOWPATH_STORE_CHILD", path)
        .env("TOWPATH_STORE_START", start.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads acknowledgements until there are `enough`, kills, and reads what was still in the pipe.
fn kill_after(mut child: std::process::Child, enough: usize) -> Vec<(usize, usize)> {
    let mut acknowledged = Vec::new();
    let reader = BufReader::new(child.stdout.take().unwrap());
    for line in reader.lines() {
        let Ok(line) = line else { break };
        let mut words = line.split(' ');
        // The kill may cut the last line: only what has both numbers and follows the mark counts.
        if words.next() == Some("ACK")
            && let (Some(client), Some(number)) = (words.next(), words.next())
        {
            acknowledged.push((client.parse().unwrap(), number.parse().unwrap()));
        }
        if acknowledged.len() == enough {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= enough, "the child ended early");
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_commit_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let child = spawn_child(&path, round * 1_000_000);
        // The cut line's number could be a prefix of the true one; the last line is not trusted.
        let mut seen = kill_after(child, 40 + 67 * round);
        seen.pop();
        acknowledged.extend(seen);

        let store = Store::open(Options::new(&path)).await.unwrap();
        for (client, number) in &acknowledged {
            let key = format!("{client}/{number:08}");
            assert!(store.get::<Count>(&key).await.unwrap().is_some(), "{key} was acknowledged and is lost");
        }
        let documents = store.list::<Count>("", None, 10_000, Order::Ascending).await.unwrap().items.len();
        let events = store.events_after(0, 10_000).await.unwrap().len();
        assert_eq!(documents, events, "a transaction is there whole or not at all");
        let leases = store.claim("q", "parent", 1000, 10_000).await.unwrap();
        assert_eq!(leases.len(), documents, "the leases of the dead are free");
        let mut release = Txn::new();
        leases.iter().for_each(|lease| _ = release.release(lease, Timestamp::EPOCH));
        store.commit(release).await.unwrap();
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_is_kept_out_and_files_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(Options::new(&path)).await.unwrap();
    assert!(matches!(Store::open(Options::new(&path)).await, Err(StoreError::InUse(_))));
    let output = spawn_child(&path, 0).wait_with_output().unwrap();
    assert!(!output.status.success());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in std::fs::read_dir(&path).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    store.close().await;
    let error = store.get::<Count>("x").await.unwrap_err();
    assert!(matches!(error, StoreError::Closed));
    drop(Store::open(Options::new(&path)).await.unwrap());
    drop(Store::open(Options::new(&path)).await.unwrap());
}

fn count(client: usize, number: usize, size: usize) -> Count {
    Count { client, number, padding: "x".repeat(size) }
}

async fn create(store: &Store, count: Count) -> Result<(), StoreError> {
    let mut txn = Txn::new();
    txn.create(&count);
    store.commit(txn).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_database_fails_the_large_commit_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: Some(1 << 20), ..Options::new(folder.path()) };
    let store = Store::open(options.clone()).await.unwrap();
    create(&store, count(0, 0, 600_000)).await.unwrap();
    // Committed together, so that the large one fails in the middle of a group.
    let (a, large, b) = tokio::join!(
        create(&store, count(1, 1, 10)),
        create(&store, count(1, 2, 900_000)),
        create(&store, count(1, 3, 10)),
    );
    assert!(matches!(large, Err(StoreError::Storage(_))), "{large:?}");
    a.unwrap();
    b.unwrap();
    assert!(store.get::<Count>("1/00000002").await.unwrap().is_none(), "nothing half written");
    let old = store.get::<Count>("0/00000000").await.unwrap().unwrap();
    let mut txn = Txn::new();
    txn.delete(&old);
    store.commit(txn).await.unwrap();
    create(&store, count(1, 2, 600_000)).await.unwrap();
    store.close().await;
    let store = Store::open(options).await.unwrap();
    assert!(store.get::<Count>("1/00000002").await.unwrap().is_some(), "there is space again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_documents_give_their_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(folder.path())).await.unwrap();
    for number in 0..24 {
        create(&store, count(0, number, 1 << 20)).await.unwrap();
    }
    for number in 0..24 {
        let old = store.get::<Count>(&format!("0/{number:08}")).await.unwrap().unwrap();
        let mut txn = Txn::new();
        txn.delete(&old);
        store.commit(txn).await.unwrap();
    }
    // Nobody writes any more.
    let size_bytes = || std::fs::metadata(folder.path().join("towpath.db")).unwrap().len();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while size_bytes() >= 20 << 20 {
        assert!(std::time::Instant::now() < until, "{} bytes are still there", size_bytes());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for number in 0..400 {
        create(&store, count(1, number, 10)).await.unwrap();
    }
    store.close().await;
    let store = Store::open(Options::new(folder.path())).await.unwrap();
    assert_eq!(store.list::<Count>("", None, 500, Order::Ascending).await.unwrap().items.len(), 400);
}

/// Not a test: runs on a file system of 4 MiB that the test below mounts for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below"]
async fn on_a_small_disk() {
    let Ok(path) = std::env::var("TOWPATH_SMALL_DISK") else { return };
    let path = Path::new(&path);
    let store = Store::open(Options::new(path.join("store"))).await.unwrap();
    create(&store, count(0, 0, 1000)).await.unwrap();
    let ballast = path.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    let mut stored = 0;
    let failed = loop {
        match create(&store, count(1, stored, 1000)).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 10_000);
    };
    assert!(matches!(failed, StoreError::Storage(_)), "{failed:?}");
    assert!(create(&store, count(1, stored, 1000)).await.is_err(), "still full");
    assert!(store.get::<Count>("0/00000000").await.unwrap().is_some(), "reading goes on");
    std::fs::remove_file(&ballast).unwrap();
    drop(file);
    create(&store, count(2, 0, 1000)).await.unwrap();
    store.close().await;
    let store = Store::open(Options::new(path.join("store"))).await.unwrap();
    let documents = store.list::<Count>("", None, 10_000, Order::Ascending).await.unwrap().items.len();
    assert_eq!(documents, stored + 2, "what was acknowledged, and nothing that failed");
    println!("\nSMALL DISK DONE");
}

#[test]
fn a_full_disk_fails_commits_until_there_is_space_again() {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=4m tmpfs \"$TOWPATH_SMALL_DISK\" || exit 77; exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["on_a_small_disk", "--exact", "--ignored", "--nocapture"])
        .env("TOWPATH_SMALL_DISK", folder.path())
        .output();
    let Ok(output) = output else { return eprintln!("skipped: there is no unshare command") };
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(77) || (!output.status.success() && output.stdout.is_empty()) {
        return eprintln!("skipped: this machine lets nobody mount a tmpfs");
    }
    assert!(text.contains("SMALL DISK DONE"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn leases_of_others_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(Options::new(&path)).await.unwrap();
    let mut txn = Txn::new();
    txn.enqueue(Job::new("q", "a", Timestamp::EPOCH)).enqueue(Job::new("q", "b", Timestamp::EPOCH));
    store.commit(txn).await.unwrap();
    let other = format!("{}machine", towpath_store::OUTSIDE);
    let mut theirs = store.claim("q", &other, 3_600_000, 1).await.unwrap().pop().unwrap();
    let ours = store.claim("q", "process", 3_600_000, 1).await.unwrap().pop().unwrap();
    store.close().await;
    drop(store);
    let store = Store::open(Options::new(&path)).await.unwrap();
    let free = store.claim("q", "next", 3_600_000, 9).await.unwrap();
    assert_eq!(free.iter().map(|lease| &lease.key).collect::<Vec<_>>(), [&ours.key]);
    store.renew(&mut theirs, 3_600_000).await.unwrap();
    let mut txn = Txn::new();
    txn.complete(&theirs);
    store.commit(txn).await.unwrap();
    let mut txn = Txn::new();
    txn.complete(&ours);
    assert!(store.commit(txn).await.unwrap_err().is_lease_lost());
}

#[tokio::test]
async fn what_an_event_tells_of_the_time_does_not_set_the_stores_clock() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || Store::open(Options::new(folder.path().join("store"))).await.unwrap();
    let store = open().await;
    let before = store.now();
    let ahead = before.plus_millis(5 * 24 * 3_600_000);
    let told = ("000000000000", "us-east-1");
    let mut txn = Txn::new();
    txn.emit(Event::new("aws.test", "E", told, ahead, Vec::new(), serde_json::json!({})));
    store.commit(txn).await.unwrap();
    store.close().await;
    drop(store);
    let again = open().await;
    assert!(again.now() >= before);
    assert!(again.now() < before.plus_millis(24 * 3_600_000), "{} and {before}", again.now());
}
