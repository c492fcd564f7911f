//! What pipelines and builds get.

use crate::support::{Tree, World, call};
use towpath_api::Sources;
use towpath_api::sources::{ArchiveFormat, CloneDepth, Revision};

async fn world() -> (World, Tree, String, String) {
    let world = World::new().await;
    world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    tree.write(".gitattributes", "secret.txt export-ignore\nid.txt export-subst\n*.crlf eol=crlf\n");
    tree.write("secret.txt", "kept");
    tree.write("id.txt", "$Format:%H$\n");
    tree.write("a.crlf", "one\ntwo\n");
    tree.write("run.sh", "#!/bin/sh\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(tree.path.join("run.sh"), executable).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", tree.path.join("link")).unwrap();
    let first = tree.commit("deep/er/file", "content").await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    let second = tree.commit("deep/other", "more").await;
    tree.git(&["tag", "-a", "v1", "-m", "One"]).await;
    tree.git(&["push", "-q", "origin", "main", "v1"]).await;
    (world, tree, first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_found_with_its_message_and_author() {
    let (world, _, first, second) = world().await;
    let ann = call("ann");
    for revision in
        [Revision::Branch("main".into()), Revision::Tag("v1".into()), Revision::Commit(second.clone())]
    {
        let found = world.service.commit(&ann, "demo", &revision).await.unwrap();
        assert_eq!(found.commit_id, second, "{revision:?}");
        assert_eq!(found.parents, std::slice::from_ref(&first));
        assert_eq!(found.message, "Change deep/other\n");
        assert_eq!((found.author.name.as_str(), found.author.email.as_str()), ("Ann", "ann@example.com"));
        assert_eq!(found.clone_url_http, format!("http://{}/v1/repos/demo", world.address));
    }
    for (revision, code) in [
        (Revision::Branch("none".into()), "BranchDoesNotExistException"),
        (Revision::Tag("none".into()), "CommitDoesNotExistException"),
        (Revision::Commit("a".repeat(40)), "CommitDoesNotExistException"),
        (Revision::Branch("../x".into()), "InvalidBranchNameException"),
    ] {
        assert_eq!(
            world.service.commit(&ann, "demo", &revision).await.unwrap_err().code,
            code,
            "{revision:?}"
        );
    }
    let missing = world.service.commit(&ann, "none", &Revision::Branch("main".into())).await.unwrap_err();
    assert_eq!(missing.code, "RepositoryDoesNotExistException");
    assert_eq!(
        world.service.changed_paths(&ann, "demo", Some(&first), &second).await.unwrap(),
        ["deep/other"]
    );
    assert_eq!(world.service.changed_paths(&ann, "demo", None, &first).await.unwrap().len(), 7);
}

fn assert_files(folder: &std::path::Path) {
    assert_eq!(std::fs::read_to_string(folder.join("deep/er/file")).unwrap(), "content");
    assert_eq!(
        std::fs::read_to_string(folder.join("secret.txt")).unwrap(),
        "kept",
        "export-ignore has no say"
    );
    assert_eq!(std::fs::read_to_string(folder.join("id.txt")).unwrap(), "$Format:%H$\n");
    assert_eq!(std::fs::read_to_string(folder.join("a.crlf")).unwrap(), "one\ntwo\n");
    assert_eq!(std::fs::read_link(folder.join("link")).unwrap().to_str(), Some("/etc/passwd"));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(folder.join("run.sh")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o111, 0o111);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_exported_as_it_was_committed() {
    let (world, _, first, second) = world().await;
    let ann = call("ann");
    let out = world.path("out");
    let found = world.service.checkout(&ann, "demo", &Revision::Commit(first.clone()), &out).await.unwrap();
    assert_eq!(found.commit_id, first);
    assert_files(&out);
    assert!(!out.join("deep/other").exists() && !out.join(".git").exists());
    let again = world.service.checkout(&ann, "demo", &Revision::Commit(first), &out).await;
    assert!(again.is_err(), "a folder with something in it is not touched");

    let main = Revision::Branch("main".into());
    let zip = world.path("out.zip");
    let found = world.service.archive(&ann, "demo", &main, ArchiveFormat::Zip, &zip).await.unwrap();
    assert_eq!(found.commit_id, second);
    assert!(std::fs::read(&zip).unwrap().starts_with(b"PK"));
    assert!(world.service.archive(&ann, "demo", &main, ArchiveFormat::Zip, &zip).await.is_err());
    let tar = world.path("out.tar");
    world.service.archive(&ann, "demo", &main, ArchiveFormat::Tar, &tar).await.unwrap();
    let unpacked = world.path("untar");
    std::fs::create_dir(&unpacked).unwrap();
    let status =
        std::process::Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(&unpacked).status().unwrap();
    assert!(status.success());
    assert_files(&unpacked);
    let left: Vec<_> =
        std::fs::read_dir(world.folder.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("towpath-index")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_has_history_and_its_origin() {
    let (world, _, first, second) = world().await;
    let ann = call("ann");
    let plans = [
        ("full", Revision::Branch("main".into()), CloneDepth::Full, "2", &second),
        ("shallow", Revision::Branch("main".into()), CloneDepth::Shallow(1), "1", &second),
        ("old", Revision::Commit(first.clone()), CloneDepth::Full, "1", &first),
        ("tag", Revision::Tag("v1".into()), CloneDepth::Shallow(2), "2", &second),
    ];
    for (name, revision, depth, count, commit) in plans {
        let folder = world.path(name);
        world.service.clone_to(&ann, "demo", &revision, depth, &folder).await.unwrap();
        let clone = Tree { path: folder };
        assert_eq!(&clone.git(&["rev-parse", "HEAD"]).await, commit, "{name}");
        assert_eq!(clone.git(&["rev-list", "--count", "HEAD"]).await, count, "{name}");
        let origin = clone.git(&["remote", "get-url", "origin"]).await;
        assert_eq!(origin, format!("http://{}/v1/repos/demo", world.address));
        assert_eq!(clone.git(&["status", "--porcelain"]).await, "", "{name}");
        let branch = clone.git(&["branch", "--show-current"]).await;
        assert_eq!(branch, if matches!(revision, Revision::Branch(_)) { "main" } else { "" });
        assert!(!clone.path.join(".git/objects/info/alternates").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_read_asks_for_its_own_permission() {
    let (world, _, first, _) = world().await;
    let main = Revision::Branch("main".into());
    let (bob, rae) = (call("bob"), call("rae"));
    let out = world.path("denied");
    let denials = [
        world.service.default_branch(&bob, "demo").await.map(drop),
        world.service.commit(&bob, "demo", &main).await.map(drop),
        world.service.changed_paths(&bob, "demo", None, &first).await.map(drop),
        world.service.checkout(&bob, "demo", &main, &out).await.map(drop),
        world.service.clone_to(&bob, "demo", &main, CloneDepth::Full, &out).await.map(drop),
        world.service.archive(&bob, "demo", &main, ArchiveFormat::Zip, &out).await.map(drop),
        // GitPull does not stand for UploadArchive.
        world.service.archive(&rae, "demo", &main, ArchiveFormat::Zip, &out).await.map(drop),
    ];
    for denial in denials {
        assert_eq!(denial.unwrap_err().code, "AccessDeniedException");
    }
    assert!(!out.exists());
    assert_eq!(world.service.default_branch(&rae, "demo").await.unwrap().as_deref(), Some("main"));
    world.service.checkout(&rae, "demo", &main, &out).await.unwrap();
}
