//! A thousand hosts.

use crate::support::*;
use std::time::Instant;
use towpath_api_codedeploycommand::*;

const HOSTS: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_hosts_are_planned_at_once_and_polls_stay_cheap() {
    let world = World::new().await;
    let names: Vec<String> = (0..HOSTS).map(|number| format!("host-{number:04}")).collect();
    world.fleet(&names.iter().map(String::as_str).collect::<Vec<_>>(), "CodeDeployDefault.AllAtOnce").await;
    let begun = Instant::now();
    let id = world.deploy("v1.zip").await;
    let overview = world.started(&id).await.deployment_overview.unwrap();
    assert_eq!(overview.in_progress, Some(HOSTS as i64));
    let planned = begun.elapsed();

    let begun = Instant::now();
    for name in names.iter().take(200) {
        let poll = PollHostCommandInput { host_identifier: Some(user_arn(name)) };
        let answer = world.service.poll_host_command(&agent_call(name), poll).await.unwrap();
        assert!(answer.host_command.is_some());
    }
    let poll = begun.elapsed() / 200;
    println!("planned {HOSTS} hosts in {planned:?}, one poll takes {poll:?}");
    assert!(planned.as_secs() < 30, "{planned:?}");
    assert!(poll.as_millis() < 50, "{poll:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_agents_at_once_lose_no_count() {
    let world = World::new().await;
    let names: Vec<String> = (0..60).map(|number| format!("host-{number:04}")).collect();
    world.fleet(&names.iter().map(String::as_str).collect::<Vec<_>>(), "CodeDeployDefault.HalfAtATime").await;
    let agents: Vec<_> = names.iter().map(|name| world.agent(name).work(|_, _| true)).collect();
    let id = world.deploy("v1.zip").await;
    let begun = Instant::now();
    let info = world.ended(&id).await;
    println!("60 hosts, half at a time: {:?}", begun.elapsed());
    assert_eq!(info.status.as_deref(), Some("Succeeded"));
    assert_eq!(info.deployment_overview.unwrap().succeeded, Some(60));
    agents.iter().for_each(|agent| agent.abort());
    world.stop().await;
}
