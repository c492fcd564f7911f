//! The host-agent protocol: who may say what, and what lies do.

use crate::support::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
use towpath_api::Caller;
use towpath_api_codedeploy::*;
use towpath_api_codedeploycommand::*;
use towpath_codedeploy::Config;

const ALL: &str = "CodeDeployDefault.AllAtOnce";

#[tokio::test]
async fn an_agent_asks_for_its_own_host_only() {
    let world = World::new().await;
    world.fleet(&["web-1", "web-2"], ALL).await;
    let id = world.deploy("v1.zip").await;
    world.started(&id).await;
    let thief = FakeAgent { host: "web-2".into(), ..world.agent("web-1") };
    assert_eq!(code(thief.try_poll().await), "AccessDeniedException");
    let stranger = world.agent("nobody");
    assert_eq!(code(stranger.try_poll().await), "AccessDeniedException");
    let root = FakeAgent { call: admin(), ..world.agent("web-1") };
    assert_eq!(code(root.try_poll().await), "AccessDeniedException");

    let command = world.agent("web-2").next().await;
    let spec = GetDeploymentSpecificationInput {
        deployment_execution_id: command.deployment_execution_id.clone(),
        host_identifier: Some(user_arn("web-2")),
    };
    let denied = world.service.get_deployment_specification(&agent_call("web-1"), spec).await;
    assert_eq!(code(denied), "AccessDeniedException");
    let foreign = command.host_command_identifier.unwrap();
    let liar = world.agent("web-1");
    assert_eq!(code(liar.try_acknowledge(&foreign, true).await), "AccessDeniedException");
    assert_eq!(code(liar.try_complete(&foreign, false).await), "AccessDeniedException");
    let update = PostHostCommandUpdateInput { host_command_identifier: Some(foreign), ..Default::default() };
    let denied = world.service.post_host_command_update(&liar.call, update).await;
    assert_eq!(code(denied), "AccessDeniedException");
    assert_eq!(world.event_states(&id, "web-2").await, ["Pending"; 7]);
    world.stop().await;
}

#[tokio::test]
async fn lies_about_ones_own_commands_change_nothing() {
    let world = World::new().await;
    world.fleet(&["web-1"], ALL).await;
    let id = world.deploy("v1.zip").await;
    world.started(&id).await;
    let agent = world.agent("web-1");
    let command = agent.next().await.host_command_identifier.unwrap();
    assert_eq!(command, format!("{id}.0.web-1"));
    assert_eq!(
        code(agent.try_complete(&command, true).await),
        "ClientException",
        "before its acknowledgement"
    );
    for invented in [format!("{id}.6.web-1"), format!("{id}.7.web-1"), format!("{id}.x.web-1"), "".into()] {
        assert_eq!(code(agent.try_complete(&invented, true).await), "ClientException", "{invented}");
    }
    assert_eq!(code(agent.try_acknowledge("d-NONE00000.0.web-1", false).await), "ClientException");
    assert_eq!(world.event_states(&id, "web-1").await, ["Pending"; 7]);

    agent.try_acknowledge(&command, false).await.unwrap();
    agent.try_complete(&command, true).await.unwrap();
    agent.try_complete(&command, false).await.expect("a late report is harmless");
    assert_eq!(agent.try_acknowledge(&command, false).await.unwrap(), "Succeeded");
    let mut states = vec!["Pending"; 7];
    states[0] = "Succeeded";
    assert_eq!(world.event_states(&id, "web-1").await, states);
    let strange = PutHostCommandCompleteInput {
        host_command_identifier: Some(format!("{id}.1.web-1")),
        command_status: Some("InProgress".into()),
        diagnostics: None,
    };
    assert_eq!(code(world.service.put_host_command_complete(&agent.call, strange).await), "ClientException");
    world.stop().await;
}

#[tokio::test]
async fn an_unacknowledged_command_comes_again_and_an_acknowledged_one_does_not() {
    let world = World::new().await;
    world.fleet(&["web-1"], ALL).await;
    let id = world.deploy("v1.zip").await;
    world.started(&id).await;
    let agent = world.agent("web-1");
    let first = agent.next().await;
    assert!(agent.poll().await.is_none(), "not at once");
    world.clock.advance(1_000);
    assert_eq!(agent.next().await, first);
    agent.try_acknowledge(first.host_command_identifier.as_deref().unwrap(), false).await.unwrap();
    world.clock.advance(1_000);
    assert!(agent.poll().await.is_none());
    world.stop().await;
}

#[tokio::test]
async fn a_noop_needs_no_completion() {
    let world = World::new().await;
    world.fleet(&["web-1"], ALL).await;
    let id = world.deploy("v1.zip").await;
    let agent = world.agent("web-1");
    for event in EVENTS {
        let command = agent.next().await;
        assert_eq!(command.command_name.as_deref(), Some(event));
        let command = command.host_command_identifier.unwrap();
        let status = agent.try_acknowledge(&command, true).await.unwrap();
        if matches!(event, "DownloadBundle" | "Install") {
            assert_eq!(status, "InProgress");
            agent.try_complete(&command, true).await.unwrap();
        } else {
            assert_eq!(status, "Succeeded");
        }
    }
    assert_eq!(world.ended(&id).await.status.as_deref(), Some("Succeeded"));
    world.stop().await;
}

#[tokio::test]
async fn a_held_poll_is_woken_by_the_command() {
    let world = World::with(Config { poll_hold_ms: 20_000, ..Config::default() }).await;
    world.fleet(&["web-1"], ALL).await;
    let agent = world.agent("web-1");
    let held = tokio::spawn(async move { agent.poll().await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    world.deploy("v1.zip").await;
    let command = held.await.unwrap().expect("a command");
    assert_eq!(command.command_name.as_deref(), Some("ApplicationStop"));
    assert!(begun.elapsed() < Duration::from_secs(5), "the poll was not woken");
    // A held poll does not hold the server's stop up.
    let agent = world.agent("web-1");
    let held = tokio::spawn(async move { agent.poll().await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.stop().await;
    assert!(held.await.unwrap().is_none());
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn the_specification_tells_the_agent_everything_in_both_forms() {
    let world = World::new().await;
    world.fleet(&["web-1"], ALL).await;
    let request =
        CreateDeploymentInput { file_exists_behavior: Some("OVERWRITE".into()), ..world.request("v1.zip") };
    let id = world.deploy_with(request).await;
    let agent = world.agent("web-1");
    let command = agent.next().await;
    assert_eq!(command.host_identifier, Some(user_arn("web-1")));
    let spec = agent.specification(&command).await;
    assert_eq!(spec["DeploymentId"], id.as_str());
    assert_eq!(spec["ApplicationName"], "shop");
    assert_eq!(spec["DeploymentGroupName"], "prod");
    assert_eq!(spec["DeploymentCreator"], "user");
    assert_eq!(spec["AgentActionOverrides"]["AgentOverrides"]["FileExistsBehavior"], "OVERWRITE");
    assert_eq!(spec["Revision"]["S3Revision"]["Bucket"], "bucket");
    assert!(spec["Revision"]["S3Revision"]["ETag"].as_str().unwrap().starts_with("etag-"), "pinned");
    let input = GetDeploymentSpecificationInput {
        deployment_execution_id: command.deployment_execution_id,
        host_identifier: Some(user_arn("web-1")),
    };
    let output = world.service.get_deployment_specification(&agent.call, input).await.unwrap();
    let signed = output.deployment_specification.unwrap().generic_envelope.unwrap();
    assert_eq!(signed.format.as_deref(), Some("PKCS7/JSON"));
    assert!(signed.payload.unwrap().starts_with("-----BEGIN PKCS7-----\n"));
    world.stop().await;
}

#[tokio::test]
async fn a_session_serves_as_an_identity_too() {
    let world = World::new().await;
    let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/Host/web-9");
    let register = RegisterOnPremisesInstanceInput {
        instance_name: Some("web-9".into()),
        iam_session_arn: Some(arn.clone()),
        ..Default::default()
    };
    world.service.register_on_premises_instance(&admin(), register).await.unwrap();
    let caller = Caller::Session {
        arn: arn.clone(),
        role_arn: format!("arn:aws:iam::{ACCOUNT}:role/Host"),
        role_id: "AROAEXAMPLE".into(),
        session_name: "web-9".into(),
    };
    let call = call_as(caller, Arc::new(FakeGate { deny_all: true, ..Default::default() }));
    let poll = PollHostCommandInput { host_identifier: Some(arn) };
    assert_eq!(world.service.poll_host_command(&call, poll).await.unwrap().host_command, None);
    world.stop().await;
}
