//! Pipelines, versions, transitions and tags over the API.

use super::*;

fn named(name: &str) -> GetPipelineInput {
    GetPipelineInput { name: Some(name.into()), version: None }
}

#[tokio::test]
async fn versions_are_kept_and_a_name_is_taken_once() {
    let (_town, _folder, life, _) = begin(journey()).await;
    assert_eq!(life.create(journey()).await.unwrap_err().code, "PipelineNameInUseException");
    let mut changed = journey();
    changed.stages.as_mut().unwrap()[0].name = Some("Origin".into());
    let input = UpdatePipelineInput { pipeline: Some(changed) };
    let updated = life.service.update_pipeline(&life.call, input).await.unwrap().pipeline.unwrap();
    assert_eq!(updated.version, Some(2));
    let old = GetPipelineInput { version: Some(1), ..named("web") };
    let old = life.service.get_pipeline(&life.call, old).await.unwrap();
    assert_eq!(old.pipeline.unwrap().stages.unwrap()[0].name.as_deref(), Some("Source"));
    assert_eq!(
        old.metadata.unwrap().pipeline_arn.as_deref(),
        Some("arn:aws:codepipeline:us-east-1:000000000000:web")
    );
    let unknown = GetPipelineInput { version: Some(9), ..named("web") };
    let error = life.service.get_pipeline(&life.call, unknown).await.unwrap_err();
    assert_eq!(error.code, "PipelineVersionNotFoundException");
    let missing = life.service.get_pipeline(&life.call, named("nope")).await.unwrap_err();
    assert_eq!(missing.message, "Account '000000000000' does not have a pipeline with name 'nope'");
    assert_eq!(missing.code, "PipelineNotFoundException");
}

/// Executions that the store still has of a generation.
async fn left(life: &Life, generation: &str) -> usize {
    let prefix = towpath_store::key(&[generation, ""]);
    let order = towpath_store::Order::Ascending;
    life.store.list::<crate::store::ExecutionDoc>(&prefix, None, 10, order).await.unwrap().items.len()
}

#[tokio::test]
async fn a_deleted_pipeline_leaves_no_history_to_its_successor() {
    let (town, _folder, life, first) = begin(journey()).await;
    life.until("the build's id", || async { life.latest("Build", "Package").await?.external_execution_id })
        .await;
    let id = crate::api::pipeline_id(&life.call, Some("web".into()));
    let generation = life.service.flow.pipeline(&id).await.unwrap().generation.clone();
    let input = DeletePipelineInput { name: Some("web".into()) };
    life.service.delete_pipeline(&life.call, input.clone()).await.unwrap();
    life.service.delete_pipeline(&life.call, input).await.unwrap();
    assert_eq!(
        life.service.get_pipeline(&life.call, named("web")).await.unwrap_err().code,
        "PipelineNotFoundException"
    );
    let look = || async { (!town.builders.stopped.lock().unwrap().is_empty()).then_some(()) };
    life.until("the build's stop", look).await;
    town.push(&life, "main", "c2").await;
    life.create(journey()).await.unwrap();
    let fresh = life.nth(1).await;
    assert_ne!(fresh, first);
    assert!(life.executions().await.iter().all(|one| one.pipeline_execution_id.as_ref() != Some(&first)));
    assert!(left(&life, &generation).await > 0);
    town.clock.0.fetch_add(11 * 60_000, Ordering::SeqCst);
    life.store.wake_all();
    life.until("the old history's end", || async { (left(&life, &generation).await == 0).then_some(()) })
        .await;
}

#[tokio::test]
async fn transitions_hold_executions_and_say_why() {
    let (town, _folder, life, first) = begin(journey()).await;
    let disable = DisableStageTransitionInput {
        pipeline_name: Some("web".into()),
        stage_name: Some("Build".into()),
        transition_type: Some("Outbound".into()),
        reason: Some("freeze".into()),
    };
    life.service.disable_stage_transition(&life.call, disable.clone()).await.unwrap();
    town.build(&life, &first, "Package", "SUCCEEDED").await;
    let look = || async { life.state().await.stage_states.unwrap()[2].inbound_execution.clone() };
    let waiting = life.until("the inbound execution", look).await;
    assert_eq!(waiting.pipeline_execution_id.as_ref(), Some(&first));
    let state = life.state().await.stage_states.unwrap().remove(2).inbound_transition_state.unwrap();
    assert_eq!((state.enabled, state.disabled_reason.as_deref()), (Some(false), Some("freeze")));
    assert_eq!(state.last_changed_by.as_deref(), Some("arn:aws:iam::000000000000:user/me"));
    let enable = EnableStageTransitionInput {
        pipeline_name: Some("web".into()),
        stage_name: Some("Approve".into()),
        transition_type: Some("Inbound".into()),
    };
    life.service.enable_stage_transition(&life.call, enable).await.unwrap();
    life.token("Approve", "Ask").await;
    let unknown = DisableStageTransitionInput { stage_name: Some("Nope".into()), ..disable.clone() };
    let error = life.service.disable_stage_transition(&life.call, unknown).await.unwrap_err();
    assert_eq!(error.code, "StageNotFoundException");
    let last = DisableStageTransitionInput { stage_name: Some("Deploy".into()), ..disable };
    let error = life.service.disable_stage_transition(&life.call, last).await.unwrap_err();
    assert_eq!(error.code, "ValidationException", "accepted and without effect would be a lie");
}

#[tokio::test]
async fn tags_are_kept_within_their_limits() {
    let (_town, _folder, life, _) = begin(journey()).await;
    let arn = Some("arn:aws:codepipeline:us-east-1:000000000000:web".to_owned());
    let tag = |key: &str, value: &str| Tag { key: Some(key.into()), value: Some(value.into()) };
    let put = |tags: Vec<Tag>| TagResourceInput { resource_arn: arn.clone(), tags: Some(tags) };
    life.service.tag_resource(&life.call, put(vec![tag("team", "a"), tag("env", "x")])).await.unwrap();
    life.service.tag_resource(&life.call, put(vec![tag("team", "b")])).await.unwrap();
    let remove = UntagResourceInput { resource_arn: arn.clone(), tag_keys: Some(vec!["env".into()]) };
    life.service.untag_resource(&life.call, remove).await.unwrap();
    let list = ListTagsForResourceInput { resource_arn: arn.clone(), ..Default::default() };
    let tags = life.service.list_tags_for_resource(&life.call, list).await.unwrap().tags.unwrap();
    assert_eq!(tags, [tag("team", "b")]);
    let many = (0..60).map(|number| tag(&format!("k{number}"), "v")).collect();
    assert_eq!(
        life.service.tag_resource(&life.call, put(many)).await.unwrap_err().code,
        "TooManyTagsException"
    );
    let aws = put(vec![tag("aws:x", "v")]);
    assert_eq!(life.service.tag_resource(&life.call, aws).await.unwrap_err().code, "InvalidTagsException");
    let other =
        ListTagsForResourceInput { resource_arn: Some("arn:aws:s3:::x".into()), ..Default::default() };
    assert_eq!(
        life.service.list_tags_for_resource(&life.call, other).await.unwrap_err().code,
        "InvalidArnException"
    );
}
