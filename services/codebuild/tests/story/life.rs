//! The life of builds: phases, numbers, tokens, limits, stopping, retrying, deleting, listing.

use super::world::*;
use towpath_api_codebuild::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_build_succeeds_with_true_phases_and_events() {
    let world = World::new().await;
    let build = world.build(&spec(&["echo hello", "echo bye"])).await;
    assert_eq!(
        build.build_status.as_deref(),
        Some("SUCCEEDED"),
        "{:#?}",
        world.log(build.id.as_ref().unwrap())
    );
    assert_eq!(
        phases(&build),
        "DOWNLOAD_SOURCE:SUCCEEDED INSTALL:SUCCEEDED PRE_BUILD:SUCCEEDED BUILD:SUCCEEDED \
         POST_BUILD:SUCCEEDED UPLOAD_ARTIFACTS:SUCCEEDED FINALIZING:SUCCEEDED COMPLETED"
    );
    assert_eq!(build.build_number, Some(1));
    assert_eq!(build.initiator.as_deref(), Some("ada"));
    assert_eq!(build.current_phase.as_deref(), Some("COMPLETED"));
    assert_eq!(world.printed(&build), ["hello", "bye"]);
    let log = world.log(build.id.as_ref().unwrap());
    for text in [
        "Running command echo hello",
        "Entering phase BUILD",
        "Phase complete: BUILD State: SUCCEEDED",
        "Phase context status code:  Message: ",
        "Phases found in YAML: 1",
    ] {
        assert!(log.iter().any(|line| line.ends_with(text)), "{text}: {log:#?}");
    }
    let events = world.store.events_after(0, 100).await.unwrap();
    let shown: Vec<_> = events
        .iter()
        .map(|(_, event)| {
            let detail = &event.detail;
            let what = if detail["build-status"].is_null() {
                &detail["completed-phase"]
            } else {
                &detail["build-status"]
            };
            format!("{} {}", event.detail_type.trim_start_matches("CodeBuild Build "), what.as_str().unwrap())
        })
        .collect();
    assert_eq!(shown.first().unwrap(), "State Change IN_PROGRESS");
    assert_eq!(shown.last().unwrap(), "State Change SUCCEEDED");
    assert_eq!(shown.len(), 13, "{shown:?}");
    assert_eq!(world.sandboxes.alive.load(std::sync::atomic::Ordering::SeqCst), 0);
    world.nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_the_commands_at_once() {
    let world = World::new().await;
    let marker = world.folder.path().join("marker");
    let command = format!("echo started; sleep 3; touch {}", marker.display());
    world.project(&spec(&[&command]), |_| {}).await;
    let id = world.start(|_| {}).await;
    world.logged(&id, "started").await;
    let input = StopBuildInput { id: Some(id.clone()) };
    let stopped = world.service.stop_build(&world.call, input.clone()).await.unwrap().build.unwrap();
    assert_eq!(stopped.build_status.as_deref(), Some("STOPPED"));
    assert!(phases(&stopped).ends_with("BUILD:STOPPED FINALIZING:SUCCEEDED COMPLETED"));
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while world.sandboxes.alive.load(std::sync::atomic::Ordering::SeqCst) != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the sandbox ends");
    world.nothing_left().await;
    assert!(!marker.exists());
    // Stopping again changes nothing.
    let again = world.service.stop_build(&world.call, input).await.unwrap().build.unwrap();
    assert_eq!(again, world.get(&id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_give_the_same_build_and_refuse_another_request() {
    let world = World::new().await;
    world.project(&spec(&["true"]), |_| {}).await;
    let token = |input: &mut StartBuildInput| input.idempotency_token = Some("t".into());
    let first = world.start(token).await;
    assert_eq!(world.start(token).await, first);
    let other = StartBuildInput {
        project_name: Some("app".into()),
        idempotency_token: Some("t".into()),
        source_version: Some("v2".into()),
        ..StartBuildInput::default()
    };
    let error = world.service.start_build(&world.call, other).await.unwrap_err();
    assert_eq!(error.code, "InvalidInputException");
    assert_eq!(world.get(&first).await.build_number, Some(1));
    assert_ne!(world.start(|_| {}).await, first);
}

/// A token counts for five minutes, to the millisecond: whether the timer that removes it has run or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_older_than_five_minutes_starts_a_new_build() {
    const LIFE_MS: i64 = 5 * 60_000;
    let world = World::new().await;
    world.project(&spec(&["true"]), |_| {}).await;
    let token = |input: &mut StartBuildInput| input.idempotency_token = Some("t".into());
    let first = world.start(token).await;
    world.finished(&first).await;
    // A minute for a machine that is busy; the clock goes on by itself.
    world.clock.advance(LIFE_MS - 60_000);
    assert_eq!(world.start(token).await, first, "the token still counts");
    world.clock.advance(60_000);
    let second = world.start(token).await;
    assert_ne!(second, first);
    assert_eq!(world.start(token).await, second, "it stands for the new build, with five minutes of its own");
    assert_eq!(world.finished(&second).await.build_number, Some(2));
    // What the first build's timer does when it comes late leaves the token alone.
    world.clock.advance(LIFE_MS - 60_000);
    assert_eq!(world.start(token).await, second);
    world.clock.advance(60_000);
    let retry = |id: &str| RetryBuildInput { id: Some(id.to_owned()), idempotency_token: Some("t".into()) };
    let again = async |id: &str| {
        let made = world.service.retry_build(&world.call, retry(id)).await.unwrap();
        made.build.unwrap().id.unwrap()
    };
    let retried = again(&first).await;
    assert_eq!(again(&first).await, retried);
    world.clock.advance(LIFE_MS);
    let another = again(&second).await;
    assert!(another != retried, "another request, for the token is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_concurrency_limit_counts_unfinished_builds() {
    let world = World::new().await;
    world.project(&spec(&["sleep 30"]), |input| input.concurrent_build_limit = Some(1)).await;
    let id = world.start(|_| {}).await;
    let input = StartBuildInput { project_name: Some("app".into()), ..StartBuildInput::default() };
    let error = world.service.start_build(&world.call, input).await.unwrap_err();
    assert_eq!(error.code, "AccountLimitExceededException");
    world.service.stop_build(&world.call, StopBuildInput { id: Some(id) }).await.unwrap();
    let next = world.start(|input| input.buildspec_override = Some(spec(&["true"]))).await;
    assert_eq!(world.finished(&next).await.build_number, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_runs_the_same_thing_again() {
    let world = World::new().await;
    world.project(&spec(&["exit 7"]), |_| {}).await;
    let first = world.start(|input| input.buildspec_override = Some(spec(&["echo again"]))).await;
    world.finished(&first).await;
    let input = RetryBuildInput { id: Some(first.clone()), idempotency_token: None };
    let retried = world.service.retry_build(&world.call, input).await.unwrap().build.unwrap();
    let retried = world.finished(retried.id.as_ref().unwrap()).await;
    assert_eq!((retried.build_number, retried.build_status.as_deref()), (Some(2), Some("SUCCEEDED")));
    assert_eq!(world.printed(&retried), ["again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_sorted_and_deleted_builds_are_gone() {
    let world = World::new().await;
    world.project(&spec(&["true"]), |_| {}).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = world.start(|_| {}).await;
        world.finished(&id).await;
        ids.push(id);
    }
    let list = |order: Option<&str>| ListBuildsForProjectInput {
        project_name: Some("app".into()),
        sort_order: order.map(str::to_owned),
        next_token: None,
    };
    let newest = world.service.list_builds_for_project(&world.call, list(None)).await.unwrap().ids.unwrap();
    assert_eq!(newest, ids.iter().rev().cloned().collect::<Vec<_>>());
    let oldest = world.service.list_builds_for_project(&world.call, list(Some("ASCENDING"))).await.unwrap();
    assert_eq!(oldest.ids.unwrap(), ids);
    let all = ListBuildsInput { sort_order: Some("ASCENDING".into()), next_token: None };
    assert_eq!(world.service.list_builds(&world.call, all.clone()).await.unwrap().ids.unwrap(), ids);
    let wrong = ListBuildsInput { next_token: Some("x".into()), ..all.clone() };
    assert_eq!(
        world.service.list_builds(&world.call, wrong).await.unwrap_err().code,
        "InvalidInputException"
    );
    let delete = BatchDeleteBuildsInput { ids: Some(vec![ids[1].clone(), "app:nothing".into()]) };
    let output = world.service.batch_delete_builds(&world.call, delete).await.unwrap();
    assert_eq!(output.builds_deleted.unwrap().len(), 1);
    assert_eq!(output.builds_not_deleted.unwrap()[0].status_code.as_deref(), Some("BUILD_NOT_FOUND"));
    let left = world.service.list_builds(&world.call, all).await.unwrap().ids.unwrap();
    assert_eq!(left, [ids[0].clone(), ids[2].clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_log_permissions_fails_the_build_and_says_so() {
    let world = World::new().await;
    world.identity.role.deny("logs:CreateLogStream");
    let build = world.build(&spec(&["true"])).await;
    assert_eq!(build.build_status.as_deref(), Some("FAILED"));
    let context = context(&build, "PROVISIONING");
    assert!(context.starts_with("ACCESS_DENIED: Service role arn:aws:iam"), "{context}");
    assert!(context.contains("not authorized to perform: logs:CreateLogStream"), "{context}");
    assert_eq!(world.sandboxes.started.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_waits_too_long_in_the_queue_times_out() {
    let world = World::new().await;
    world.project(&spec(&["echo started; sleep 60"]), |_| {}).await;
    // All four workers are busy.
    for _ in 0..4 {
        let id = world.start(|_| {}).await;
        world.logged(&id, "started").await;
    }
    let id = world.start(|input| input.queued_timeout_in_minutes_override = Some(0)).await;
    let build = world.finished(&id).await;
    assert_eq!(build.build_status.as_deref(), Some("TIMED_OUT"));
    assert!(context(&build, "QUEUED").starts_with("BUILD_TIMED_OUT"));
    // One that a stop takes out of the queue never starts.
    let id = world.start(|_| {}).await;
    let input = StopBuildInput { id: Some(id) };
    let stopped = world.service.stop_build(&world.call, input).await.unwrap().build.unwrap();
    assert_eq!(stopped.build_status.as_deref(), Some("STOPPED"));
    assert_eq!(world.sandboxes.started.load(std::sync::atomic::Ordering::SeqCst), 4);
}
