//! The API's operations, their answers and their errors.

use crate::support::{Tree, World, run_git};
use serde_json::{Value, json};
use towpath_api::id::{base64_decode, base64_encode};

fn b64(text: &str) -> String {
    base64_encode(text.as_bytes())
}

async fn put(world: &World, path: &str, content: &str, parent: Option<&str>) -> String {
    let mut input = json!({
        "repositoryName": "demo", "branchName": "main", "filePath": path, "fileContent": b64(content),
        "name": "Ann Lee", "email": "ann@example.com", "commitMessage": format!("Put {path}"),
    });
    if let Some(parent) = parent {
        input["parentCommitId"] = json!(parent);
    }
    world.api("PutFile", input).await["commitId"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn branches() {
    let world = World::new().await;
    world.repository("demo").await;
    let first = put(&world, "a.txt", "1", None).await;
    let branch = |name: &str| json!({ "repositoryName": "demo", "branchName": name });
    let with = |name: &str, commit: &str| json!({ "repositoryName": "demo", "branchName": name, "commitId": commit });
    world.api("CreateBranch", with("dev", &first)).await;
    world.api("CreateBranch", with("feature/x", &first)).await;
    let listed = world.api("ListBranches", json!({ "repositoryName": "demo" })).await;
    assert_eq!(listed["branches"], json!(["dev", "feature/x", "main"]));
    for (input, code) in [
        (with("dev", &first), "BranchNameExists"),
        (with("dev/below", &first), "BranchNameExists"),
        (with("bad..name", &first), "InvalidBranchName"),
        (with("new", "xyz"), "InvalidCommitId"),
        (with("new", &"a".repeat(40)), "CommitDoesNotExist"),
        (branch("new"), "CommitIdRequired"),
    ] {
        assert_eq!(world.fails("CreateBranch", input.clone()).await, code, "{input}");
    }
    assert_eq!(world.fails("GetBranch", branch("none")).await, "BranchDoesNotExist");
    assert_eq!(world.fails("DeleteBranch", branch("main")).await, "DefaultBranchCannotBeDeleted");
    let deleted = world.api("DeleteBranch", branch("dev")).await;
    assert_eq!(deleted["deletedBranch"], json!({ "branchName": "dev", "commitId": first }));
    assert_eq!(world.api("DeleteBranch", branch("dev")).await, json!({}));
    let default = json!({ "repositoryName": "demo", "defaultBranchName": "feature/x" });
    world.api("UpdateDefaultBranch", default).await;
    world.api("DeleteBranch", branch("main")).await;
    let clone = run_git(world.folder.path(), &["clone", "-q", &world.url("ann", "demo"), "b"]).await;
    assert!(clone.status.success());
    assert_eq!(Tree { path: world.path("b") }.git(&["branch", "--show-current"]).await, "feature/x");
    assert_eq!(
        world.story().await,
        ["created main", "created dev", "created feature/x", "deleted dev", "deleted main"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_put_read_and_deleted() {
    let world = World::new().await;
    world.repository("demo").await;
    let first = put(&world, "src/a.txt", "one", None).await;
    let second = put(&world, "/src/b.txt", "two", Some(&first)).await;
    let file = world.api("GetFile", json!({ "repositoryName": "demo", "filePath": "src/b.txt" })).await;
    assert_eq!(base64_decode(file["fileContent"].as_str().unwrap()).unwrap(), b"two");
    assert_eq!(
        (&file["fileMode"], &file["fileSize"], &file["commitId"]),
        (&json!("NORMAL"), &json!(3), &json!(second))
    );
    let old = json!({ "repositoryName": "demo", "filePath": "src/b.txt", "commitSpecifier": first });
    assert_eq!(world.fails("GetFile", old).await, "FileDoesNotExist");
    let blob = world.api("GetBlob", json!({ "repositoryName": "demo", "blobId": file["blobId"] })).await;
    assert_eq!(blob["content"], b64("two"));
    let folder = world.api("GetFolder", json!({ "repositoryName": "demo", "folderPath": "/" })).await;
    assert_eq!(folder["subFolders"][0]["absolutePath"], "src");
    let folder = world
        .api(
            "GetFolder",
            json!({ "repositoryName": "demo", "folderPath": "/src/", "commitSpecifier": "refs/heads/main" }),
        )
        .await;
    assert_eq!(folder["files"][1]["absolutePath"], "src/b.txt");
    assert_eq!(folder["files"][1]["relativePath"], "b.txt");

    let commit = world.api("GetCommit", json!({ "repositoryName": "demo", "commitId": second })).await;
    let commit = &commit["commit"];
    assert_eq!((&commit["message"], &commit["parents"]), (&json!("Put /src/b.txt"), &json!([first])));
    assert_eq!(
        (&commit["author"]["name"], &commit["author"]["email"]),
        (&json!("Ann Lee"), &json!("ann@example.com"))
    );
    assert!(commit["author"]["date"].as_str().unwrap().ends_with(" +0000"));

    let delete = json!({
        "repositoryName": "demo", "branchName": "main", "filePath": "src/a.txt", "parentCommitId": second,
    });
    let deleted = world.api("DeleteFile", delete).await;
    assert_eq!(deleted["filePath"], "src/a.txt");
    let third = deleted["commitId"].as_str().unwrap();
    let keep = json!({
        "repositoryName": "demo", "branchName": "main", "filePath": "src/b.txt", "parentCommitId": third,
        "keepEmptyFolders": true,
    });
    world.api("DeleteFile", keep).await;
    let folder = world.api("GetFolder", json!({ "repositoryName": "demo", "folderPath": "src" })).await;
    assert_eq!(folder["files"][0]["relativePath"], ".gitkeep");
    let clone = run_git(world.folder.path(), &["clone", "-q", &world.url("ann", "demo"), "b"]).await;
    assert!(clone.status.success(), "{clone:?}");
    let copy = Tree { path: world.path("b") };
    copy.git(&["fsck", "--strict"]).await;
    assert_eq!(copy.git(&["rev-list", "--count", "HEAD"]).await, "4");
    assert_eq!(world.story().await, ["created main", "updated main", "updated main", "updated main"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_that_fail() {
    let world = World::new().await;
    world.repository("demo").await;
    let first = put(&world, "dir/a.txt", "one", None).await;
    let tip = put(&world, "dir/b.txt", "two", Some(&first)).await;
    let tree = world.work_tree("t", "demo").await;
    tree.git(&["fetch", "-q", "origin"]).await;
    tree.git(&["push", "-q", "origin", "origin/main:refs/tags/v1"]).await;
    let story = world.story().await;
    let with = |changes: Value| {
        let mut input = json!({
            "repositoryName": "demo", "branchName": "main", "filePath": "x", "fileContent": "eA==", "parentCommitId": tip,
        });
        for (member, value) in changes.as_object().unwrap() {
            input[member] = value.clone();
        }
        input
    };
    for (changes, code) in [
        (json!({ "parentCommitId": null }), "ParentCommitIdRequired"),
        (json!({ "parentCommitId": "zzz" }), "InvalidParentCommitId"),
        (json!({ "parentCommitId": "a".repeat(40) }), "ParentCommitDoesNotExist"),
        (json!({ "parentCommitId": first }), "ParentCommitIdOutdated"),
        (json!({ "filePath": "dir/b.txt", "fileContent": b64("two") }), "SameFileContent"),
        (json!({ "filePath": "dir" }), "FileNameConflictsWithDirectoryName"),
        (json!({ "filePath": "dir/a.txt/x" }), "DirectoryNameConflictsWithFileName"),
        (json!({ "filePath": "../x" }), "InvalidPath"),
        (json!({ "filePath": ".git/config" }), "InvalidPath"),
        (json!({ "filePath": "a\u{0}b" }), "InvalidPath"),
        (json!({ "filePath": "x".repeat(5000) }), "InvalidPath"),
        (json!({ "filePath": null }), "PathRequired"),
        (json!({ "fileContent": null }), "FileContentRequired"),
        (json!({ "fileContent": b64(&"x".repeat((6 << 20) + 1)) }), "FileContentSizeLimitExceeded"),
        (json!({ "fileMode": "SETUID" }), "InvalidFileMode"),
        (json!({ "branchName": "none" }), "BranchDoesNotExist"),
        (json!({ "branchName": "v1" }), "BranchNameIsTagName"),
        (json!({ "branchName": "a b" }), "InvalidBranchName"),
        (json!({ "branchName": null }), "BranchNameRequired"),
        (json!({ "email": "a\n<b>" }), "InvalidEmail"),
        (json!({ "name": "x".repeat(1025) }), "NameLengthExceeded"),
        (json!({ "repositoryName": "none" }), "RepositoryDoesNotExist"),
    ] {
        let shown: String = changes.to_string().chars().take(100).collect();
        assert_eq!(world.fails("PutFile", with(changes)).await, code, "{shown}");
    }
    assert_eq!(world.story().await, story, "what failed changed nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_find_nothing() {
    let world = World::new().await;
    world.repository("demo").await;
    let tip = put(&world, "dir/a.txt", "one", None).await;
    for (operation, input, code) in [
        ("GetFile", json!({ "repositoryName": "demo", "filePath": "none" }), "FileDoesNotExist"),
        ("GetFile", json!({ "repositoryName": "demo", "filePath": "dir" }), "FileDoesNotExist"),
        (
            "GetFile",
            json!({ "repositoryName": "demo", "filePath": "x", "commitSpecifier": "none" }),
            "CommitDoesNotExist",
        ),
        (
            "GetFile",
            json!({ "repositoryName": "demo", "filePath": "x", "commitSpecifier": "a b" }),
            "InvalidCommit",
        ),
        ("GetFolder", json!({ "repositoryName": "demo", "folderPath": "dir/a.txt" }), "FolderDoesNotExist"),
        ("GetBlob", json!({ "repositoryName": "demo", "blobId": tip }), "BlobIdDoesNotExist"),
        ("GetBlob", json!({ "repositoryName": "demo", "blobId": "1" }), "InvalidBlobId"),
        (
            "GetCommit",
            json!({ "repositoryName": "demo", "commitId": "a".repeat(40) }),
            "CommitIdDoesNotExist",
        ),
        ("GetCommit", json!({ "repositoryName": "demo", "commitId": "main" }), "InvalidCommitId"),
        (
            "DeleteFile",
            json!({ "repositoryName": "demo", "branchName": "main", "filePath": "none", "parentCommitId": tip }),
            "FileDoesNotExist",
        ),
    ] {
        assert_eq!(world.fails(operation, input.clone()).await, code, "{operation} {input}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_commit_changes_many_files() {
    let world = World::new().await;
    world.repository("demo").await;
    let first = world
        .api("CreateCommit", json!({
            "repositoryName": "demo", "branchName": "main", "authorName": "Ann", "email": "ann@example.com",
            "commitMessage": "Begin",
            "putFiles": [
                { "filePath": "run.sh", "fileContent": b64("#!/bin/sh\n"), "fileMode": "EXECUTABLE" },
                { "filePath": "link", "fileContent": b64("run.sh"), "fileMode": "SYMLINK" },
                { "filePath": "old/one.txt", "fileContent": b64("1") },
                { "filePath": "gone/two.txt", "fileContent": b64("2") },
            ],
        }))
        .await;
    assert_eq!(first["filesAdded"].as_array().unwrap().len(), 4);
    let parent = first["commitId"].as_str().unwrap();
    let second = world
        .api("CreateCommit", json!({
            "repositoryName": "demo", "branchName": "main", "parentCommitId": parent, "keepEmptyFolders": true,
            "putFiles": [
                { "filePath": "new/one.txt", "sourceFile": { "filePath": "old/one.txt", "isMove": true } },
                { "filePath": "copy.sh", "sourceFile": { "filePath": "run.sh" } },
            ],
            "deleteFiles": [{ "filePath": "gone/two.txt" }],
            "setFileModes": [{ "filePath": "link", "fileMode": "NORMAL" }],
        }))
        .await;
    let paths = |member: &str| {
        let list = second[member].as_array().unwrap().clone();
        let mut paths: Vec<_> =
            list.iter().map(|file| file["absolutePath"].as_str().unwrap().to_owned()).collect();
        paths.sort();
        paths
    };
    assert_eq!(paths("filesAdded"), ["copy.sh", "gone/.gitkeep", "new/one.txt", "old/.gitkeep"]);
    assert_eq!(paths("filesUpdated"), ["link"]);
    assert_eq!(paths("filesDeleted"), ["gone/two.txt", "old/one.txt"]);
    run_git(world.folder.path(), &["clone", "-q", &world.url("ann", "demo"), "b"]).await;
    let copy = Tree { path: world.path("b") };
    let listed = copy.git(&["ls-tree", "-r", "--format=%(objectmode) %(path)", "HEAD"]).await;
    assert_eq!(
        listed,
        "100755 copy.sh\n100644 gone/.gitkeep\n100644 link\n100644 new/one.txt\n100644 old/.gitkeep\n100755 run.sh"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_fail() {
    let world = World::new().await;
    world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    tree.write("link", "x");
    tree.write("run.sh", "#!/bin/sh\n");
    let module = tree.commit("other", "x").await;
    let entry = format!("160000,{module},module");
    tree.git(&["update-index", "--add", "--cacheinfo", &entry]).await;
    tree.git(&["commit", "-q", "-m", "A submodule"]).await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    let tip = tree.git(&["rev-parse", "HEAD"]).await;
    for (changes, code) in [
        (json!({}), "FileEntryRequired"),
        (json!({ "putFiles": [{ "filePath": "x" }] }), "SourceFileOrContentRequired"),
        (
            json!({ "putFiles": [{ "filePath": "x", "fileContent": "", "sourceFile": { "filePath": "link" } }] }),
            "FileContentAndSourceFileSpecified",
        ),
        (
            json!({ "putFiles": [{ "filePath": "x", "fileContent": "" }, { "filePath": "/x", "fileContent": "" }] }),
            "PutFileEntryConflict",
        ),
        (
            json!({ "putFiles": [{ "filePath": "x", "fileContent": "" }], "deleteFiles": [{ "filePath": "x" }] }),
            "SamePathRequest",
        ),
        (
            json!({ "putFiles": [{ "filePath": "x", "sourceFile": { "filePath": "link" } }], "deleteFiles": [{ "filePath": "link" }] }),
            "RestrictedSourceFile",
        ),
        (
            json!({ "putFiles": [{ "filePath": "x", "sourceFile": { "filePath": "none" } }] }),
            "FileDoesNotExist",
        ),
        (json!({ "putFiles": [{ "filePath": "run.sh", "fileContent": b64("#!/bin/sh\n") }] }), "NoChange"),
        (
            json!({ "putFiles": [{ "filePath": "module", "fileContent": "" }] }),
            "FilePathConflictsWithSubmodulePath",
        ),
        (
            json!({ "putFiles": [{ "filePath": "module/x", "fileContent": "" }] }),
            "FilePathConflictsWithSubmodulePath",
        ),
        (json!({ "deleteFiles": [{ "filePath": "none" }] }), "FileDoesNotExist"),
        (json!({ "setFileModes": [{ "filePath": "none", "fileMode": "NORMAL" }] }), "FileDoesNotExist"),
        (json!({ "setFileModes": [{ "filePath": "link" }] }), "FileModeRequired"),
        (
            json!({ "deleteFiles": (0..101).map(|n| json!({ "filePath": n.to_string() })).collect::<Vec<_>>() }),
            "MaximumFileEntriesExceeded",
        ),
    ] {
        let mut input = json!({ "repositoryName": "demo", "branchName": "main", "parentCommitId": tip });
        input.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        assert_eq!(world.fails("CreateCommit", input).await, code, "{changes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_between_commits() {
    let world = World::new().await;
    world.repository("demo").await;
    let tree = world.work_tree("a", "demo").await;
    tree.write("keep", "same");
    tree.write("dir/changed", "1");
    let first = tree.commit("dir/gone", "x").await;
    std::fs::remove_file(tree.path.join("dir/gone")).unwrap();
    tree.write("dir/changed", "2");
    let second = tree.commit("dir/sub/new", "n").await;
    tree.git(&["push", "-q", "origin", "main"]).await;
    let ask = |extra: Value| {
        let mut input = json!({ "repositoryName": "demo", "beforeCommitSpecifier": first, "afterCommitSpecifier": "main" });
        input.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        input
    };
    let lines = |output: &Value| {
        let list = output["differences"].as_array().unwrap().clone();
        let path = |side: &Value| side["path"].as_str().unwrap_or("-").to_owned();
        let line = |d: &Value| {
            format!(
                "{} {} {}",
                d["changeType"].as_str().unwrap(),
                path(&d["beforeBlob"]),
                path(&d["afterBlob"])
            )
        };
        list.iter().map(line).collect::<Vec<_>>()
    };
    let all = world.api("GetDifferences", ask(json!({}))).await;
    let expected = ["M dir/changed dir/changed", "D dir/gone -", "A - dir/sub/new"];
    assert_eq!(lines(&all), expected);
    assert_eq!(all["differences"][0]["afterBlob"]["mode"], "100644");
    let mut paged = Vec::new();
    let mut token = Value::Null;
    loop {
        let page = world.api("GetDifferences", ask(json!({ "MaxResults": 1, "NextToken": token }))).await;
        paged.extend(lines(&page));
        token = page.get("NextToken").cloned().unwrap_or_default();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(paged, expected);
    let below = world
        .api("GetDifferences", ask(json!({ "afterPath": "dir/sub", "beforeCommitSpecifier": null })))
        .await;
    assert_eq!(lines(&below), ["A - dir/sub/new"]);
    let from_nothing = json!({ "repositoryName": "demo", "afterCommitSpecifier": second });
    assert_eq!(lines(&world.api("GetDifferences", from_nothing).await).len(), 3);
    assert_eq!(world.fails("GetDifferences", ask(json!({ "afterPath": "none" }))).await, "PathDoesNotExist");
    assert_eq!(world.fails("GetDifferences", ask(json!({ "MaxResults": 0 }))).await, "InvalidMaxResults");
    assert_eq!(world.fails("GetDifferences", json!({ "repositoryName": "demo" })).await, "CommitRequired");
    let unknown =
        world.fails("GetDifferences", ask(json!({ "beforeCommitSpecifier": "a".repeat(40) }))).await;
    assert_eq!(unknown, "CommitDoesNotExist");

    let batch = world
        .api("BatchGetCommits", json!({ "repositoryName": "demo", "commitIds": [second, "a".repeat(40)] }))
        .await;
    assert_eq!(batch["commits"][0]["parents"], json!([first]));
    assert_eq!(batch["errors"][0]["errorCode"], "CommitIdDoesNotExistException");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_at_once_one_wins() {
    let world = std::sync::Arc::new(World::new().await);
    world.repository("demo").await;
    let first = put(&world, "a", "0", None).await;
    let mut writers = Vec::new();
    for n in 0..5 {
        let (world, parent) = (world.clone(), first.clone());
        writers.push(tokio::spawn(async move {
            let input = json!({
                "repositoryName": "demo", "branchName": "main", "filePath": format!("f{n}"), "fileContent": "eA==",
                "parentCommitId": parent,
            });
            world.api_as("ann", "PutFile", input).await.map(drop).map_err(|error| error.code.into_owned())
        }));
    }
    let mut results = Vec::new();
    for writer in writers {
        results.push(writer.await.unwrap());
    }
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    let outdated = Err("ParentCommitIdOutdatedException".to_owned());
    assert_eq!(results.iter().filter(|result| **result == outdated).count(), 4, "{results:?}");
    assert_eq!(world.story().await, ["created main", "updated main"]);
}
