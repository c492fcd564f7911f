//! Refs and events are one truth, whenever the server dies.

use crate::support::{Tree, World, basic, open, run_git, serve, url};
use serde_json::json;

/// Moves a reference behind the server's back, as a git process does that outlives a killed server.
async fn push_unrecorded(world: &World, tree: &Tree, id: &str, refspec: &str, who: &str) {
    let pushed = tokio::process::Command::new("git")
        .current_dir(&tree.path)
        .env("GIT_CONFIG_GLOBAL", world.path("codecommit/gitconfig"))
        .env("GIT_COMMITTER_NAME", who)
        .env("GIT_COMMITTER_EMAIL", "request")
        .args(["push", "-q", "--force"])
        .arg(world.bare(id))
        .arg(refspec)
        .output()
        .await
        .unwrap();
    assert!(pushed.status.success(), "{pushed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_not_recorded_is_told_once_after_the_restart() {
    let world = World::new().await;
    let id = world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    let first = tree.commit("a", "1").await;
    tree.git(&["push", "-q", "origin", "main", "main:gone"]).await;
    let second = tree.commit("a", "2").await;
    let bob = "arn:aws:iam::000000000000:user/bob";
    push_unrecorded(&world, &tree, &id, "main", bob).await;
    let third = tree.commit("a", "3").await;
    push_unrecorded(&world, &tree, &id, "main", "arn:aws:iam::000000000000:user/cat").await;
    push_unrecorded(&world, &tree, &id, ":gone", bob).await;
    let before = world.story().await;
    assert_eq!(before, ["created gone", "created main"]);
    let branch = world.api("GetBranch", json!({ "repositoryName": "demo", "branchName": "main" })).await;
    assert_eq!(branch["branch"]["commitId"], json!(first), "the API shows what is recorded");

    let world = world.restart().await;
    assert_eq!(
        world.story().await[2..],
        ["deleted gone", "updated main", "updated main"],
        "every step of git's log is told"
    );
    let events = world.events().await;
    let told = |n: usize, member: &str| events[n].detail[member].as_str().unwrap_or_default().to_owned();
    assert_eq!((told(3, "oldCommitId"), told(3, "commitId")), (first, second.clone()));
    assert_eq!((told(4, "oldCommitId"), told(4, "commitId")), (second, third.clone()));
    assert_eq!(told(3, "callerUserArn"), bob, "with its author");
    let branch = world.api("GetBranch", json!({ "repositoryName": "demo", "branchName": "main" })).await;
    assert_eq!(branch["branch"]["commitId"], json!(third));

    let world = world.restart().await;
    assert_eq!(world.story().await.len(), 5, "and never again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_under_a_running_server_is_recorded_before_anyone_fetches_it() {
    let world = World::new().await;
    let id = world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    tree.commit("a", "1").await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    tree.commit("a", "2").await;
    push_unrecorded(&world, &tree, &id, "main", "arn:aws:iam::000000000000:user/bob").await;
    tree.git(&["fetch", "-q", "origin"]).await;
    assert_eq!(world.story().await, ["created main", "updated main"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_git_left_does_not_block_the_next_push() {
    let world = World::new().await;
    let id = world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    tree.commit("a", "1").await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    let bare = world.bare(&id);
    std::fs::write(bare.join("refs/heads/main.lock"), "").unwrap();
    std::fs::create_dir(bare.join("objects/tmp_objdir-incoming-left")).unwrap();
    let world = world.restart().await;
    assert!(!bare.join("objects/tmp_objdir-incoming-left").exists());
    tree.commit("a", "2").await;
    tree.git(&["push", "-q", &world.url("ann", "demo"), "main"]).await;
    assert_eq!(world.story().await, ["created main", "updated main"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_without_a_repository_go_and_deleted_ones_stay_gone() {
    let world = World::new().await;
    let kept = world.repository("kept").await;
    let deleted = world.repository("deleted").await;
    let abandoned = world.bare("11111111-1111-4111-8111-111111111111");
    std::fs::create_dir(&abandoned).unwrap();
    world.api("DeleteRepository", json!({ "repositoryName": "deleted" })).await;
    assert!(!world.bare(&deleted).exists());
    let world = world.restart().await;
    assert!(!abandoned.exists());
    assert!(world.bare(&kept).exists());
    assert_eq!(
        world.fails("GetRepository", json!({ "repositoryName": "deleted" })).await,
        "RepositoryDoesNotExist"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_in_the_middle_changes_nothing() {
    use tokio::io::AsyncWriteExt;
    let world = World::new().await;
    let id = world.repository("demo").await;
    let basic = basic("ann");
    let command =
        format!("{} {} refs/heads/main\0report-status side-band-64k", "0".repeat(40), "a".repeat(40));
    let body = format!("{:04x}{command}0000PACK\0\0\0\x02\0\0\0\x09", command.len() + 4);
    let mut stream = tokio::net::TcpStream::connect(&world.address).await.unwrap();
    let head = format!(
        "POST /v1/repos/demo/git-receive-pack HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {basic}\r\n\
         Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 100000\r\n\r\n",
        world.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    wait_until(|| quarantines(&world, &id) > 0).await;
    drop(stream);
    wait_until(|| quarantines(&world, &id) == 0).await;
    assert!(world.events().await.is_empty());
    let tree = world.work_tree("a", "demo").await;
    tree.commit("a", "1").await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    let check = run_git(&world.bare(&id), &["fsck", "--strict"]).await;
    assert!(check.status.success(), "{check:?}");
}

fn quarantines(world: &World, id: &str) -> usize {
    let entries = std::fs::read_dir(world.bare(id).join("objects")).unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("tmp_objdir")).count()
}

async fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it did not come to that");
}

const FOLDER: &str = "TOWPATH_TEST_SERVER_FOLDER";
const ADDRESS: &str = "TOWPATH_TEST_SERVER_ADDRESS";

/// A server in a process of its own, for the test below to kill; nothing unless that test starts it.
#[tokio::test(flavor = "multi_thread")]
async fn serve_until_killed() {
    let (Ok(folder), Ok(address)) = (std::env::var(FOLDER), std::env::var(ADDRESS)) else { return };
    let (service, _store) = open(std::path::Path::new(&folder), &address).await;
    let listener = tokio::net::TcpListener::bind(&address).await.unwrap();
    serve(listener, service).await;
}

async fn start_to_kill(folder: &std::path::Path, address: &str) -> tokio::process::Child {
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::serve_until_killed", "--nocapture"])
        .env(FOLDER, folder)
        .env(ADDRESS, address)
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    for _ in 0..1000 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return child;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the server does not start");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_pushes_loses_no_acknowledged_push_and_no_event() {
    let world = World::new().await;
    let id = world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    let folder = world.stop().await;
    let mut acknowledged = Vec::new();
    for round in 0..6u64 {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let mut server = start_to_kill(folder.path(), &address).await;
        let push_url = url(&address, "ann", "demo");
        let killing = tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(90 + 70 * round)).await;
            server.start_kill().unwrap();
            server.wait().await.unwrap();
        });
        for n in 0.. {
            let commit = tree.commit("file", format!("{round} {n}")).await;
            match tree.try_git(&["push", "-q", &push_url, "main"]).await {
                Ok(_) => acknowledged.push(commit),
                Err(_) => break,
            }
        }
        killing.await.unwrap();
    }
    let world = World::at(folder).await;
    tree.git(&["push", "-q", &world.url("ann", "demo"), "main"]).await;
    let mut tip = String::new();
    let mut told = Vec::new();
    for event in world.events().await {
        let text = |member: &str| event.detail[member].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("oldCommitId"), tip, "each event goes on where the last one ended");
        tip = text("commitId");
        told.push(tip.clone());
    }
    let disk = towpath_codecommit::git::repository::references(&world.bare(&id), None).unwrap();
    assert_eq!(disk["refs/heads/main"], tip);
    for commit in &acknowledged {
        assert!(told.contains(commit), "an acknowledged push has its event");
    }
    assert!(!acknowledged.is_empty());
}
