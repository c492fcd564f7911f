//! Deployments from end to end.

use crate::support::*;
use towpath_api_codedeploy::*;

const ONE: &str = "CodeDeployDefault.OneAtATime";

#[tokio::test]
async fn a_revision_reaches_two_hosts_one_after_the_other() {
    let world = World::new().await;
    world.fleet(&["web-1", "web-2"], ONE).await;
    let (one, two) = (world.agent("web-1"), world.agent("web-2"));
    let id = world.deploy("v1.zip").await;
    assert_eq!(world.started(&id).await.status.as_deref(), Some("InProgress"));
    assert_eq!(world.target(&id, "web-2").await.status.as_deref(), Some("Pending"));
    assert!(two.poll().await.is_none(), "the second host was taken before the first was done");
    for event in EVENTS {
        assert_eq!(one.step(|_, _| true).await.1, event);
    }
    for event in EVENTS {
        assert_eq!(two.step(|_, _| true).await.1, event);
    }
    let info = world.ended(&id).await;
    assert_eq!(info.status.as_deref(), Some("Succeeded"));
    assert_eq!(info.deployment_overview.unwrap().succeeded, Some(2));
    assert_eq!(world.event_states(&id, "web-1").await, ["Succeeded"; 7]);
    let notices = world.notices().await;
    let expected = [
        ("", "START"),
        ("web-1", "START"),
        ("web-1", "SUCCESS"),
        ("web-2", "START"),
        ("web-2", "SUCCESS"),
        ("", "SUCCESS"),
    ];
    let expected: Vec<_> =
        expected.iter().map(|(host, state)| (id.clone(), (*host).to_owned(), (*state).to_owned())).collect();
    assert_eq!(notices, expected);
    world.stop().await;
}

#[tokio::test]
async fn a_failing_validate_service_on_the_first_host_spares_the_second_and_is_rolled_back() {
    let world = World::new().await;
    world.fleet(&["web-1", "web-2"], ONE).await;
    let good = |key: &str, event: &str| key != "v2.zip" || event != "ValidateService";
    let (first, second) = (world.agent("web-1").work(good), world.agent("web-2").work(good));
    let v1 = world.deploy("v1.zip").await;
    world.ended(&v1).await;

    let v2 = world.deploy("v2.zip").await;
    let failed = world.ended(&v2).await;
    assert_eq!(failed.status.as_deref(), Some("Failed"));
    assert_eq!(failed.error_information.unwrap().code.as_deref(), Some("HEALTH_CONSTRAINTS"));
    assert_eq!(failed.previous_revision, Some(s3("v1.zip")));
    let overview = failed.deployment_overview.unwrap();
    assert_eq!((overview.failed, overview.skipped, overview.pending), (Some(1), Some(1), Some(0)));
    let broken = world.target(&v2, "web-1").await;
    let events = broken.lifecycle_events.unwrap();
    let told = events[6].diagnostics.clone().unwrap();
    assert_eq!(events[6].status.as_deref(), Some("Failed"));
    assert_eq!(told.error_code.as_deref(), Some("ScriptFailed"));
    assert_eq!(told.log_tail.as_deref(), Some("[stderr]no answer\n"));
    let spared = world.target(&v2, "web-2").await;
    assert_eq!(spared.status.as_deref(), Some("Skipped"));
    assert_eq!(world.event_states(&v2, "web-2").await, ["Skipped"; 7]);

    let back = failed.rollback_info.unwrap().rollback_deployment_id.unwrap();
    let rollback = world.ended(&back).await;
    assert_eq!(rollback.status.as_deref(), Some("Succeeded"));
    assert_eq!(rollback.creator.as_deref(), Some("codeDeployRollback"));
    assert_eq!(rollback.rollback_info.unwrap().rollback_triggering_deployment_id, Some(v2.clone()));
    assert_eq!(rollback.revision.unwrap().s3_location.unwrap().key.as_deref(), Some("v1.zip"));
    assert_eq!(rollback.deployment_overview.unwrap().succeeded, Some(1));
    let targets = ListDeploymentTargetsInput { deployment_id: Some(back), ..Default::default() };
    let targets = world.service.list_deployment_targets(&admin(), targets).await.unwrap();
    assert_eq!(targets.target_ids.unwrap(), ["web-1"], "the second host still has the good revision");

    let group = GetDeploymentGroupInput {
        application_name: Some("shop".into()),
        deployment_group_name: Some("prod".into()),
    };
    let group =
        world.service.get_deployment_group(&admin(), group).await.unwrap().deployment_group_info.unwrap();
    assert_eq!(group.target_revision.unwrap().s3_location.unwrap().key.as_deref(), Some("v1.zip"));
    first.abort();
    second.abort();
    world.stop().await;
}

#[tokio::test]
async fn a_first_deployment_that_fails_has_nothing_to_go_back_to_and_says_so() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    let agent = world.agent("web-1").work(|_, event| event != "BeforeInstall");
    let info = world.ended(&world.deploy("v1.zip").await).await;
    assert_eq!(info.status.as_deref(), Some("Failed"));
    let rollback = info.rollback_info.unwrap();
    assert_eq!(rollback.rollback_deployment_id, None);
    assert!(rollback.rollback_message.unwrap().contains("no earlier successful deployment"));
    agent.abort();
    world.stop().await;
}

#[tokio::test]
async fn half_at_a_time_takes_two_of_four_and_two_failures_end_it() {
    let world = World::new().await;
    world.fleet(&["web-1", "web-2", "web-3", "web-4"], "CodeDeployDefault.HalfAtATime").await;
    let id = world.deploy("v1.zip").await;
    let overview = world.started(&id).await.deployment_overview.unwrap();
    assert_eq!((overview.in_progress, overview.pending), (Some(2), Some(2)));
    let (one, two, three) = (world.agent("web-1"), world.agent("web-2"), world.agent("web-3"));
    one.step(|_, _| false).await;
    assert!(three.poll().await.is_none(), "a failed host still counts against the minimum");
    two.step(|_, _| false).await;
    let info = world.ended(&id).await;
    assert_eq!(info.status.as_deref(), Some("Failed"));
    assert_eq!(info.deployment_overview.unwrap().skipped, Some(2));
    assert!(three.poll().await.is_none());
    world.stop().await;
}

#[tokio::test]
async fn a_stop_lets_the_running_event_end_takes_no_more_and_rolls_back() {
    let world = World::new().await;
    world.fleet(&["web-1", "web-2"], ONE).await;
    let (one, two) = (world.agent("web-1"), world.agent("web-2"));
    let v1 = world.deploy("v1.zip").await;
    for agent in [&one, &two] {
        for _ in EVENTS {
            agent.step(|_, _| true).await;
        }
    }
    world.ended(&v1).await;

    let v2 = world.deploy("v2.zip").await;
    one.step(|_, _| true).await;
    let running = one.next().await.host_command_identifier.unwrap();
    one.try_acknowledge(&running, false).await.unwrap();
    let stop = StopDeploymentInput { deployment_id: Some(v2.clone()), auto_rollback_enabled: None };
    let stopped = world.service.stop_deployment(&admin(), stop.clone()).await.unwrap();
    assert_eq!(stopped.status.as_deref(), Some("Pending"));
    one.try_complete(&running, true).await.unwrap();
    let info = world.ended(&v2).await;
    assert_eq!(info.status.as_deref(), Some("Stopped"));
    assert_eq!(info.error_information.unwrap().code.as_deref(), Some("MANUAL_STOP"));
    assert_eq!(world.target(&v2, "web-1").await.status.as_deref(), Some("Failed"));
    assert_eq!(world.target(&v2, "web-2").await.status.as_deref(), Some("Skipped"));
    assert_eq!(
        code(world.service.stop_deployment(&admin(), stop).await),
        "DeploymentAlreadyCompletedException"
    );

    let back = info.rollback_info.unwrap().rollback_deployment_id.unwrap();
    for _ in EVENTS {
        assert_eq!(one.step(|_, _| true).await.0, "v1.zip");
    }
    assert_eq!(world.ended(&back).await.status.as_deref(), Some("Succeeded"));
    world.stop().await;
}

#[tokio::test]
async fn a_stop_takes_a_command_back_that_nobody_runs() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    let id = world.deploy("v1.zip").await;
    world.started(&id).await;
    let stop = StopDeploymentInput { deployment_id: Some(id.clone()), auto_rollback_enabled: Some(false) };
    world.service.stop_deployment(&admin(), stop).await.unwrap();
    let info = world.ended(&id).await;
    assert_eq!(info.status.as_deref(), Some("Stopped"));
    assert_eq!(info.rollback_info, None);
    assert_eq!(world.target(&id, "web-1").await.status.as_deref(), Some("Skipped"));
    assert!(world.agent("web-1").poll().await.is_none());
    world.stop().await;
}

#[tokio::test]
async fn a_group_has_one_active_deployment() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    let id = world.deploy("v1.zip").await;
    let second = world.service.create_deployment(&admin(), world.request("v2.zip")).await.unwrap_err();
    assert_eq!(second.code, "DeploymentLimitExceededException");
    assert_eq!(
        second.message,
        format!("The Deployment Group 'prod' already has an active Deployment '{id}'")
    );
    world.stop().await;
}

#[tokio::test]
async fn only_outdated_hosts_are_updated_when_asked() {
    let world = World::new().await;
    world.fleet(&["web-1", "web-2"], "CodeDeployDefault.AllAtOnce").await;
    let one = world.agent("web-1").work(|_, _| true);
    let two = world.agent("web-2").work(|_, _| true);
    world.ended(&world.deploy("v1.zip").await).await;
    world.register("web-3").await;
    let three = world.agent("web-3").work(|_, _| true);
    let request =
        CreateDeploymentInput { update_outdated_instances_only: Some(true), ..world.request("v1.zip") };
    let id = world.deploy_with(request).await;
    assert_eq!(world.ended(&id).await.deployment_overview.unwrap().succeeded, Some(1));
    assert_eq!(world.target(&id, "web-3").await.status.as_deref(), Some("Succeeded"));
    [one, two, three].iter().for_each(|agent| agent.abort());
    world.stop().await;
}

#[tokio::test]
async fn application_stop_failures_can_be_ignored() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    let agent = world.agent("web-1").work(|_, event| event != "ApplicationStop");
    let request =
        CreateDeploymentInput { ignore_application_stop_failures: Some(true), ..world.request("v1.zip") };
    let id = world.deploy_with(request).await;
    assert_eq!(world.ended(&id).await.status.as_deref(), Some("Succeeded"));
    let states = world.event_states(&id, "web-1").await;
    assert_eq!((states[0].as_str(), states[1].as_str()), ("Failed", "Succeeded"));
    agent.abort();
    world.stop().await;
}

#[tokio::test]
async fn no_hosts_and_an_impossible_minimum_fail_at_once() {
    let world = World::new().await;
    world.fleet(&[], ONE).await;
    let info = world.ended(&world.deploy("v1.zip").await).await;
    assert_eq!(info.error_information.unwrap().code.as_deref(), Some("NO_INSTANCES"));
    world.register("web-1").await;
    let config = CreateDeploymentConfigInput {
        deployment_config_name: Some("AlwaysTwo".into()),
        minimum_healthy_hosts: Some(MinimumHealthyHosts { type_: Some("HOST_COUNT".into()), value: Some(2) }),
        ..Default::default()
    };
    world.service.create_deployment_config(&admin(), config).await.unwrap();
    let request =
        CreateDeploymentInput { deployment_config_name: Some("AlwaysTwo".into()), ..world.request("v1.zip") };
    let info = world.ended(&world.deploy_with(request).await).await;
    assert_eq!(info.error_information.unwrap().code.as_deref(), Some("HEALTH_CONSTRAINTS_INVALID"));
    world.stop().await;
}
