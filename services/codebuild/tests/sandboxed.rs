//! Builds in real sandboxes. The binary is its own sandbox helper, so it has no test harness; it speaks as much
//! of the harness's language as test runners need.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

#[path = "story/fakes.rs"]
mod fakes;
#[path = "story/sandbox.rs"]
mod sandbox;
#[path = "story/world.rs"]
mod world;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use towpath_codebuild::sandbox::Sandboxes;
use towpath_runner::{Config, Runner};
use world::*;

type Story = fn() -> std::pin::Pin<Box<dyn Future<Output = ()>>>;

const STORIES: &[(&str, Story)] = &[
    ("a_build_in_a_sandbox", || Box::pin(a_build_in_a_sandbox())),
    ("a_stop_kills_the_sandbox", || Box::pin(a_stop_kills_the_sandbox())),
    ("memory_is_limited", || Box::pin(memory_is_limited())),
];

fn main() {
    towpath_runner::init_if_sandbox();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    if given("--list") {
        for (name, _) in STORIES.iter().filter(|_| !given("--ignored")) {
            println!("{name}: test");
        }
        return;
    }
    let names: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    for (name, story) in STORIES {
        if names.is_empty() || names.iter().any(|wanted| name.contains(wanted.as_str())) {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(story());
            println!("test {name} ... ok");
        }
    }
}

async fn sandboxed(endpoint: SocketAddr) -> World {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::from_env(folder.path().join("runner"));
    config.helper = "/proc/self/exe".into();
    let runner = Runner::new(config).unwrap();
    let runner: Arc<dyn Sandboxes> = Arc::new(runner);
    World::with(folder, Some(runner), endpoint).await
}

fn nowhere() -> SocketAddr {
    "127.0.0.1:4566".parse().unwrap()
}

async fn a_build_in_a_sandbox() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut byte = [0];
            let _ = connection.read(&mut byte);
            let _ = connection.write_all(b"hello from the server\n");
        }
    });
    let world = sandboxed(endpoint).await;
    let host_file = world.folder.path().join("on-the-host");
    std::fs::write(&host_file, "secret").unwrap();
    let text = format!(
        "version: 0.2
phases:
  install:
    commands:
      - export KEPT=yes; cd sub
      - greet() {{ echo hi; }}
  pre_build:
    run-as: nobody
    commands:
      - whoami
      - export FROM_NOBODY=1
  build:
    commands:
      - greet; echo $KEPT $FROM_NOBODY $(id -u) $(basename $PWD)
      - cat {host} 2>/dev/null || echo hidden
      - exec 3<>/dev/tcp/127.0.0.1/{port}; echo >&3; cat <&3
      - ln -s /etc/passwd ../link; echo data > ../made; chmod +x ../made
      - rm -f /usr/bin/env; kill -9 1; echo alive
artifacts:
  files: ['**/*']
",
        host = host_file.display(),
        port = endpoint.port()
    );
    world.objects.put("in", "src.zip", &zip(&[("buildspec.yml", &text), ("sub/x", "x")]));
    world
        .project("", |input| {
            let source = input.source.as_mut().unwrap();
            source.type_ = Some("S3".into());
            source.location = Some("in/src.zip".into());
            input.artifacts = Some(s3_artifacts(|_| {}));
        })
        .await;
    let id = world.start(|_| {}).await;
    let build = world.finished(&id).await;
    assert_eq!(build.build_status.as_deref(), Some("SUCCEEDED"), "{:#?}", world.log(&id));
    assert_eq!(
        world.printed(&build),
        ["nobody", "hi", "yes 1 0 sub", "hidden", "hello from the server", "alive"],
        "{:#?}",
        world.log(&id)
    );
    let files = unzip(&world.objects.get("out", "app").unwrap());
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["buildspec.yml", "made", "sub/x"]);
    world.nothing_left().await;
}

async fn a_stop_kills_the_sandbox() {
    use towpath_api_codebuild::{CodeBuild, StopBuildInput};
    let world = sandboxed(nowhere()).await;
    let mark = format!("sleep 31{:05}", std::process::id());
    world.project(&spec(&[&format!("{mark} & echo started; wait")]), |_| {}).await;
    let id = world.start(|_| {}).await;
    world.logged(&id, "started").await;
    assert!(running(&mark), "the control: it runs");
    let input = StopBuildInput { id: Some(id.clone()) };
    world.service.stop_build(&world.call, input).await.unwrap();
    world.nothing_left().await;
    assert!(!running(&mark));
    assert_eq!(world.get(&id).await.build_status.as_deref(), Some("STOPPED"));
}

fn running(command: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").trim() == command
    })
}

/// Only where the machine lets memory be limited; the sandbox's report says so otherwise.
async fn memory_is_limited() {
    let world = sandboxed(nowhere()).await;
    let hungry = "python3 -c 'x = bytearray(4 << 30)' 2>/dev/null";
    world.project(&spec(&["true"]), |_| {}).await;
    let id = world.start(|input| input.buildspec_override = Some(spec(&[hungry]))).await;
    let build = world.finished(&id).await;
    if !world.log(&id).iter().any(|line| line.contains("Note: ")) {
        assert_eq!(build.build_status.as_deref(), Some("FAILED"), "{:#?}", world.log(&id));
        assert!(context(&build, "BUILD").contains("COMMAND_EXECUTION_ERROR"));
    }
}
