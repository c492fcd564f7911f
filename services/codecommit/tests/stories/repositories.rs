//! Repositories and their tags through the API.

use crate::support::World;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_made_listed_renamed_and_deleted() {
    let world = World::new().await;
    let made = world
        .api(
            "CreateRepository",
            json!({ "repositoryName": "demo", "repositoryDescription": "A demo", "tags": { "a": "b" } }),
        )
        .await;
    let shown = &made["repositoryMetadata"];
    assert_eq!(shown["cloneUrlHttp"], json!(format!("http://{}/v1/repos/demo", world.address)));
    assert_eq!(shown["Arn"], "arn:aws:codecommit:us-east-1:000000000000:demo");
    assert_eq!(shown["repositoryDescription"], "A demo");
    assert!(shown.get("defaultBranch").is_none());
    for name in ["b-repo", "c.repo"] {
        world.repository(name).await;
    }
    let names = |output: &Value| {
        let list = output["repositories"].as_array().unwrap().clone();
        list.iter().map(|pair| pair["repositoryName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let listed = world.api("ListRepositories", json!({})).await;
    assert_eq!(names(&listed), ["b-repo", "c.repo", "demo"]);
    let listed =
        world.api("ListRepositories", json!({ "sortBy": "repositoryName", "order": "descending" })).await;
    assert_eq!(names(&listed), ["demo", "c.repo", "b-repo"]);
    let description = json!({ "repositoryName": "b-repo", "repositoryDescription": "Newest" });
    world.api("UpdateRepositoryDescription", description).await;
    let listed =
        world.api("ListRepositories", json!({ "sortBy": "lastModifiedDate", "order": "descending" })).await;
    assert_eq!(names(&listed)[0], "b-repo");

    world.api("UpdateRepositoryName", json!({ "oldName": "demo", "newName": "renamed" })).await;
    let batch = world.api("BatchGetRepositories", json!({ "repositoryNames": ["renamed", "demo"] })).await;
    assert_eq!(batch["repositories"][0]["repositoryId"], shown["repositoryId"]);
    assert_eq!(batch["repositoriesNotFound"], json!(["demo"]));
    let deleted = world.api("DeleteRepository", json!({ "repositoryName": "renamed" })).await;
    assert_eq!(deleted["repositoryId"], shown["repositoryId"]);
    let again = world.api("DeleteRepository", json!({ "repositoryName": "renamed" })).await;
    assert!(again.get("repositoryId").is_none());
    world.repository("renamed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repository_requests_that_fail() {
    let world = World::new().await;
    world.repository("demo").await;
    world.repository("other").await;
    let long = "x".repeat(1001);
    for (operation, input, code) in [
        ("CreateRepository", json!({ "repositoryName": "demo" }), "RepositoryNameExists"),
        ("CreateRepository", json!({}), "RepositoryNameRequired"),
        ("CreateRepository", json!({ "repositoryName": "a/b" }), "InvalidRepositoryName"),
        ("CreateRepository", json!({ "repositoryName": ".." }), "InvalidRepositoryName"),
        ("CreateRepository", json!({ "repositoryName": "x.git" }), "InvalidRepositoryName"),
        (
            "CreateRepository",
            json!({ "repositoryName": "x", "repositoryDescription": long }),
            "InvalidRepositoryDescription",
        ),
        ("CreateRepository", json!({ "repositoryName": "x", "kmsKeyId": "k" }), "NotImplemented"),
        (
            "CreateRepository",
            json!({ "repositoryName": "x", "tags": { "aws:x": "" } }),
            "InvalidSystemTagUsage",
        ),
        ("GetRepository", json!({ "repositoryName": "none" }), "RepositoryDoesNotExist"),
        ("BatchGetRepositories", json!({ "repositoryNames": [] }), "RepositoryNamesRequired"),
        ("ListRepositories", json!({ "sortBy": "size" }), "InvalidSortBy"),
        ("ListRepositories", json!({ "order": "up" }), "InvalidOrder"),
        ("ListRepositories", json!({ "nextToken": "x" }), "InvalidContinuationToken"),
        ("UpdateRepositoryName", json!({ "oldName": "demo", "newName": "other" }), "RepositoryNameExists"),
        ("UpdateRepositoryName", json!({ "oldName": "none", "newName": "x" }), "RepositoryDoesNotExist"),
        (
            "UpdateDefaultBranch",
            json!({ "repositoryName": "demo", "defaultBranchName": "x" }),
            "BranchDoesNotExist",
        ),
        ("TagResource", json!({ "resourceArn": "nonsense", "tags": { "a": "b" } }), "InvalidResourceArn"),
        ("TagResource", json!({ "tags": { "a": "b" } }), "ResourceArnRequired"),
    ] {
        assert_eq!(world.fails(operation, input.clone()).await, code, "{operation} {input}");
    }
    assert_eq!(world.api("ListRepositories", json!({})).await["repositories"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_come_and_go() {
    let world = World::new().await;
    world.repository("demo").await;
    let arn = "arn:aws:codecommit:us-east-1:000000000000:demo";
    world.api("TagResource", json!({ "resourceArn": arn, "tags": { "a": "1", "b": "2" } })).await;
    world.api("TagResource", json!({ "resourceArn": arn, "tags": { "b": "3" } })).await;
    world.api("UntagResource", json!({ "resourceArn": arn, "tagKeys": ["a", "never"] })).await;
    let listed = world.api("ListTagsForResource", json!({ "resourceArn": arn })).await;
    assert_eq!(listed["tags"], json!({ "b": "3" }));
    let many: serde_json::Map<String, Value> = (0..50).map(|n| (format!("k{n}"), json!("v"))).collect();
    assert_eq!(world.fails("TagResource", json!({ "resourceArn": arn, "tags": many })).await, "TooManyTags");
}

/// Whatever git says of a repository that is being taken away, the client is told that it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_beside_a_deletion_is_made_or_told_that_the_repository_is_gone() {
    let world = World::new().await;
    let put = |path: &str| {
        json!({ "repositoryName": "demo", "branchName": "main", "filePath": path,
                "fileContent": "", "commitMessage": "a" })
    };
    let mut gone = 0;
    for round in 0..30 {
        world.repository("demo").await;
        let delete = async {
            // From before the change has begun until git is done with it.
            tokio::time::sleep(std::time::Duration::from_millis(round / 2)).await;
            world.api("DeleteRepository", json!({ "repositoryName": "demo" })).await
        };
        let (made, _) = tokio::join!(world.api_as("ann", "PutFile", put("readme")), delete);
        if let Err(error) = made {
            assert_eq!(error.code, "RepositoryDoesNotExistException", "{}", error.message);
            gone += 1;
        }
    }
    assert!(gone > 0, "no change met its deletion");
}
