//! Agents that are killed, as processes of their own: this test binary run again.

use crate::world::{World, until};
use std::process::{Child, Command, Stdio};
use towpath_agent::{Config, Credentials, Stop};

const APPSPEC: &str = "version: 0.0\nos: linux\nfiles:\n  - source: app\n    destination: HOST/app\nhooks:\n  \
    AfterInstall:\n    - location: hook.sh\n";

/// Not a test of its own: the agent of the tests below.
#[test]
fn agent_process() {
    let Ok(endpoint) = std::env::var("STORY_ENDPOINT") else { return };
    let stop = Stop::on_signals().unwrap();
    let credentials =
        Credentials { access_key_id: "AKID".into(), secret_access_key: "k".into(), session_token: None };
    let config = Config {
        root_dir: std::env::var_os("STORY_ROOT").unwrap().into(),
        stop_grace: std::time::Duration::from_millis(300),
        ..Config::new(endpoint, "us-east-1", "web-1", credentials)
    };
    towpath_agent::run(config, stop).unwrap();
}

struct Process(Child);

impl Process {
    fn start(world: &World) -> Process {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crashes::agent_process", "--nocapture", "--test-threads=1"])
            .env("STORY_ENDPOINT", format!("http://{}", world.fake.address))
            .env("STORY_ROOT", world.root())
            .stdout(Stdio::null())
            .spawn();
        Process(child.unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn terminate(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn prepared(script: &str) -> World {
    let world = World::new();
    world.offer("d-1", &[("appspec.yml", 0o644, APPSPEC), ("hook.sh", 0o755, script), ("app/a", 0o644, "a")]);
    world
}

fn send_until_hook(world: &World) -> String {
    for event in ["ApplicationStop", "DownloadBundle", "BeforeInstall", "Install"] {
        let id = world.fake.send("d-1", event);
        assert_eq!(world.fake.result(&id).status, "Succeeded", "{event}");
    }
    world.fake.send("d-1", "AfterInstall")
}

#[test]
fn a_command_whose_agent_was_killed_is_reported_as_failed_and_not_run_again() {
    let world = prepared(
        "#!/bin/sh\necho ran >> HOST/ran\nsleep 300 &\necho $! > HOST/child\necho $$ > HOST/self\nwait\n",
    );
    let process = Process::start(&world);
    let id = send_until_hook(&world);
    until("the script to run", || world.read("self").trim().parse::<u32>().is_ok());
    process.kill();
    let (script, child) = (world.read("self").trim().to_owned(), world.read("child").trim().to_owned());
    until("the script to end with its agent", || !alive(&script));
    let process = Process::start(&world);
    let result = world.fake.result(&id);
    assert_eq!((result.status.as_str(), result.diagnostics["error_code"].as_i64()), ("Failed", Some(7)));
    let message = result.diagnostics["message"].as_str().unwrap();
    assert!(message.contains("the agent ended while AfterInstall was running"), "{message}");
    until("what the script had started to end", || !alive(&child));
    assert_eq!(world.read("ran"), "ran\n");
    // The host is ready for the next deployment.
    world.deploy_well("d-2", &[("appspec.yml", 0o644, "version: 0.0\nos: linux\n")]);
    process.terminate();
}

#[test]
fn a_result_outlives_the_agent_that_could_not_deliver_it() {
    let world = prepared("#!/bin/sh\necho ran >> HOST/ran\necho output\nexit 3\n");
    let process = Process::start(&world);
    world.fake.state(|state| state.refuse_results = false);
    for event in ["DownloadBundle", "Install"] {
        let id = world.fake.send("d-1", event);
        world.fake.result(&id);
    }
    world.fake.state(|state| state.refuse_results = true);
    let id = world.fake.send("d-1", "AfterInstall");
    let journal = world.root().join("ongoing-deployment/command.json");
    until("the result in the journal", || {
        std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("Finished"))
    });
    process.kill();
    world.fake.state(|state| state.refuse_results = false);
    let process = Process::start(&world);
    let result = world.fake.result(&id);
    assert_eq!(result.diagnostics["error_code"], 4, "as it was, and not as a crash");
    assert!(result.diagnostics["log"].as_str().unwrap().contains("[stdout]output"));
    assert_eq!(world.read("ran"), "ran\n");
    world.fake.until("one delivery", |state| (state.deliveries[&id] == 1).then_some(()));
    until("the journal to be empty", || !journal.exists());
    process.terminate();
}

#[test]
fn a_command_that_was_accepted_and_not_begun_is_run_once_by_the_next_agent() {
    let world = prepared("#!/bin/sh\necho ran >> HOST/ran\n");
    let process = Process::start(&world);
    let id = send_until_hook(&world);
    world.fake.result(&id);
    process.terminate();
    // The same moment as a death between the acknowledgement and the work.
    std::fs::remove_file(world.at("ran")).unwrap();
    let id = world.fake.send("d-1", "AfterInstall");
    world.fake.state(|state| state.results.clear());
    let entry = serde_json::json!({ "Accepted": { "command": { "id": id, "name": "AfterInstall",
        "execution_id": "000000000000/us-east-1/deployment/d-1" } } });
    std::fs::write(world.root().join("ongoing-deployment/command.json"), entry.to_string()).unwrap();
    let process = Process::start(&world);
    assert_eq!(world.fake.result(&id).status, "Succeeded");
    process.terminate();
    assert_eq!(world.read("ran"), "ran\n");
}

#[test]
fn an_agent_that_is_killed_during_an_install_finishes_nothing_silently() {
    let world = prepared("#!/bin/sh\n");
    let process = Process::start(&world);
    send_until_hook(&world);
    process.terminate();
    // An install that died half way: files are there, the record says "under way", a temporary file is left.
    let instructions = world.root().join("deployment-instructions");
    std::fs::write(instructions.join("group-1-installing"), "").unwrap();
    world.write("app/a", "half");
    let process = Process::start(&world);
    world.deploy_well(
        "d-2",
        &[("appspec.yml", 0o644, APPSPEC), ("hook.sh", 0o755, "#!/bin/sh\n"), ("app/a", 0o644, "a")],
    );
    assert_eq!(world.read("app/a"), "a");
    assert!(!instructions.join("group-1-installing").exists());
    process.terminate();
}

#[test]
fn sigterm_aborts_a_script_that_takes_too_long_and_reports_it() {
    let world = prepared("#!/bin/sh\ntouch HOST/ran\nexec sleep 300\n");
    let process = Process::start(&world);
    let id = send_until_hook(&world);
    until("the script to run", || world.at("ran").exists());
    process.terminate();
    let result = world.fake.result(&id);
    assert!(
        result.diagnostics["message"].as_str().unwrap().contains("was aborted while it ran"),
        "{result:?}"
    );
}

#[test]
fn a_damaged_journal_is_set_aside() {
    let world = prepared("#!/bin/sh\n");
    std::fs::create_dir_all(world.root().join("ongoing-deployment")).unwrap();
    std::fs::write(world.root().join("ongoing-deployment/command.json"), "{").unwrap();
    let process = Process::start(&world);
    let id = send_until_hook(&world);
    assert_eq!(world.fake.result(&id).status, "Succeeded");
    assert!(world.root().join("ongoing-deployment/command.damaged").exists());
    process.terminate();
}
