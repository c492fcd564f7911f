//! Silence, crashes and things that go away.

use crate::support::*;
use towpath_api_codedeploy::*;

const ONE: &str = "CodeDeployDefault.OneAtATime";

#[tokio::test]
async fn a_host_that_never_answers_fails_after_five_minutes() {
    let world = World::new().await;
    world.fleet(&["web-1", "web-2"], ONE).await;
    let id = world.deploy("v1.zip").await;
    world.started(&id).await;
    world.clock.advance(4 * 60_000);
    world.store.wake_all();
    assert_eq!(world.info(&id).await.status.as_deref(), Some("InProgress"));
    world.clock.advance(61_000);
    world.store.wake_all();
    let info = world.ended(&id).await;
    assert_eq!(info.status.as_deref(), Some("Failed"));
    let events = world.target(&id, "web-1").await.lifecycle_events.unwrap();
    let told = events[0].diagnostics.clone().unwrap();
    assert_eq!(told.error_code.as_deref(), Some("UnknownError"));
    assert!(
        told.message.unwrap().starts_with("CodeDeploy agent was not able to receive the lifecycle event.")
    );
    // What the agent says afterwards comes too late.
    let (agent, command) = (world.agent("web-1"), format!("{id}.0.web-1"));
    assert_eq!(agent.try_acknowledge(&command, false).await.unwrap(), "Failed");
    agent.try_complete(&command, true).await.unwrap();
    assert_eq!(world.info(&id).await.status.as_deref(), Some("Failed"));
    assert_eq!(world.event_states(&id, "web-1").await[0], "Failed");
    world.stop().await;
}

#[tokio::test]
async fn an_agent_that_sends_signs_of_life_is_held_to_them() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    let id = world.deploy("v1.zip").await;
    let agent = world.agent("web-1");
    let command = agent.next().await.host_command_identifier.unwrap();
    agent.try_acknowledge(&command, false).await.unwrap();
    // An event may take long where nothing was promised.
    world.clock.advance(20 * 60_000);
    world.store.wake_all();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(world.info(&id).await.status.as_deref(), Some("InProgress"));
    let update = towpath_api_codedeploycommand::PostHostCommandUpdateInput {
        host_command_identifier: Some(command),
        ..Default::default()
    };
    use towpath_api_codedeploycommand::CodeDeployCommand;
    let status = world.service.post_host_command_update(&agent.call, update).await.unwrap();
    assert_eq!(status.command_status.as_deref(), Some("InProgress"));
    world.clock.advance(6 * 60_000);
    world.store.wake_all();
    assert_eq!(world.ended(&id).await.status.as_deref(), Some("Failed"));
    world.stop().await;
}

#[tokio::test]
async fn a_server_that_was_away_does_not_blame_its_agents() {
    let mut world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    let id = world.deploy("v1.zip").await;
    world.started(&id).await;
    let command = world.agent("web-1").next().await.host_command_identifier.unwrap();
    world.clock.advance(3_600_000);
    world = world.crash().await;
    world.store.wake_all();
    world.agent("web-1").try_acknowledge(&command, false).await.unwrap();
    world.agent("web-1").try_complete(&command, true).await.unwrap();
    assert_eq!(world.info(&id).await.status.as_deref(), Some("InProgress"));
    // From here on its silence counts.
    world.clock.advance(5 * 60_000 + 1000);
    world.store.wake_all();
    assert_eq!(world.ended(&id).await.status.as_deref(), Some("Failed"));
    world.stop().await;
}

#[tokio::test]
async fn a_crash_at_every_step_changes_nothing() {
    let mut world = World::new().await;
    world.fleet(&["web-1", "web-2"], ONE).await;
    let id = world.deploy("v1.zip").await;
    world = world.crash().await;
    for host in ["web-1", "web-2"] {
        for event in EVENTS {
            let command = world.agent(host).next().await;
            world = world.crash().await;
            let agent = world.agent(host);
            assert_eq!(agent.next().await, command, "an unacknowledged command comes again");
            assert_eq!(command.command_name.as_deref(), Some(event));
            let command = command.host_command_identifier.unwrap();
            assert_eq!(agent.try_acknowledge(&command, false).await.unwrap(), "InProgress");
            world = world.crash().await;
            let agent = world.agent(host);
            assert!(agent.poll().await.is_none(), "an acknowledged one does not");
            agent.try_complete(&command, true).await.unwrap();
            world = world.crash().await;
            world.agent(host).try_complete(&command, true).await.expect("its answer was lost: said again");
        }
    }
    let info = world.ended(&id).await;
    assert_eq!(info.status.as_deref(), Some("Succeeded"));
    let ends = world.notices().await.into_iter().filter(|(_, _, state)| state == "SUCCESS").count();
    assert_eq!(ends, 3, "each host and the deployment ended once");
    world.stop().await;
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_stop_still_stops() {
    let mut world = World::new().await;
    world.fleet(&["web-1", "web-2"], "CodeDeployDefault.AllAtOnce").await;
    let id = world.deploy("v1.zip").await;
    let agent = world.agent("web-1");
    let command = agent.next().await.host_command_identifier.unwrap();
    agent.try_acknowledge(&command, false).await.unwrap();
    let stop = StopDeploymentInput { deployment_id: Some(id.clone()), auto_rollback_enabled: Some(false) };
    world.service.stop_deployment(&admin(), stop).await.unwrap();
    world = world.crash().await;
    world.agent("web-1").try_complete(&command, true).await.unwrap();
    assert_eq!(world.ended(&id).await.status.as_deref(), Some("Stopped"));
    assert_eq!(world.target(&id, "web-2").await.status.as_deref(), Some("Skipped"));
    world.stop().await;
}

#[tokio::test]
async fn two_groups_share_a_host_one_after_the_other() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    let group = CreateDeploymentGroupInput {
        application_name: Some("shop".into()),
        deployment_group_name: Some("canary".into()),
        service_role_arn: Some(ROLE.into()),
        on_premises_instance_tag_filters: Some(vec![filter("role", "web")]),
        ..Default::default()
    };
    world.service.create_deployment_group(&admin(), group).await.unwrap();
    let first = world.deploy("v1.zip").await;
    world.started(&first).await;
    let request =
        CreateDeploymentInput { deployment_group_name: Some("canary".into()), ..world.request("v2.zip") };
    let second = world.deploy_with(request).await;
    world.started(&second).await;
    let agent = world.agent("web-1");
    for key in ["v1.zip", "v2.zip"] {
        for event in EVENTS {
            assert_eq!(agent.step(|_, _| true).await, (key.to_owned(), event.to_owned()));
        }
        // Waiting behind the other one does not count as silence.
        world.clock.advance(4 * 60_000);
        world.store.wake_all();
    }
    assert_eq!(world.ended(&second).await.status.as_deref(), Some("Succeeded"));
    world.stop().await;
}

#[tokio::test]
async fn deleting_a_group_stops_its_deployment() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    let id = world.deploy("v1.zip").await;
    world.started(&id).await;
    let group = DeleteDeploymentGroupInput {
        application_name: Some("shop".into()),
        deployment_group_name: Some("prod".into()),
    };
    world.service.delete_deployment_group(&admin(), group).await.unwrap();
    assert_eq!(world.ended(&id).await.status.as_deref(), Some("Stopped"));
    world.stop().await;
}
