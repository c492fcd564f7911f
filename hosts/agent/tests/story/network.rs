//! Servers that come and go.

use crate::world::World;
use std::time::{Duration, Instant};

const APPSPEC: &str = "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: hook.sh\n";

#[test]
fn the_agent_waits_for_its_server_and_finds_it_again_quickly() {
    let mut world = World::new();
    world.fake.go_down();
    let agent = world.agent();
    std::thread::sleep(Duration::from_millis(300));
    world.fake.come_back();
    world.deploy_well("d-1", &[("appspec.yml", 0o644, APPSPEC), ("hook.sh", 0o755, "#!/bin/sh\n")]);
    world.fake.go_down();
    std::thread::sleep(Duration::from_secs(3));
    let polls = world.fake.state(|state| state.polls);
    world.fake.come_back();
    let back = Instant::now();
    world.fake.until("a poll after the restart", |state| (state.polls > polls).then_some(()));
    assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
    agent.end();
}

#[test]
fn a_result_is_delivered_when_the_server_is_back() {
    let mut world = World::new();
    let agent = world.agent();
    let script = "#!/bin/sh\necho ran >> HOST/ran\nwhile [ ! -e HOST/go ]; do sleep 0.02; done\n";
    world.offer("d-1", &[("appspec.yml", 0o644, APPSPEC), ("hook.sh", 0o755, script)]);
    for event in ["DownloadBundle", "Install"] {
        let id = world.fake.send("d-1", event);
        assert_eq!(world.fake.result(&id).status, "Succeeded");
    }
    let id = world.fake.send("d-1", "AfterInstall");
    crate::world::until("the script to run", || world.at("ran").exists());
    world.fake.go_down();
    world.write("go", "");
    std::thread::sleep(Duration::from_millis(500));
    world.fake.come_back();
    assert_eq!(world.fake.result(&id).status, "Succeeded");
    assert_eq!(world.read("ran"), "ran\n");
    agent.end();
}

#[test]
fn an_acknowledgement_whose_answer_got_lost_is_made_again() {
    let world = World::new();
    let agent = world.agent();
    let pieces = [("appspec.yml", 0o644, APPSPEC), ("hook.sh", 0o755, "#!/bin/sh\necho ran >> HOST/ran\n")];
    for (deployment, lost) in [("d-1", "ApplicationStop"), ("d-2", "Install"), ("d-3", "AfterInstall")] {
        world.fake.state(|state| state.lose_acknowledgement = format!("{deployment}.{lost}"));
        world.deploy_well(deployment, &pieces);
        world.fake.state(|state| assert!(state.lose_acknowledgement.is_empty()));
    }
    assert_eq!(world.read("ran"), "ran\n".repeat(3));
    agent.end();
}

#[test]
fn a_download_that_breaks_off_is_done_again() {
    let world = World::new();
    world.fake.state(|state| state.cut_download_after = Some(700));
    let agent = world.agent();
    world.deploy_well("d-1", &[("appspec.yml", 0o644, APPSPEC), ("hook.sh", 0o755, "#!/bin/sh\n")]);
    agent.end();
}

#[test]
fn signs_of_life_are_sent_and_a_command_that_is_over_is_aborted() {
    let world = World::new();
    let agent =
        world.agent_with(towpath_agent::Config { heartbeat: Duration::from_millis(50), ..world.config() });
    world.offer("d-1", &[("appspec.yml", 0o644, APPSPEC), ("hook.sh", 0o755, "#!/bin/sh\nexec sleep 300\n")]);
    for event in ["DownloadBundle", "Install"] {
        let id = world.fake.send("d-1", event);
        world.fake.result(&id);
    }
    let id = world.fake.send("d-1", "AfterInstall");
    let heard = world.fake.state(|state| state.updates);
    world.fake.until("signs of life", |state| (state.updates > heard + 2).then_some(()));
    world.fake.state(|state| state.over = true);
    let result = world.fake.result(&id);
    assert!(
        result.diagnostics["message"].as_str().unwrap().contains("was aborted while it ran"),
        "{result:?}"
    );
    agent.end();
}
