//! Two nodes with a disk each, over one store and one place for packs: what becomes of a push when the other
//! node records one while it is under way.
//!
//! The slow push is held in its middle: its node has read what is recorded and waits for the rest of the pack.
//! Then a whole push goes through the other node, and only then the slow one goes on. So its transaction always
//! meets a record that has changed since.

use crate::support::{Tree, api, basic, join, run_git, serve, story, url};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use towpath_codecommit::CodeCommitService;
use towpath_store::blobs::Blobs;
use towpath_store::{Options, Store};

const NONE: &str = "0000000000000000000000000000000000000000";

struct Node {
    service: Arc<CodeCommitService>,
    data: PathBuf,
    address: String,
}

impl Node {
    async fn start(data: PathBuf, store: &Store, blobs: &Blobs) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service = join(&data, store, blobs, &address).await;
        tokio::spawn(serve(listener, service.clone()));
        Node { service, data, address }
    }

    fn url(&self) -> String {
        url(&self.address, "ann", "demo")
    }

    async fn tip(&self, branch: &str) -> Option<String> {
        let input = json!({ "repositoryName": "demo", "branchName": branch });
        let found = api(&self.service, "ann", "GetBranch", input).await.ok()?;
        Some(found["branch"]["commitId"].as_str().unwrap().to_owned())
    }

    /// Folders of pushes that are under way.
    fn pushes(&self) -> usize {
        std::fs::read_dir(self.data.join("pushes")).unwrap().count()
    }
}

struct Nodes {
    folder: tempfile::TempDir,
    store: Store,
    a: Node,
    b: Node,
}

impl Nodes {
    /// Both serve the repository `demo`.
    async fn new() -> Nodes {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(folder.path().join("store"))).await.unwrap();
        let blobs = Blobs::open(folder.path().join("blobs")).await.unwrap();
        let a = Node::start(folder.path().join("a"), &store, &blobs).await;
        let b = Node::start(folder.path().join("b"), &store, &blobs).await;
        api(&a.service, "ann", "CreateRepository", json!({ "repositoryName": "demo" })).await.unwrap();
        Nodes { folder, store, a, b }
    }

    /// A work tree with both nodes as its remotes `a` and `b`.
    async fn tree(&self, name: &str) -> Tree {
        let tree = Tree { path: self.folder.path().join(name) };
        std::fs::create_dir_all(&tree.path).unwrap();
        tree.git(&["init", "-q", "-b", "main"]).await;
        tree.git(&["remote", "add", "a", &self.a.url()]).await;
        tree.git(&["remote", "add", "b", &self.b.url()]).await;
        tree
    }

    /// Two trees with the same first commit, which is pushed.
    async fn two_trees(&self) -> (Tree, Tree, String) {
        let (one, two) = (self.tree("one").await, self.tree("two").await);
        let first = one.commit("file", "first").await;
        one.git(&["push", "-q", "a", "main"]).await;
        two.git(&["pull", "-q", "b", "main"]).await;
        (one, two, first)
    }

    /// Packs that the nodes share, whether listed or not.
    fn shared_packs(&self) -> usize {
        let (mut found, mut open) = (0, vec![self.folder.path().join("blobs")]);
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => open.push(entry.path()),
                    false => found += usize::from(entry.file_name().to_string_lossy().ends_with(".pack")),
                }
            }
        }
        found
    }

    /// Each copy is whole, and serves what is recorded.
    async fn agree_on(&self, branch: &str, commit: Option<&str>) {
        for node in [&self.a, &self.b] {
            assert_eq!(node.tip(branch).await.as_deref(), commit, "{branch} at {}", node.address);
            let listed =
                run_git(self.folder.path(), &["ls-remote", &node.url(), &format!("refs/heads/{branch}")])
                    .await;
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            assert_eq!(listed.split_whitespace().next(), commit, "git of {branch} at {}", node.address);
            for entry in std::fs::read_dir(node.data.join("repositories")).unwrap() {
                let done = run_git(&entry.unwrap().path(), &["fsck", "--full", "--strict"]).await;
                assert!(done.status.success(), "{done:?}");
            }
            assert_eq!(node.pushes(), 0, "nothing is left of a push");
        }
    }
}

/// One push as git sends it, of which the second half is still to come.
struct Held {
    stream: TcpStream,
    rest: Vec<u8>,
}

/// A move of a branch: from, to, name.
type Move<'a> = (&'a str, &'a str, &'a str);

impl Held {
    /// Returns once the node has read what is recorded.
    async fn begin(node: &Node, tree: &Tree, moves: &[Move<'_>]) -> Held {
        let mut body = Vec::new();
        for (at, (old, new, branch)) in moves.iter().enumerate() {
            let capabilities = if at == 0 { "\0report-status" } else { "" };
            let line = format!("{old} {new} refs/heads/{branch}{capabilities}\n");
            body.extend_from_slice(format!("{:04x}{line}", line.len() + 4).as_bytes());
        }
        body.extend_from_slice(b"0000");
        if moves.iter().any(|(_, new, _)| *new != NONE) {
            body.extend_from_slice(&pack(&tree.path, moves).await);
        }
        let head = format!(
            "POST /v1/repos/demo/git-receive-pack HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {}\r\n\
             Content-Type: application/x-git-receive-pack-request\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            node.address,
            basic("ann"),
            body.len()
        );
        let rest = body.split_off(body.len() - 10);
        let mut stream = TcpStream::connect(&node.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let seen = async {
            while node.pushes() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), seen).await.expect("the push is taken in");
        Held { stream, rest }
    }

    /// Sends the rest; what the node says.
    async fn finish(mut self) -> String {
        self.stream.write_all(&self.rest).await.unwrap();
        let mut answer = Vec::new();
        self.stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }
}

/// What the moves bring that their beginnings lack.
async fn pack(tree: &Path, moves: &[Move<'_>]) -> Vec<u8> {
    let lines = moves.iter().map(|(old, new, _)| {
        let lines = [(*new, ""), (*old, "^")].into_iter().filter(|(id, _)| *id != NONE);
        lines.map(|(id, mark)| format!("{mark}{id}\\n")).collect::<String>()
    });
    let script = format!("printf '{}' | git pack-objects --quiet --revs --stdout", lines.collect::<String>());
    let made =
        tokio::process::Command::new("sh").current_dir(tree).args(["-c", &script]).output().await.unwrap();
    assert!(made.status.success() && made.stdout.starts_with(b"PACK"), "{made:?}");
    made.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_that_move_one_branch_the_later_is_told_and_nothing_is_lost() {
    let nodes = Nodes::new().await;
    let (one, two, first) = nodes.two_trees().await;
    let (slow, fast) = (one.commit("slow", "s").await, two.commit("fast", "f").await);
    let held = Held::begin(&nodes.a, &one, &[(&first, &slow, "main")]).await;
    two.git(&["push", "-q", "b", "main"]).await;
    let said = held.finish().await;
    assert!(said.contains("unpack ok") && !said.contains("ok refs/heads/main"), "{said}");
    let reason = format!("ng refs/heads/main non-fast-forward: the reference moved to {}", &fast[..12]);
    assert!(said.contains(&reason) && said.contains("fetch first"), "{said}");
    nodes.agree_on("main", Some(&fast)).await;
    assert_eq!(story(&nodes.store).await, ["created main", "updated main"]);
    assert_eq!(nodes.shared_packs(), 2, "the loser's pack is gone at once");

    // Who lost still has all of it, and brings it after a fetch.
    one.git(&["pull", "-q", "--rebase", "a", "main"]).await;
    one.git(&["push", "-q", "a", "main"]).await;
    let merged = one.git(&["rev-parse", "HEAD"]).await;
    nodes.agree_on("main", Some(&merged)).await;
    two.git(&["pull", "-q", "b", "main"]).await;
    assert!(two.path.join("slow").exists() && two.path.join("fast").exists());
    assert_eq!(nodes.shared_packs(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_of_other_branches_are_recorded_on_top_of_each_other() {
    let nodes = Nodes::new().await;
    let (one, two, first) = nodes.two_trees().await;
    let (slow, fast) = (one.commit("slow", "s").await, two.commit("fast", "f").await);
    let held = Held::begin(&nodes.a, &one, &[(NONE, &slow, "slow")]).await;
    two.git(&["push", "-q", "b", "main"]).await;
    let said = held.finish().await;
    assert!(said.contains("ok refs/heads/slow"), "{said}");
    nodes.agree_on("slow", Some(&slow)).await;
    nodes.agree_on("main", Some(&fast)).await;
    assert_eq!(story(&nodes.store).await, ["created main", "updated main", "created slow"]);
    assert_eq!(nodes.shared_packs(), 3, "both are listed, and a third node could bring everything");
    let (third, blobs) =
        (nodes.folder.path().join("c"), Blobs::open(nodes.folder.path().join("blobs")).await.unwrap());
    let third = Node::start(third, &nodes.store, &blobs).await;
    let clone = Tree { path: nodes.folder.path().to_owned() };
    clone.git(&["clone", "-q", "-b", "slow", &third.url(), "clone"]).await;
    assert!(clone.path.join("clone/slow").exists());
    assert_eq!(third.tip("main").await, Some(fast));
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_which_one_branch_lost_is_lost_as_a_whole() {
    let nodes = Nodes::new().await;
    let (one, two, first) = nodes.two_trees().await;
    let (slow, fast) = (one.commit("slow", "s").await, two.commit("fast", "f").await);
    let moves = [(first.as_str(), slow.as_str(), "main"), (NONE, slow.as_str(), "other")];
    let held = Held::begin(&nodes.a, &one, &moves).await;
    two.git(&["push", "-q", "b", "main"]).await;
    let said = held.finish().await;
    assert!(said.contains("ng refs/heads/main non-fast-forward"), "{said}");
    assert!(
        said.contains("ng refs/heads/other another reference of this push moved meanwhile; fetch first"),
        "{said}"
    );
    nodes.agree_on("main", Some(&fast)).await;
    nodes.agree_on("other", None).await;
    assert_eq!(nodes.shared_packs(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_was_deleted_or_stands_in_the_way_meanwhile_is_told_too() {
    let nodes = Nodes::new().await;
    let (one, two, first) = nodes.two_trees().await;
    one.git(&["push", "-q", "a", "main:topic"]).await;
    let slow = one.commit("slow", "s").await;
    let held = Held::begin(&nodes.a, &one, &[(&first, &slow, "topic")]).await;
    two.git(&["push", "-q", "b", ":topic"]).await;
    let said = held.finish().await;
    assert!(
        said.contains("ng refs/heads/topic stale info: the reference was deleted while you pushed"),
        "{said}"
    );
    nodes.agree_on("topic", None).await;

    // `topic/x` and `topic` cannot both be.
    let held = Held::begin(&nodes.a, &one, &[(NONE, &slow, "topic/x")]).await;
    two.git(&["push", "-q", "b", "main:topic"]).await;
    let said = held.finish().await;
    assert!(said.contains("ng refs/heads/topic/x refs/heads/topic exists; fetch first"), "{said}");
    nodes.agree_on("topic", Some(&first)).await;
    nodes.agree_on("topic/x", None).await;

    // A repository that is gone takes nothing more.
    let held = Held::begin(&nodes.a, &one, &[(&first, &slow, "main")]).await;
    api(&nodes.b.service, "ann", "DeleteRepository", json!({ "repositoryName": "demo" })).await.unwrap();
    let said = held.finish().await;
    assert!(!said.contains("ok refs/heads/main"), "{said}");
    assert!(said.contains("ng refs/heads/main the server could not record the change"), "{said}");
}
