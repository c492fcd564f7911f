//! Every operation, asked by someone without policies: denied, and nothing changed.

use crate::support::World;
use serde_json::{Value, json};
use towpath_api_codecommit::MODEL;

fn input(operation: &str, commit: &str) -> Value {
    let arn = "arn:aws:codecommit:us-east-1:000000000000:demo";
    match operation {
        "BatchGetCommits" => json!({ "repositoryName": "demo", "commitIds": [commit] }),
        "BatchGetRepositories" => json!({ "repositoryNames": ["demo"] }),
        "CreateBranch" => json!({ "repositoryName": "demo", "branchName": "new", "commitId": commit }),
        "CreateCommit" => json!({
            "repositoryName": "demo", "branchName": "main", "parentCommitId": commit,
            "putFiles": [{ "filePath": "x", "fileContent": "eA==" }],
        }),
        "CreateRepository" => json!({ "repositoryName": "new" }),
        "DeleteBranch" => json!({ "repositoryName": "demo", "branchName": "dev" }),
        "DeleteFile" => json!({
            "repositoryName": "demo", "branchName": "main", "parentCommitId": commit, "filePath": "a",
        }),
        "DeleteRepository" | "GetRepository" | "ListBranches" => json!({ "repositoryName": "demo" }),
        "GetBlob" => json!({ "repositoryName": "demo", "blobId": commit }),
        "GetBranch" => json!({ "repositoryName": "demo", "branchName": "main" }),
        "GetCommit" => json!({ "repositoryName": "demo", "commitId": commit }),
        "GetDifferences" => json!({ "repositoryName": "demo", "afterCommitSpecifier": "main" }),
        "GetFile" => json!({ "repositoryName": "demo", "filePath": "a" }),
        "GetFolder" => json!({ "repositoryName": "demo", "folderPath": "/" }),
        "ListRepositories" => json!({}),
        "ListTagsForResource" => json!({ "resourceArn": arn }),
        "PutFile" => json!({
            "repositoryName": "demo", "branchName": "main", "parentCommitId": commit, "filePath": "b",
            "fileContent": "eA==",
        }),
        "TagResource" => json!({ "resourceArn": arn, "tags": { "a": "b" } }),
        "UntagResource" => json!({ "resourceArn": arn, "tagKeys": ["team"] }),
        "UpdateDefaultBranch" => json!({ "repositoryName": "demo", "defaultBranchName": "dev" }),
        "UpdateRepositoryDescription" => json!({ "repositoryName": "demo", "repositoryDescription": "new" }),
        "UpdateRepositoryName" => json!({ "oldName": "demo", "newName": "new" }),
        other => panic!("{other} has no denial test: add its input here"),
    }
}

async fn everything(world: &World) -> Value {
    let repositories = world.api("ListRepositories", json!({})).await;
    let demo = world.api("GetRepository", json!({ "repositoryName": "demo" })).await;
    let branches = world.api("ListBranches", json!({ "repositoryName": "demo" })).await;
    let main = world.api("GetBranch", json!({ "repositoryName": "demo", "branchName": "main" })).await;
    let arn = &demo["repositoryMetadata"]["Arn"];
    let tags = world.api("ListTagsForResource", json!({ "resourceArn": arn })).await;
    json!([repositories, demo, branches, main, tags, world.story().await])
}

async fn world() -> (World, String) {
    let world = World::new().await;
    world.api("CreateRepository", json!({ "repositoryName": "demo", "tags": { "team": "blue" } })).await;
    let tree = world.work_tree("a", "demo").await;
    let commit = tree.commit("a", "a").await;
    tree.git(&["push", "-q", "origin", "main", "main:dev"]).await;
    (world, commit)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_policies_nothing_can_be_done() {
    let (world, commit) = world().await;
    let before = everything(&world).await;
    for operation in MODEL.operations {
        let input = input(operation.name, &commit);
        let error = world.api_as("bob", operation.name, input).await.expect_err(operation.name);
        assert_eq!(error.code, "AccessDeniedException", "{}", operation.name);
        assert!(error.message.contains(&format!("codecommit:{}", operation.name)), "{}", error.message);
        assert_eq!(everything(&world).await, before, "{} changed something", operation.name);
    }
    // The control: the same requests are fine for someone who may.
    for operation in MODEL.operations {
        if matches!(
            operation.name,
            "DeleteRepository"
                | "UpdateDefaultBranch"
                | "GetBlob"
                | "UpdateRepositoryName"
                | "DeleteFile"
                | "PutFile"
        ) {
            continue;
        }
        world.api(operation.name, input(operation.name, &commit)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_branch_is_protected_from_the_api_too() {
    let (world, commit) = world().await;
    world.api("UpdateDefaultBranch", json!({ "repositoryName": "demo", "defaultBranchName": "dev" })).await;
    let before = everything(&world).await;
    for operation in ["CreateCommit", "PutFile", "DeleteFile"] {
        let error = world.api_as("pat", operation, input(operation, &commit)).await.expect_err(operation);
        assert!(error.message.contains("explicit deny"), "{operation}: {error}");
    }
    let main = json!({ "repositoryName": "demo", "branchName": "refs/heads/main" });
    let error = world.api_as("pat", "DeleteBranch", main).await.expect_err("DeleteBranch");
    assert!(error.message.contains("explicit deny"), "{error}");
    assert_eq!(everything(&world).await, before);
    let dev = json!({
        "repositoryName": "demo", "branchName": "dev", "parentCommitId": commit, "filePath": "b", "fileContent": "eA==",
    });
    world.api_as("pat", "PutFile", dev).await.expect("dev is not protected");
}
