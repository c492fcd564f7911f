//! Commits per second, against the least that durability can cost: append a record and fsync.
//! `cargo run --release -p towpath-store --example commits [FOLDER]`; the folder decides which disk, for
//! SQLite. `TMPDIR` decides for PostgreSQL, of which a cluster is started where Debian's package is there.

#![allow(clippy::unwrap_used)]

use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use towpath_api::Event;
use towpath_store::{Document, Job, Options, Store, Txn};
use towpath_test_cluster::Cluster;

const RUN: Duration = Duration::from_secs(3);

#[derive(Serialize, Deserialize)]
struct Build {
    client: usize,
    number: u64,
    log: String,
}

impl Document for Build {
    const KIND: &'static str = "bench/build";

    fn key(&self) -> String {
        format!("{}/{:012}", self.client, self.number)
    }
}

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(folder).unwrap();
    let bare = bare_fsyncs(&folder.path().join("bare"));
    println!("{:<34} {bare:>9.0}/s", "write 512 bytes + fdatasync");
    for clients in [1, 64] {
        let options = Options::new(folder.path().join(format!("store-{clients}")));
        report("SQLite", 1, clients, commits(&[options], clients).await, bare);
    }
    let cluster = Cluster::start(&["shared_buffers = 128MB"]);
    for (servers, clients) in [(1, 1), (1, 64), (3, 63)] {
        let options = Options::database(cluster.database());
        report("PostgreSQL", servers, clients, commits(&vec![options; servers], clients).await, bare);
    }
}

fn report(backend: &str, servers: usize, clients: usize, commits: f64, bare: f64) {
    let who = format!("{backend}, {servers} server(s), {clients} clients");
    println!("{who:<34} {commits:>9.0}/s   {:.2} x bare", commits / bare);
}

fn bare_fsyncs(path: &Path) -> f64 {
    let mut file = std::fs::File::create(path).unwrap();
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < RUN {
        file.write_all(&[b'x'; 512]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

/// Each commit writes a document, an event and a job: what a build's state change costs. Each server is a
/// store of its own on the same database.
async fn commits(servers: &[Options], clients: usize) -> f64 {
    let mut stores = Vec::new();
    for options in servers {
        stores.push(Store::open(options.clone()).await.unwrap());
    }
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let store = stores[client % stores.len()].clone();
            tokio::spawn(async move {
                let mut number = 0;
                while start.elapsed() < RUN {
                    let build = Build { client, number, log: "x".repeat(300) };
                    let detail = serde_json::json!({ "build": number });
                    let now = store.now();
                    let event = Event::new("bench", "Build", ("0", "r"), now, Vec::new(), detail);
                    let mut txn = Txn::new();
                    txn.put(&build).emit(event).enqueue(Job::new("bench", build.key(), now));
                    store.commit(txn).await.unwrap();
                    number += 1;
                }
                number
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap();
    }
    total as f64 / start.elapsed().as_secs_f64()
}
