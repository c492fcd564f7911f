//! What a user does with one pipeline, from creation to roll back.

use super::*;
use std::collections::BTreeMap;

#[tokio::test]
async fn a_change_travels_from_push_to_hosts() {
    let (town, _folder, life, first) = begin(journey()).await;
    town.build(&life, &first, "Package", "SUCCEEDED").await;
    let request = town.builders.requests().remove(0);
    assert_eq!(request.environment_variables[0].value, "c1");
    assert_eq!((request.source_version.as_deref(), request.pipeline.as_str()), (Some("c1"), "web"));
    let token = life.token("Approve", "Ask").await;
    life.answer(&token, "Approved").await.unwrap();
    town.deploy(&life, 1, "Succeeded").await;
    life.until_status(&first, "Succeeded").await;
    let pipeline = life.events(crate::events::PIPELINE).await;
    assert_eq!(pipeline, ["STARTED", "SUCCEEDED"]);
    let input = GetPipelineExecutionInput {
        pipeline_name: Some("web".into()),
        pipeline_execution_id: Some(first.clone()),
    };
    let execution =
        life.service.get_pipeline_execution(&life.call, input).await.unwrap().pipeline_execution.unwrap();
    assert_eq!(execution.trigger.unwrap().trigger_type.as_deref(), Some("CreatePipeline"));
    assert_eq!(execution.artifact_revisions.unwrap()[0].revision_id.as_deref(), Some("c1"));
    let deploy = life.latest("Deploy", "Fleet").await.unwrap();
    assert_eq!(
        (deploy.status.as_deref(), deploy.external_execution_id.as_deref()),
        (Some("Succeeded"), Some("d-0000"))
    );
}

#[tokio::test]
async fn an_approval_takes_its_own_token_once() {
    let (town, _folder, life, first) = begin(journey()).await;
    town.build(&life, &first, "Package", "SUCCEEDED").await;
    let token = life.token("Approve", "Ask").await;
    let wrong = life.answer(&towpath_api::id::uuid(), "Approved").await.unwrap_err();
    assert_eq!(wrong.code, "InvalidApprovalTokenException");
    life.answer(&token, "Rejected").await.unwrap();
    // Nothing waits for an approval that was given.
    let look = || async { life.store.next_due(crate::store::ACTIONS).await.unwrap().is_none().then_some(()) };
    life.until("the timer's end", look).await;
    life.until_status(&first, "Failed").await;
    assert_eq!(life.answer(&token, "Approved").await.unwrap_err().code, "ApprovalAlreadyCompletedException");
    let latest = life.latest("Approve", "Ask").await.unwrap();
    assert_eq!(latest.token, None);
    assert_eq!(latest.last_updated_by.as_deref(), Some("arn:aws:iam::000000000000:user/me"));
    let retry = RetryStageExecutionInput {
        pipeline_name: Some("web".into()),
        stage_name: Some("Approve".into()),
        pipeline_execution_id: Some(first.clone()),
        retry_mode: Some("FAILED_ACTIONS".into()),
    };
    life.service.retry_stage_execution(&life.call, retry).await.unwrap();
    let fresh = life.token("Approve", "Ask").await;
    assert_ne!(fresh, token);
    assert_eq!(life.answer(&token, "Approved").await.unwrap_err().code, "InvalidApprovalTokenException");
    life.answer(&fresh, "Approved").await.unwrap();
    town.deploy(&life, 1, "Succeeded").await;
    life.until_status(&first, "Succeeded").await;
}

#[tokio::test]
async fn an_approval_expires_after_its_timeout() {
    let mut declared = journey();
    let ask = &mut declared.stages.as_mut().unwrap()[2].actions.as_mut().unwrap()[0];
    ask.timeout_in_minutes = Some(5);
    let (town, _folder, life, first) = begin(declared).await;
    town.build(&life, &first, "Package", "SUCCEEDED").await;
    let token = life.token("Approve", "Ask").await;
    town.clock.0.fetch_add(5 * 60_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(life.answer(&token, "Approved").await.unwrap_err().code, "InvalidApprovalTokenException");
    life.store.wake_all();
    life.until_status(&first, "Failed").await;
    let error = life.latest("Approve", "Ask").await.unwrap().error_details.unwrap();
    assert_eq!(error.message.as_deref(), Some("The action timed out after 5 minutes."));
}

#[tokio::test]
async fn a_role_that_may_not_start_a_build_says_so() {
    let town = Town::default();
    town.repository.point("main", "c1");
    town.policies.deny("arn:aws:iam::000000000000:role/pipeline", "codebuild:StartBuild");
    let folder = tempfile::tempdir().unwrap();
    let life = town.life(folder.path()).await;
    life.create(journey()).await.unwrap();
    let first = life.nth(1).await;
    life.until_status(&first, "Failed").await;
    let error = life.latest("Build", "Package").await.unwrap().error_details.unwrap();
    assert_eq!(error.code.as_deref(), Some("PermissionError"));
    let message = error.message.unwrap();
    assert!(message.contains("is not authorized to perform: codebuild:StartBuild"), "{message}");
}

#[tokio::test]
async fn an_actions_own_role_is_assumed_by_the_pipelines() {
    let role = "arn:aws:iam::000000000000:role/builder";
    let mut declared = journey();
    declared.stages.as_mut().unwrap()[1].actions.as_mut().unwrap()[0].role_arn = Some(role.into());
    let (town, _folder, life, first) = begin(declared).await;
    town.build(&life, &first, "Package", "SUCCEEDED").await;
    life.token("Approve", "Ask").await;
    let asked = town.policies.asked.lock().unwrap().clone();
    let by = |action: &str| {
        asked.iter().filter(|(_, asked, _)| asked == action).map(|(who, ..)| who.clone()).collect::<Vec<_>>()
    };
    assert_eq!(by("codebuild:StartBuild"), [role]);
    assert!(by("sts:AssumeRole").iter().all(|who| who.ends_with("role/pipeline")));
}

#[tokio::test]
async fn stop_and_abandon_stops_the_build() {
    let (town, _folder, life, first) = begin(journey()).await;
    let builders = town.builders.clone();
    let id = life.until("the build", || async { builders.of(&first, "Package") }).await;
    life.until("its id", || async { life.latest("Build", "Package").await?.external_execution_id }).await;
    let stop = StopPipelineExecutionInput {
        pipeline_name: Some("web".into()),
        pipeline_execution_id: Some(first.clone()),
        abandon: Some(true),
        reason: Some("wrong commit".into()),
    };
    life.service.stop_pipeline_execution(&life.call, stop.clone()).await.unwrap();
    life.until_status(&first, "Stopped").await;
    life.until("the build's stop", || async {
        town.builders.stopped.lock().unwrap().contains(&id).then_some(())
    })
    .await;
    let summary = life.executions().await.remove(0);
    assert_eq!(summary.stop_trigger.unwrap().reason.as_deref(), Some("wrong commit"));
    assert_eq!(life.latest("Build", "Package").await.unwrap().status.as_deref(), Some("Abandoned"));
    let again = life.service.stop_pipeline_execution(&life.call, stop).await.unwrap_err();
    assert_eq!(again.code, "PipelineExecutionNotStoppableException");
}

#[tokio::test]
async fn a_stage_is_rolled_back_with_the_old_artifacts() {
    let (town, _folder, life, first) = begin(journey()).await;
    town.build(&life, &first, "Package", "SUCCEEDED").await;
    life.answer(&life.token("Approve", "Ask").await, "Approved").await.unwrap();
    town.deploy(&life, 1, "Succeeded").await;
    life.until_status(&first, "Succeeded").await;
    town.push(&life, "main", "c2").await;
    let second = life.nth(2).await;
    town.build(&life, &second, "Package", "SUCCEEDED").await;
    life.answer(&life.token("Approve", "Ask").await, "Approved").await.unwrap();
    town.deploy(&life, 2, "Failed").await;
    life.until_status(&second, "Failed").await;
    let rollback = |stage: &str, target: &str| RollbackStageInput {
        pipeline_name: Some("web".into()),
        stage_name: Some(stage.into()),
        target_pipeline_execution_id: Some(target.into()),
    };
    for (stage, target, code) in [
        ("Source", &first, "UnableToRollbackStageException"),
        ("Deploy", &second, "UnableToRollbackStageException"),
        ("Nope", &first, "StageNotFoundException"),
        ("Deploy", &towpath_api::id::uuid(), "PipelineExecutionNotFoundException"),
    ] {
        let error = life.service.rollback_stage(&life.call, rollback(stage, target)).await.unwrap_err();
        assert_eq!(error.code, code, "{stage} to {target}");
    }
    let output = life.service.rollback_stage(&life.call, rollback("Deploy", &first)).await.unwrap();
    let third = output.pipeline_execution_id.unwrap();
    town.deploy(&life, 3, "Succeeded").await;
    life.until_status(&third, "Succeeded").await;
    let deployments = town.fleet.deployments.lock().unwrap().clone();
    assert_eq!(deployments["d-0002"].revision, deployments["d-0000"].revision);
    let summary = life.executions().await.remove(0);
    assert_eq!(summary.execution_type.as_deref(), Some("ROLLBACK"));
    assert_eq!(summary.trigger.unwrap().trigger_type.as_deref(), Some("ManualRollback"));
    assert_eq!(summary.rollback_metadata.unwrap().rollback_target_pipeline_execution_id, Some(first.clone()));
    let again = life.service.rollback_stage(&life.call, rollback("Deploy", &third)).await.unwrap_err();
    assert_eq!(again.code, "UnableToRollbackStageException", "a rollback is no target");
}

#[tokio::test]
async fn a_failed_stage_that_says_so_rolls_itself_back() {
    let mut declared = journey();
    declared.stages.as_mut().unwrap()[3].on_failure =
        Some(FailureConditions { result: Some("ROLLBACK".into()), ..Default::default() });
    let (town, _folder, life, first) = begin(declared).await;
    town.build(&life, &first, "Package", "SUCCEEDED").await;
    life.answer(&life.token("Approve", "Ask").await, "Approved").await.unwrap();
    town.deploy(&life, 1, "Succeeded").await;
    life.until_status(&first, "Succeeded").await;
    let second = life.start().await;
    town.build(&life, &second, "Package", "SUCCEEDED").await;
    life.answer(&life.token("Approve", "Ask").await, "Approved").await.unwrap();
    town.deploy(&life, 2, "Failed").await;
    let third = life.nth(3).await;
    town.deploy(&life, 3, "Succeeded").await;
    life.until_status(&third, "Succeeded").await;
    let trigger = life.executions().await.remove(0).trigger.unwrap();
    assert_eq!(
        (trigger.trigger_type.as_deref(), trigger.trigger_detail),
        (Some("AutomatedRollback"), Some(second))
    );
}

#[tokio::test]
async fn variables_have_defaults_and_start_values() {
    let mut declared = journey();
    let variable = |name: &str, default: Option<&str>| PipelineVariableDeclaration {
        name: Some(name.into()),
        default_value: default.map(str::to_owned),
        description: None,
    };
    declared.variables = Some(vec![variable("Env", None), variable("Level", Some("1"))]);
    let settings =
        declared.stages.as_mut().unwrap()[1].actions.as_mut().unwrap()[0].configuration.as_mut().unwrap();
    let text = r##"[{"name":"E","value":"#{variables.Env}-#{variables.Level}"}]"##;
    settings.insert("EnvironmentVariables".into(), text.into());
    let town = Town::default();
    town.repository.point("main", "c1");
    let folder = tempfile::tempdir().unwrap();
    let life = town.life(folder.path()).await;
    life.create(declared).await.unwrap();
    let start = |variables: &[(&str, &str)]| StartPipelineExecutionInput {
        name: Some("web".into()),
        client_request_token: Some("once".into()),
        variables: Some(
            variables
                .iter()
                .map(|(name, value)| PipelineVariable {
                    name: Some((*name).into()),
                    value: Some((*value).into()),
                })
                .collect(),
        ),
        ..Default::default()
    };
    let service = &life.service;
    let missing = service.start_pipeline_execution(&life.call, start(&[])).await.unwrap_err();
    assert!(missing.message.contains("'Env' has no default"), "{missing}");
    let unknown = service.start_pipeline_execution(&life.call, start(&[("Nope", "x")])).await.unwrap_err();
    assert_eq!(unknown.code, "ValidationException");
    let id = service.start_pipeline_execution(&life.call, start(&[("Env", "prod")])).await.unwrap();
    let again = service.start_pipeline_execution(&life.call, start(&[("Env", "prod")])).await.unwrap();
    assert_eq!(id, again, "the same token starts one execution");
    let other = service.start_pipeline_execution(&life.call, start(&[("Env", "test")])).await.unwrap_err();
    assert_eq!(other.code, "ValidationException");
    assert!(other.message.contains("clientRequestToken"), "{other}");
    let execution = id.pipeline_execution_id.unwrap();
    town.build(&life, &execution, "Package", "SUCCEEDED").await;
    let values: BTreeMap<String, String> = town.builders.requests()[0]
        .environment_variables
        .iter()
        .map(|variable| (variable.name.clone(), variable.value.clone()))
        .collect();
    assert_eq!(values["E"], "prod-1");
}

#[tokio::test]
async fn source_revisions_can_be_overridden() {
    let (town, _folder, life, _) = begin(journey()).await;
    let over = |kind: &str| StartPipelineExecutionInput {
        name: Some("web".into()),
        source_revisions: Some(vec![SourceRevisionOverride {
            action_name: Some("Checkout".into()),
            revision_type: Some(kind.into()),
            revision_value: Some("older".into()),
        }]),
        ..Default::default()
    };
    let wrong = life.service.start_pipeline_execution(&life.call, over("IMAGE_DIGEST")).await.unwrap_err();
    assert_eq!(wrong.code, "ValidationException");
    life.service.start_pipeline_execution(&life.call, over("COMMIT_ID")).await.unwrap();
    let look =
        || async { town.repository.archived.lock().unwrap().contains(&"older".to_owned()).then_some(()) };
    life.until("the older commit's archive", look).await;
}

#[tokio::test]
async fn a_full_clone_is_handed_on_with_its_history() {
    let mut declared = journey();
    let settings =
        declared.stages.as_mut().unwrap()[0].actions.as_mut().unwrap()[0].configuration.as_mut().unwrap();
    settings.insert("OutputArtifactFormat".into(), "CODEBUILD_CLONE_REF".into());
    let (town, _folder, life, first) = begin(declared).await;
    town.build(&life, &first, "Package", "SUCCEEDED").await;
    let input = town.builders.requests()[0].inputs[0].clone();
    let (_, content) = town.buckets.read(&input.bucket, &input.key, None).unwrap();
    let text = String::from_utf8_lossy(&content).into_owned();
    assert!(text.contains(".git/HEAD") && text.contains("tree.txt"));
}

#[tokio::test]
async fn an_s3_source_needs_versions_and_starts_on_a_new_object() {
    let mut source = action("Object", "Source/S3", 1, &[], &["src"]);
    let settings = [("S3Bucket", "drop"), ("S3ObjectKey", "app.zip")];
    source.configuration =
        Some(settings.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
    source.namespace = Some("Src".into());
    let ask = stage("Approve", vec![action("Ask", "Approval/Manual", 1, &[], &[])]);
    let (town, _folder, life, first) =
        begin(declaration("SUPERSEDED", vec![stage("Source", vec![source]), ask])).await;
    life.until_status(&first, "Failed").await;
    let info = town.buckets.write("drop", "app.zip", zip(&[("a", "1")]).into(), &Default::default());
    let object = serde_json::json!({"bucket": {"name": "drop"}, "object": {"key": "app.zip", "version-id": info.version_id}});
    life.emit("aws.s3", "Object Created", object).await;
    let second = life.nth(2).await;
    life.token("Approve", "Ask").await;
    let summary = life.executions().await.remove(0);
    assert_eq!(summary.pipeline_execution_id, Some(second));
    assert_eq!(summary.source_revisions.unwrap()[0].revision_id.as_deref(), Some("v1"));
}
