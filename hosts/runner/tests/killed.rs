//! What is killed leaves nothing behind, and holds nothing up.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command as HostCommand, Stdio};

use support::{World, eventually, groups_of, mounts_below, processes_with, works};
use towpath_runner::{Command, Runner, RunnerError, Spec};

stories! {
    a_killed_supervisor_leaves_nothing,
    a_killed_sandbox_s_name_is_free_at_once,
    a_killed_server_leaves_nothing,
}

/// Groups that exist, of those recorded.
fn existing(groups: &[PathBuf]) -> usize {
    groups.iter().filter(|g| g.exists()).count()
}

async fn a_killed_supervisor_leaves_nothing(world: World) {
    let (mark, state) = (format!("9{:07}", std::process::id()), world.config.state_dir.clone());
    let runner = world.runner();
    let mut spec = Spec::new("killed");
    spec.limits.memory_bytes = Some(64 << 20);
    let sandbox = runner.start(spec).await.unwrap();
    let mut process = sandbox.exec(Command::new(["sleep", &mark])).await.unwrap();
    let groups = groups_of(&state, "killed");
    assert_eq!(existing(&groups) > 0, world.is_root());
    eventually("it sleeps", || processes_with(&mark).len() == 1).await;
    let supervisor = nix::unistd::Pid::from_raw(sandbox.report().supervisor_pid);
    nix::sys::signal::kill(supervisor, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(matches!(process.wait().await, Err(RunnerError::Ended { .. })));
    eventually("its processes are gone", || processes_with(&mark).is_empty()).await;
    assert_eq!(mounts_below(&state), Vec::<String>::new());
    // The runner removes what is left at once; a sweep finds at most what it has not come to yet.
    let swept = runner.sweep().await.unwrap();
    assert!(swept.sandboxes.iter().all(|id| id == "killed"), "{:?}", swept.sandboxes);
    eventually("nothing of it is left", || existing(&groups) == 0 && !state.join("run/killed").exists())
        .await;
    runner.start(Spec::new("killed")).await.unwrap().destroy().await.unwrap();
}

/// What removes the killed one must not take the next one of its name for it.
async fn a_killed_sandbox_s_name_is_free_at_once(world: World) {
    let runner = world.runner();
    let run = world.config.state_dir.join("run");
    for _ in 0..20 {
        let sandbox = runner.start(Spec::new("again")).await.unwrap();
        let supervisor = nix::unistd::Pid::from_raw(sandbox.report().supervisor_pid);
        nix::sys::signal::kill(supervisor, nix::sys::signal::Signal::SIGKILL).unwrap();
        // Beside the runner's own, as another server's start or a person's command would be.
        runner.sweep().await.unwrap();
        eventually("its folder is gone", || !run.join("again").exists()).await;
        let next = runner.start(Spec::new("again")).await.unwrap();
        assert!(works(&next, "test -s /etc/hosts && echo here > /tmp/file").await);
        next.destroy().await.unwrap();
    }
    eventually("no draft stays", || fs::read_dir(&run).unwrap().next().is_none()).await;
}

/// Not a story: the server that the next one kills. It is this test binary, started again.
#[test]
fn server() {
    let Some(state) = std::env::var_os("TOWPATH_TEST_SERVER") else { return };
    let mark = std::env::var("TOWPATH_TEST_MARK").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut config = towpath_runner::Config::from_env(&state);
        config.helper = support::helper();
        let mut spec = Spec::new("orphaned");
        spec.limits.memory_bytes = Some(64 << 20);
        let sandbox = Runner::new(config).unwrap().start(spec).await.unwrap();
        let _process = sandbox.exec(Command::new(["sleep", &mark])).await.unwrap();
        println!("\nready");
        std::io::stdout().flush().unwrap();
        std::future::pending::<()>().await;
    });
}

async fn a_killed_server_leaves_nothing(world: World) {
    let (mark, state) = (format!("6{:07}", std::process::id()), world.config.state_dir.clone());
    let mut server = HostCommand::new(std::env::current_exe().unwrap())
        .args(["--exact", "server", "--nocapture"])
        .env("TOWPATH_TEST_SERVER", &state)
        .env("TOWPATH_TEST_MARK", &mark)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.ends_with("ready")));
    let groups = groups_of(&state, "orphaned");
    assert_eq!(existing(&groups) > 0, world.is_root());
    eventually("it sleeps", || processes_with(&format!("sleep {mark}")).len() == 1).await;
    server.kill().unwrap();
    server.wait().unwrap();
    let run = state.join("run/orphaned");
    eventually("its supervisor has cleaned up", || !run.exists() && existing(&groups) == 0).await;
    assert_eq!(processes_with(&format!("sleep {mark}")), Vec::<i32>::new());
    assert_eq!(mounts_below(&state), Vec::<String>::new());
    assert_eq!(world.runner().sweep().await.unwrap().sandboxes, Vec::<String>::new());
}
