//! A large push gets its bitmaps by itself; what is served and what the API reads stays the same meanwhile.

use crate::support::{Tree, World, run_git};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use towpath_durable::Shutdown;

/// Content that does not compress, the same each time.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(bytes).collect()
}

fn names(bare: &Path) -> Vec<String> {
    let folders = ["objects/pack", "objects/info"].map(|folder| bare.join(folder));
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().flatten());
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn count(bare: &Path, ending: &str) -> usize {
    names(bare).iter().filter(|name| name.ends_with(ending)).count()
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let come = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(120), come).await.is_ok(), "not in time: {what}");
}

async fn whole(bare: &Path) {
    let done = run_git(bare, &["fsck", "--full", "--strict"]).await;
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    let done = run_git(bare, &["multi-pack-index", "verify", "--no-progress"]).await;
    assert!(done.status.success(), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_push_gets_bitmaps_and_serves_on() {
    let world = World::new().await;
    let id = world.repository("demo").await;
    let bare = world.bare(&id);
    let (shutdown, tree) = (Shutdown::new(), world.work_tree("a", "demo").await);
    let running = tokio::spawn(world.service.clone().run(shutdown.clone()));

    tree.commit("small", noise(1, 2 << 20)).await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    for number in 0..3 {
        tree.write(&format!("large{number}"), noise(2 + number, 2 << 20));
    }
    let first = tree.commit("word", "one").await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    until("bitmaps", || count(&bare, ".bitmap") == 1 && count(&bare, "commit-graph") == 1).await;
    whole(&bare).await;

    // Half as much again, in the middle of clones: the bitmaps follow.
    let index = std::fs::read(bare.join("objects/pack/multi-pack-index")).unwrap();
    let clones = Tree { path: world.path("") };
    let url = world.url("ann", "demo");
    let cloning = async {
        for number in 0..5 {
            clones.git(&["clone", "-q", "--bare", &url, &format!("clone{number}")]).await;
        }
    };
    let pushing = async {
        for number in 0..2 {
            tree.commit(&format!("more{number}"), noise(10 + number, 2 << 20)).await;
            tree.git(&["push", "-q", "origin", "main"]).await;
        }
    };
    tokio::join!(cloning, pushing);
    until("new bitmaps", || {
        std::fs::read(bare.join("objects/pack/multi-pack-index")).is_ok_and(|now| now != index)
    })
    .await;
    let last = tree.commit("word", "two").await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    clones.git(&["clone", "-q", &url, "after"]).await;
    assert_eq!(std::fs::read(world.path("after/large2")).unwrap(), noise(4, 2 << 20));
    let after = Tree { path: world.path("after") };
    assert_eq!(after.git(&["rev-parse", "HEAD"]).await, last);
    after.git(&["fsck", "--strict"]).await;
    for (commit, content) in [(&first, "b25l"), (&last, "dHdv")] {
        let input = json!({ "repositoryName": "demo", "filePath": "word", "commitSpecifier": commit });
        assert_eq!(
            world.api("GetFile", input).await["fileContent"],
            json!(content),
            "the API reads by the index"
        );
    }
    until("upkeep is over", || {
        !names(&bare).iter().any(|name| name.contains("tmp") || name.ends_with(".lock"))
    })
    .await;
    whole(&bare).await;
    assert_eq!(count(&bare, ".bitmap"), 1, "the old one is gone");
    shutdown.trigger();
    running.await.unwrap();
}
