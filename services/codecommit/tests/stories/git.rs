//! Git itself: clone, fetch, push, and what a push is told.

use crate::support::{PASSWORD, SECRET, Tree, World, run_git};
use serde_json::json;
use std::process::Stdio;

#[tokio::test(flavor = "multi_thread")]
async fn a_project_travels_to_the_server_and_back() {
    let world = World::new().await;
    world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    let first = tree.commit("src/main.rs", "fn main() {}\n").await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    let second = tree.commit("README.md", "# Demo\n").await;
    tree.git(&["tag", "-a", "v1", "-m", "One"]).await;
    tree.git(&["push", "-q", "origin", "main", "v1"]).await;
    tree.git(&["push", "-q", "origin", "main:feature/x"]).await;
    tree.git(&["push", "-q", "origin", ":feature/x"]).await;

    run_git(world.folder.path(), &["clone", "-q", &world.url("rae", "demo"), "b"]).await;
    let copy = Tree { path: world.path("b") };
    assert_eq!(copy.git(&["rev-parse", "HEAD"]).await, second);
    assert_eq!(copy.git(&["symbolic-ref", "--short", "HEAD"]).await, "main");
    assert_eq!(copy.git(&["rev-parse", "v1^{commit}"]).await, second);
    copy.git(&["fsck", "--strict"]).await;

    assert_eq!(
        world.story().await,
        ["created main", "updated main", "created v1", "created feature/x", "deleted feature/x"]
    );
    let events = world.events().await;
    let updated = &events[1].detail;
    assert_eq!(
        (updated["oldCommitId"].as_str(), updated["commitId"].as_str()),
        (Some(&*first), Some(&*second))
    );
    assert_eq!(updated["callerUserArn"], "arn:aws:iam::000000000000:user/ann");
    assert_eq!(events[1].resources, ["arn:aws:codecommit:us-east-1:000000000000:demo"]);
    assert_eq!(events[1].source, "aws.codecommit");
    assert_eq!(events[1].detail_type, "CodeCommit Repository State Change");
    assert_eq!(events[2].detail["commitId"], json!(second), "an annotated tag tells its commit");
    assert_eq!(events[4].detail["callerUserArn"], "arn:aws:iam::000000000000:user/ann");
    let shown = world.api("GetRepository", json!({ "repositoryName": "demo" })).await;
    assert_eq!(shown["repositoryMetadata"]["defaultBranch"], "main");
}

#[tokio::test(flavor = "multi_thread")]
async fn shallow_and_partial_clones_and_every_protocol() {
    let world = World::new().await;
    world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    for n in 0..5 {
        tree.commit("file.txt", format!("{n}\n").repeat(1000)).await;
    }
    tree.git(&["push", "-q", "origin", "main"]).await;
    let url = world.url("ann", "demo");
    for protocol in ["0", "1", "2"] {
        let config = format!("protocol.version={protocol}");
        let name = format!("p{protocol}");
        let clone = run_git(world.folder.path(), &["-c", &config, "clone", "-q", &url, &name]).await;
        assert!(clone.status.success(), "{clone:?}");
        let copy = Tree { path: world.path(&name) };
        copy.commit("other.txt", protocol).await;
        copy.git(&["-c", &config, "push", "-q", "origin", &format!("HEAD:from-{protocol}")]).await;
        tree.git(&["-c", &config, "fetch", "-q"]).await;
    }
    let shallow = run_git(world.folder.path(), &["clone", "-q", "--depth", "2", &url, "shallow"]).await;
    assert!(shallow.status.success(), "{shallow:?}");
    let shallow = Tree { path: world.path("shallow") };
    assert_eq!(shallow.git(&["rev-list", "--count", "HEAD"]).await, "2");
    shallow.commit("more.txt", "from a shallow clone").await;
    shallow.git(&["push", "-q", "origin", "HEAD:from-shallow"]).await;
    shallow.git(&["fetch", "-q", "--unshallow"]).await;

    let partial = ["clone", "-q", "--filter=blob:none", "--no-checkout", &url, "partial"];
    assert!(run_git(world.folder.path(), &partial).await.status.success());
    let partial = Tree { path: world.path("partial") };
    let missing = partial.git(&["rev-list", "--objects", "--missing=print", "--all"]).await;
    assert!(missing.contains("\n?") || missing.starts_with('?'), "blobs stayed behind");
    partial.git(&["checkout", "-q", "main"]).await;
    assert_eq!(std::fs::read_to_string(partial.path.join("file.txt")).unwrap(), "4\n".repeat(1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_push_streams() {
    let world = World::new().await;
    world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    let mut noise = Vec::with_capacity(24 << 20);
    while noise.len() < 24 << 20 {
        noise.extend_from_slice(&towpath_api::id::random_bytes::<4096>());
    }
    let commit = tree.commit("noise.bin", &noise).await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    run_git(world.folder.path(), &["clone", "-q", &world.url("ann", "demo"), "b"]).await;
    let copy = Tree { path: world.path("b") };
    assert_eq!(copy.git(&["rev-parse", "HEAD"]).await, commit);
    assert_eq!(std::fs::read(copy.path.join("noise.bin")).unwrap(), noise);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_known_or_not_allowed_is_told_so() {
    let world = World::new().await;
    let id = world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    tree.commit("a", "a").await;
    let push = |url: String| {
        let tree = tree.clone();
        async move { tree.try_git(&["push", &url, "main"]).await.unwrap_err() }
    };
    let plain = format!("http://{}/v1/repos/demo", world.address);
    assert!(push(plain.clone()).await.contains("could not read Username"));
    assert!(push(world.url("ann", "demo").replace("pass", "fail")).await.contains("Authentication failed"));
    let denied = push(world.url("rae", "demo")).await;
    assert!(
        denied.contains("is not authorized to perform: codecommit:GitPush on resource: arn:aws:codecommit"),
        "{denied}"
    );
    assert!(denied.contains("403"), "{denied}");
    let unseen = tree.try_git(&["fetch", &world.url("bob", "demo")]).await.unwrap_err();
    assert!(unseen.contains("codecommit:GitPull") && unseen.contains("403"), "{unseen}");
    let hidden = tree.try_git(&["fetch", &world.url("bob", "nothing")]).await.unwrap_err();
    assert!(hidden.contains("403"), "what exists is not told to those who may not: {hidden}");
    let missing = push(world.url("ann", "nothing")).await;
    assert!(missing.contains("not found"), "{missing}");
    assert!(world.events().await.is_empty());
    let refs = towpath_codecommit::git::repository::references(&world.bare(&id), None).unwrap();
    assert!(refs.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_protects_a_branch_and_the_push_says_so() {
    let world = World::new().await;
    world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    tree.commit("a", "a").await;
    let url = world.url("pat", "demo");
    let told = tree.try_git(&["push", &url, "main", "main:dev"]).await.unwrap_err();
    assert!(told.contains("[remote rejected] main -> main"), "{told}");
    assert!(told.contains("explicit deny"), "{told}");
    assert!(told.contains("[new branch]      main -> dev"), "{told}");
    assert_eq!(world.story().await, ["created dev"]);
    let told = tree.try_git(&["push", "--atomic", &url, "main", "main:other"]).await.unwrap_err();
    assert!(told.contains("explicit deny"), "{told}");
    assert_eq!(world.story().await, ["created dev"]);
    let told = tree.try_git(&["push", &url, "main"]).await.unwrap_err();
    assert!(
        told.contains("remote: error: refs/heads/main: User: arn:aws:iam::000000000000:user/pat"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_branch_stays_and_bad_names_do_not_come() {
    let world = World::new().await;
    world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    tree.commit("a", "a").await;
    tree.git(&["push", "-q", "origin", "main", "main:dev"]).await;
    let told = tree.try_git(&["push", "origin", ":main"]).await.unwrap_err();
    assert!(told.contains("remote rejected") && told.contains("deletion of the current branch"), "{told}");
    let long = format!("main:refs/heads/{}", "x".repeat(257));
    let told = tree.try_git(&["push", "origin", &long]).await.unwrap_err();
    assert!(told.contains("invalid reference name"), "{told}");
    let told = tree.try_git(&["push", "origin", "main:refs/toplevel"]).await.unwrap_err();
    assert!(told.contains("invalid reference name"), "{told}");
    let told = tree.try_git(&["push", "origin", "main:dev/below"]).await.unwrap_err();
    assert!(told.contains("remote rejected"), "{told}");
    assert_eq!(world.story().await, ["created dev", "created main"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pushes_at_once_one_wins_and_the_other_is_told() {
    let world = World::new().await;
    let id = world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    tree.commit("a", "a").await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    let (mut copies, mut pushes) = (Vec::new(), Vec::new());
    for n in 0..4 {
        let name = format!("c{n}");
        run_git(world.folder.path(), &["clone", "-q", &world.url("ann", "demo"), &name]).await;
        let copy = Tree { path: world.path(&name) };
        copy.commit(&name, "mine").await;
        copies.push(copy);
    }
    for copy in copies {
        pushes.push(tokio::spawn(async move { copy.try_git(&["push", "origin", "main"]).await }));
    }
    let mut lost = Vec::new();
    for push in pushes {
        lost.extend(push.await.unwrap().err());
    }
    assert_eq!(lost.len(), 3);
    for told in lost {
        assert!(told.contains("non-fast-forward") || told.contains("fetch first"), "{told}");
    }
    assert_eq!(world.story().await, ["created main", "updated main"]);
    let disk = towpath_codecommit::git::repository::references(&world.bare(&id), None).unwrap();
    let events = world.events().await;
    assert_eq!(events[1].detail["commitId"], json!(disk["refs/heads/main"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn force_pushes_and_mirrors_as_git_has_them() {
    let world = World::new().await;
    world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    tree.commit("a", "a").await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    tree.git(&["commit", "-q", "--amend", "-m", "Another first"]).await;
    assert!(tree.try_git(&["push", "origin", "main"]).await.unwrap_err().contains("non-fast-forward"));
    tree.git(&["push", "-q", "--force", "origin", "main"]).await;
    tree.git(&["notes", "add", "-m", "A note"]).await;
    tree.git(&["push", "-q", "--mirror", "origin"]).await;
    // Notes travel, but are no event.
    assert_eq!(world.story().await, ["created main", "updated main"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_and_broken_objects_of_a_push_do_nothing() {
    let world = World::new().await;
    let id = world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    tree.write("hooks/post-receive", "#!/bin/sh\nexit 1\n");
    tree.commit("config", "[core]\n\thooksPath = hooks\n").await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    let bare = world.bare(&id);
    std::fs::create_dir_all(bare.join("hooks")).unwrap();
    let marker = world.path("ran");
    std::fs::write(bare.join("hooks/pre-receive"), format!("#!/bin/sh\ntouch {}\n", marker.display()))
        .unwrap();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bare.join("hooks/pre-receive"), permissions).unwrap();
    tree.commit("b", "b").await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    assert!(!marker.exists(), "no hook runs, not even one inside the repository");

    // A tree that would write into .git of whoever checks it out.
    let blob = tree.git(&["hash-object", "-w", "b"]).await;
    let evil = mktree(&tree, &format!("100644 blob {blob}\tconfig\n")).await;
    let root = mktree(&tree, &format!("040000 tree {evil}\t.git\n")).await;
    let commit = tree.git(&["commit-tree", "-m", "evil", &root]).await;
    let told = tree.try_git(&["push", "origin", &format!("{commit}:refs/heads/evil")]).await.unwrap_err();
    assert!(told.contains("hasDotgit") || told.contains("unpack") || told.contains("index-pack"), "{told}");
    assert_eq!(world.story().await, ["created main", "updated main"]);
}

async fn mktree(tree: &Tree, lines: &str) -> String {
    use tokio::io::AsyncWriteExt;
    let mut child = tokio::process::Command::new("git")
        .current_dir(&tree.path)
        .arg("mktree")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).await.unwrap();
    String::from_utf8(child.wait_with_output().await.unwrap().stdout).unwrap().trim().to_owned()
}

/// Signs like git-remote-codecommit and the aws CLI's helper: with the host's port, and without.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_takes_the_place_of_a_password() {
    let world = World::new().await;
    world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    tree.commit("a", "a").await;
    let now = towpath_api::Clock::now(&towpath_api::SystemClock);
    let url = |user: &str, at: towpath_api::Timestamp, host: &str| {
        let password = sign(at, host, "/v1/repos/demo");
        format!("http://{user}:{password}@{}/v1/repos/demo", world.address)
    };
    let host = world.address.split(':').next().unwrap().to_owned();
    tree.git(&["push", "-q", &url("AKIAann", now, &host), "main"]).await;
    tree.git(&["push", "-q", &url("AKIAann%25token", now, &world.address), "main:dev"]).await;
    let refused = |url: String| {
        let tree = tree.clone();
        async move { tree.try_git(&["push", &url, "main:late"]).await.unwrap_err() }
    };
    assert!(
        refused(url("AKIAann", now.plus_millis(-16 * 60_000), &host)).await.contains("Authentication failed")
    );
    assert!(
        refused(url("AKIAann", now.plus_millis(16 * 60_000), &host)).await.contains("Authentication failed")
    );
    assert!(refused(url("AKIAann", now, "elsewhere")).await.contains("Authentication failed"));
    assert!(refused(url("AKIAnobody", now, &host)).await.contains("Authentication failed"));
    assert!(refused(url("AKIAann%25bad", now, &host)).await.contains("Authentication failed"));
    assert_eq!(world.story().await, ["created main", "created dev"]);
    assert_ne!(PASSWORD, SECRET);
}

fn sign(at: towpath_api::Timestamp, host: &str, path: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::{Digest, Sha256};
    let keyed = |key: &[u8], data: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(data.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let (date, time) = (at.format("%Y%m%d"), at.format("%Y%m%dT%H%M%S"));
    let request = format!("GIT\n{path}\n\nhost:{host}\n\nhost\n");
    let hash = towpath_api::id::hex(&Sha256::digest(request));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{date}/us-east-1/codecommit/aws4_request\n{hash}");
    let key = [date.as_str(), "us-east-1", "codecommit", "aws4_request"]
        .iter()
        .fold(format!("AWS4{SECRET}").into_bytes(), |key, part| keyed(&key, part));
    format!("{time}Z{}", towpath_api::id::hex(&keyed(&key, &text)))
}

#[tokio::test(flavor = "multi_thread")]
async fn many_references_go_at_once_and_too_many_not_at_all() {
    let world = World::new().await;
    let id = world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    let commit = tree.commit("a", "a").await;
    for n in 0..30 {
        tree.git(&["tag", &format!("t{n:02}")]).await;
    }
    tree.git(&["push", "-q", "origin", "main", "--tags"]).await;
    assert_eq!(world.events().await.len(), 31);
    let packed = std::fs::read_to_string(world.bare(&id).join("packed-refs")).unwrap();
    assert!(packed.contains("refs/tags/t29"), "they are flushed in one file");
    tree.git(&["push", "-q", "origin", ":t00", "main:next"]).await;
    assert_eq!(world.story().await[31..], ["created next", "deleted t00"]);

    let mut section = String::new();
    for n in 0..4001 {
        let capabilities = if n == 0 { "\0report-status" } else { "" };
        let line = format!("{} {commit} refs/heads/b{n}{capabilities}", "0".repeat(40));
        section += &format!("{:04x}{line}", line.len() + 4);
    }
    section += "0000";
    let told = world
        .post("demo/git-receive-pack", "application/x-git-receive-pack-request", section.as_bytes())
        .await;
    assert!(told.contains("unpack a push may change at most 4000 references"), "{told}");
    assert_eq!(world.events().await.len(), 33);
}
