//! Scripts: what they see, how they fail, and what becomes of what they start.

use crate::world::{Failed, SECRET, World, is_root, until};
use std::fs;
use std::time::{Duration, Instant};

fn appspec(event: &str, entry: &str) -> String {
    format!("version: 0.0\nos: linux\nhooks:\n  {event}:\n    - location: s/hook.sh\n{entry}")
}

/// A deployment with one script for AfterInstall that is to fail.
fn failing(world: &World, script: &str, mode: u32, entry: &str) -> Failed {
    let appspec = appspec("AfterInstall", entry);
    world.deploy_badly(
        "d-1",
        &[("appspec.yml", 0o644, &appspec), ("s/hook.sh", mode, script)],
        "AfterInstall",
    )
}

fn succeeding(world: &World, script: &str, mode: u32, entry: &str) {
    let appspec = appspec("AfterInstall", entry);
    world.deploy_well("d-1", &[("appspec.yml", 0o644, &appspec), ("s/hook.sh", mode, script)]);
}

#[test]
fn a_failing_script_is_reported_with_its_output() {
    let world = World::new();
    let agent = world.agent();
    let failed = failing(&world, "#!/bin/sh\necho out\necho err >&2\nexit 7\n", 0o755, "");
    assert_eq!((failed.code, failed.script.as_str()), (4, "s/hook.sh"));
    assert_eq!(failed.message, "Script at specified location: s/hook.sh failed with exit code 7");
    for line in ["LifecycleEvent - AfterInstall\n", "Script - s/hook.sh\n", "[stdout]out\n", "[stderr]err\n"]
    {
        assert!(failed.log.contains(line), "{failed:?}");
        assert!(world.log("d-1").contains(line));
    }
    agent.end();
}

#[test]
fn the_log_has_its_last_two_kilobytes_in_the_diagnostics() {
    let world = World::new();
    let agent = world.agent();
    let script = "#!/bin/sh\ni=0\nwhile [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done\nexit 1\n";
    let failed = failing(&world, script, 0o755, "");
    assert!(
        failed.log.len() <= 2048
            && failed.log.contains("[stdout]line 1999\n")
            && !failed.log.contains("line 100\n")
    );
    let log = world.log("d-1");
    assert!(log.contains("[stdout]line 0\n") && log.contains("[stdout]line 1999\n"));
    agent.end();
}

#[test]
fn what_scripts_see() {
    let world = World::new();
    let agent = world.agent();
    succeeding(&world, "#!/bin/sh\nenv > HOST/env\npwd > HOST/pwd\ncat > HOST/stdin\n", 0o755, "");
    let env = world.read("env");
    for line in [
        "APPLICATION_NAME=web",
        "DEPLOYMENT_ID=d-1",
        "DEPLOYMENT_GROUP_NAME=prod",
        "DEPLOYMENT_GROUP_ID=group-1",
        "LIFECYCLE_EVENT=AfterInstall",
        "BUNDLE_BUCKET=b",
        "BUNDLE_KEY=k/d-1 1",
        "BUNDLE_VERSION=v1",
        "BUNDLE_ETAG=tag-1",
    ] {
        assert!(env.lines().any(|one| one == line), "{line} is not in\n{env}");
    }
    assert!(!env.contains("AWS_") && !env.contains(SECRET) && !env.contains("CARGO"), "{env}");
    assert_eq!(world.read("pwd").trim(), world.root().parent().unwrap().to_str().unwrap());
    assert_eq!(world.read("stdin"), "");
    agent.end();
}

#[test]
fn secrets_are_in_no_file_of_the_agents() {
    let world = World::new();
    let agent = world.agent();
    failing(&world, "#!/bin/sh\nenv; exit 1\n", 0o755, "");
    agent.end();
    let found = std::process::Command::new("grep").arg("-r").arg(SECRET).arg(world.root()).output().unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
}

#[test]
fn a_missing_script_is_told_apart() {
    let world = World::new();
    let agent = world.agent();
    let appspec = appspec("AfterInstall", "");
    let failed = world.deploy_badly("d-1", &[("appspec.yml", 0o644, &appspec)], "AfterInstall");
    assert_eq!(failed.code, 1);
    assert!(failed.message.starts_with("Script does not exist at specified location: /"), "{failed:?}");
    agent.end();
}

#[test]
fn a_script_without_rights_or_without_a_first_line_runs() {
    let world = World::new();
    let agent = world.agent();
    succeeding(&world, "echo ran > HOST/ran\n", 0o644, "");
    assert_eq!(world.read("ran"), "ran\n");
    agent.end();
}

#[test]
fn a_script_that_cannot_be_started_never_ran() {
    let world = World::new();
    let agent = world.agent();
    let failed = failing(&world, "#!/no/such/interpreter\n", 0o755, "");
    assert_eq!(failed.code, 5);
    assert!(failed.message.contains("could not be started and never ran"), "{failed:?}");
    agent.end();
}

#[test]
fn a_timeout_ends_everything_that_the_script_started() {
    let world = World::new();
    let agent = world.agent();
    let script = "#!/bin/bash\ntrap '' TERM\n(trap '' TERM; sleep 300) &\necho $! > HOST/child\nset -m\nsleep 300 &\necho $! > HOST/job\necho begun\nwait\n";
    let begun = Instant::now();
    let failed = failing(&world, script, 0o755, "      timeout: 1\n");
    assert_eq!(failed.code, 3);
    assert_eq!(failed.message, "Script at specified location: s/hook.sh failed to complete in 1 seconds");
    assert!(failed.log.contains("[stdout]begun"));
    assert!(begun.elapsed() < Duration::from_secs(10));
    for file in ["child", "job"] {
        let pid = world.read(file).trim().to_owned();
        until("the script's processes to end", || !alive(&pid));
    }
    agent.end();
}

fn alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn a_service_left_behind_with_its_output_open_holds_nobody_up() {
    let world = World::new();
    let agent = world.agent();
    let script =
        "#!/bin/sh\n(while :; do echo noise; sleep 0.05; done) &\necho $! > HOST/service\necho done\n";
    let begun = Instant::now();
    succeeding(&world, script, 0o755, "");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let pid = world.read("service").trim().to_owned();
    std::thread::sleep(Duration::from_millis(300));
    assert!(alive(&pid), "the service goes on, and can still write");
    assert!(world.log("d-1").contains("left a process behind"));
    agent.end();
    std::process::Command::new("kill").arg(pid).status().unwrap();
}

#[test]
fn scripts_run_as_the_user_that_is_named() {
    let world = World::new();
    let agent = world.agent();
    let script = "#!/bin/sh\nid -un; id -Gn; echo $HOME $USER\nexit 1\n";
    let failed = failing(&world, script, 0o755, "      runas: nobody\n");
    if is_root() {
        assert!(failed.log.contains("[stdout]nobody\n[stdout]nogroup\n"), "{failed:?}");
        assert!(failed.log.contains("nobody\n") && !failed.log.contains("/root"), "{failed:?}");
        assert!(failed.message.contains("s/hook.sh run as user nobody failed with exit code 1"));
    } else {
        assert!(failed.message.contains("only an agent that runs as root"), "{failed:?}");
    }
    let entry = "      runas: no-such-user\n";
    let appspec = appspec("AfterInstall", entry);
    let pieces = [("appspec.yml", 0o644, appspec.as_str()), ("s/hook.sh", 0o755, script)];
    let failed = world.deploy_badly("d-2", &pieces, "AfterInstall");
    assert!(failed.message.contains("never ran: the user no-such-user does not exist"), "{failed:?}");
    agent.end();
}

#[test]
fn application_stop_is_the_last_revisions() {
    let world = World::new();
    let agent = world.agent();
    let of = |number: &str| format!("#!/bin/sh\necho stop {number} >> HOST/stops\n");
    let appspec = appspec("ApplicationStop", "");
    for number in ["1", "2", "3"] {
        let script = of(number);
        let pieces = [("appspec.yml", 0o644, appspec.as_str()), ("s/hook.sh", 0o755, script.as_str())];
        world.deploy_well(&format!("d-{number}"), &pieces);
    }
    assert_eq!(world.read("stops"), "stop 1\nstop 2\n");
    agent.end();
}
