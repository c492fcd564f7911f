//! Which pushes start a pipeline, and how often.

use super::*;

fn with_source(
    change: impl Fn(&mut ActionDeclaration),
    trigger: Option<GitPushFilter>,
) -> PipelineDeclaration {
    let mut source = action("Checkout", "Source/CodeCommit", 1, &[], &["src"]);
    change(&mut source);
    let ask = stage("Approve", vec![action("Ask", "Approval/Manual", 1, &[], &[])]);
    let mut declared = declaration("PARALLEL", vec![stage("Source", vec![source]), ask]);
    declared.triggers = trigger.map(|filter| {
        vec![PipelineTriggerDeclaration {
            provider_type: Some("CodeStarSourceConnection".into()),
            git_configuration: Some(GitConfiguration {
                source_action_name: Some("Checkout".into()),
                push: Some(vec![filter]),
                pull_request: None,
            }),
        }]
    });
    declared
}

/// Waits until everything that was emitted has been looked at and every start was carried out.
async fn settled(life: &Life) {
    let look = || async {
        let last = life.store.last_sequence().await.unwrap();
        let cursor = life.store.get::<towpath_durable::Cursor>("codepipeline").await.unwrap();
        let due = life.store.next_due(crate::store::STARTS).await.unwrap();
        // A cursor may lag behind events that it filters out; those start nothing.
        let events = life.store.events_after(cursor.map_or(0, |cursor| cursor.sequence), 1000).await.unwrap();
        let open = events
            .iter()
            .any(|(_, event)| crate::triggers::concerns_us(event) && event.source == "aws.codecommit");
        (due.is_none() && !open && last > 0).then_some(())
    };
    life.until("quiet", look).await;
}

#[tokio::test]
async fn a_push_to_the_branch_starts_one_execution_with_that_commit() {
    let (town, _folder, life, _) = begin(with_source(|_| {}, None)).await;
    town.push(&life, "main", "c2").await;
    let second = life.nth(2).await;
    town.repository.point("main", "c3");
    let look = || async { life.executions().await[0].source_revisions.clone().filter(|all| !all.is_empty()) };
    let revisions = life.until("its revision", look).await;
    assert_eq!(revisions[0].revision_id.as_deref(), Some("c2"), "the commit that was pushed");
    town.push(&life, "other", "c4").await;
    settled(&life).await;
    assert_eq!(
        life.executions().await[0].pipeline_execution_id,
        Some(second),
        "another branch starts nothing"
    );
}

#[tokio::test]
async fn an_event_that_is_told_twice_starts_once() {
    let (town, _folder, life, _) = begin(with_source(|_| {}, None)).await;
    town.repository.point("main", "c2");
    let detail = serde_json::json!({
        "event": "referenceUpdated", "repositoryName": "app", "referenceType": "branch",
        "referenceName": "main", "commitId": "c2", "oldCommitId": "c1",
    });
    let scope = ("000000000000", "us-east-1");
    let kind = "CodeCommit Repository State Change";
    let event = Event::new("aws.codecommit", kind, scope, life.store.now(), Vec::new(), detail);
    for _ in 0..3 {
        let mut txn = Txn::new();
        txn.emit(event.clone());
        life.store.commit(txn).await.unwrap();
        settled(&life).await;
    }
    assert_eq!(life.executions().await.len(), 2);
}

#[tokio::test]
async fn polling_that_is_off_leaves_pushes_to_rules() {
    let off = |source: &mut ActionDeclaration| {
        source.configuration.as_mut().unwrap().insert("PollForSourceChanges".into(), "false".into());
    };
    let (town, _folder, life, _) = begin(with_source(off, None)).await;
    town.push(&life, "main", "c2").await;
    settled(&life).await;
    assert_eq!(life.executions().await.len(), 1);
}

#[tokio::test]
async fn git_filters_decide_by_branch_and_paths() {
    let filter = GitPushFilter {
        branches: Some(GitBranchFilterCriteria {
            includes: Some(vec!["release/**".into()]),
            excludes: Some(vec!["release/old".into()]),
        }),
        file_paths: Some(GitFilePathFilterCriteria { includes: Some(vec!["src/**".into()]), excludes: None }),
        tags: None,
    };
    let (town, _folder, life, _) = begin(with_source(|_| {}, Some(filter))).await;
    let changed = [("docs", "docs/a.md"), ("code", "src/main.rs"), ("old", "src/main.rs")];
    for (commit, path) in changed {
        town.repository.changed.lock().unwrap().insert(commit.into(), vec![path.into()]);
    }
    town.push(&life, "main", "code").await;
    town.push(&life, "release/1", "docs").await;
    town.push(&life, "release/old", "old").await;
    settled(&life).await;
    assert_eq!(life.executions().await.len(), 1, "none of these passes the filter");
    town.push(&life, "release/1", "code").await;
    life.nth(2).await;
    let trigger = life.executions().await.remove(0).trigger.unwrap();
    assert_eq!(trigger.trigger_type.as_deref(), Some("WebhookV2"));
    let look = || async {
        let input = ListActionExecutionsInput { pipeline_name: Some("web".into()), ..Default::default() };
        let output = life.service.list_action_executions(&life.call, input).await.unwrap();
        let details = output.action_execution_details.unwrap();
        let source = details.into_iter().find(|one| one.action_name.as_deref() == Some("Checkout"))?;
        source.output.unwrap().output_variables.unwrap().get("BranchName").cloned()
    };
    assert_eq!(life.until("the branch's name", look).await, "release/1");
}

#[tokio::test]
async fn tags_start_by_tag_filters_only() {
    let filter = GitPushFilter {
        tags: Some(GitTagFilterCriteria { includes: Some(vec!["v*".into()]), excludes: None }),
        ..Default::default()
    };
    let (town, _folder, life, _) = begin(with_source(|_| {}, Some(filter))).await;
    town.push(&life, "main", "c2").await;
    settled(&life).await;
    assert_eq!(life.executions().await.len(), 1, "a branch is no tag");
    town.repository.point("v1", "c3");
    let detail = serde_json::json!({
        "event": "referenceCreated", "repositoryName": "app", "referenceType": "tag",
        "referenceName": "v1", "commitId": "c3",
    });
    life.emit("aws.codecommit", "CodeCommit Repository State Change", detail).await;
    life.nth(2).await;
    let look = || async { life.executions().await[0].source_revisions.clone().filter(|all| !all.is_empty()) };
    assert_eq!(life.until("its revision", look).await[0].revision_id.as_deref(), Some("c3"));
}

#[tokio::test]
async fn a_pipeline_that_no_longer_watches_is_not_started() {
    let (town, _folder, life, _) = begin(with_source(|_| {}, None)).await;
    let other = |source: &mut ActionDeclaration| {
        source.configuration.as_mut().unwrap().insert("RepositoryName".into(), "elsewhere".into());
    };
    let input = UpdatePipelineInput { pipeline: Some(with_source(other, None)) };
    let updated = life.service.update_pipeline(&life.call, input).await.unwrap().pipeline.unwrap();
    assert_eq!(updated.version, Some(2));
    town.push(&life, "main", "c2").await;
    settled(&life).await;
    assert_eq!(life.executions().await.len(), 1);
}

#[tokio::test]
async fn an_object_concerns_only_the_pipelines_that_wait_for_it() {
    let source = |name: &str, key: &str, polls: &str| {
        let mut source = action(name, "Source/S3", 1, &[], &[name]);
        let settings = [("S3Bucket", "drop"), ("S3ObjectKey", key), ("PollForSourceChanges", polls)];
        let settings = settings.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        source.configuration = Some(settings.collect());
        source
    };
    let sources =
        vec![source("a", "a.zip", "true"), source("b", "b.zip", "true"), source("off", "off.zip", "false")];
    let ask = stage("Approve", vec![action("Ask", "Approval/Manual", 1, &[], &[])]);
    let (_town, _folder, life, _) = begin(declaration("PARALLEL", vec![stage("Source", sources), ask])).await;
    let scope = ("000000000000", "us-east-1");
    let asks = async |bucket: &str, key: &str| {
        let detail = serde_json::json!({"bucket": {"name": bucket}, "object": {"key": key}});
        let event = Event::new("aws.s3", "Object Created", scope, life.store.now(), Vec::new(), detail);
        let made = crate::triggers::receive(life.service.clone(), event).await;
        !made.unwrap().is_empty()
    };
    assert!(asks("drop", "a.zip").await && asks("drop", "b.zip").await);
    assert!(!asks("drop", "off.zip").await, "which is left to rules");
    assert!(!asks("drop", "artifacts/a.zip").await && !asks("other", "a.zip").await);

    // As an older program wrote it: nothing says which objects.
    let id =
        crate::store::PipelineId { account: scope.0.into(), region: scope.1.into(), name: "older".into() };
    let watch = serde_json::json!({"pipeline": id, "source": "s3", "subject": "drop"});
    let watch: crate::store::Watch = serde_json::from_value(watch).unwrap();
    let mut txn = Txn::new();
    txn.put(&watch);
    life.store.commit(txn).await.unwrap();
    assert!(asks("drop", "artifacts/a.zip").await);
}
