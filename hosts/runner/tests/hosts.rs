//! Hosts: sandboxes that outlive the command that made them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;

use support::{World, eventually, mounts_below, processes_with};
use towpath_runner::host::{self, HostSpec};
use towpath_runner::{Command, Network, Publish, RunnerError};

stories! {
    a_host_lives_until_it_is_stopped,
    a_host_s_service_is_restarted,
    a_killed_host_is_swept,
    names_are_checked,
    a_host_has_an_address_that_only_its_own_machine_reaches,
}

fn spec(name: &str) -> HostSpec {
    let mut spec = HostSpec::new(name);
    spec.network = Network::None;
    spec
}

/// Output of a script in a host, with its exit code.
async fn there(world: &World, name: &str, script: &str) -> (String, i32) {
    let (mut output, to_output) = std::io::pipe().unwrap();
    let command = Command::new(["sh", "-c", script]).stdout(to_output);
    let status = host::exec(&world.config.state_dir, name, command).await.unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    (text, status.code)
}

async fn a_host_lives_until_it_is_stopped(world: World) {
    let state = &world.config.state_dir;
    assert_eq!(host::list(state).unwrap(), []);
    let mut web = spec("web-1");
    web.labels.push(("role".into(), "web".into()));
    web.publish.push(Publish { host: ([127, 0, 0, 1], 0).into(), inside_port: 80 });
    let web = host::run(&world.config, web).await.unwrap();
    let other = host::run(&world.config, spec("web-2")).await.unwrap();
    assert_eq!(host::list(state).unwrap(), [web.clone(), other]);
    assert_eq!(
        there(&world, "web-1", "hostname; echo here > /srv/file; exit 3").await,
        ("web-1\n".into(), 3)
    );
    assert_eq!(
        there(&world, "web-1", "cat /srv/file; test -x /usr/local/bin/towpath").await,
        ("here\n".into(), 0)
    );
    assert_eq!(there(&world, "web-2", "test -e /srv/file").await.1, 1);
    let (mut input, to_input) = std::io::pipe().map(|(r, w)| (w, r)).unwrap();
    input.write_all(b"typed\n").unwrap();
    drop(input);
    let command = Command::new(["sh", "-c", "read line; test $line = typed"]).stdin(to_input);
    assert!(host::exec(state, "web-1", command).await.unwrap().success());
    let serve = "cd /srv && (setsid /usr/bin/python3 -m http.server 80 --bind 127.0.0.1 >/dev/null 2>&1 &)";
    assert_eq!(there(&world, "web-1", serve).await.1, 0);
    eventually("the host's service answers", || {
        let Ok(mut client) = TcpStream::connect(web.published[0]) else { return false };
        let mut answer = String::new();
        client.write_all(b"GET /file HTTP/1.0\r\n\r\n").ok();
        client.read_to_string(&mut answer).is_ok() && answer.ends_with("here\n")
    })
    .await;
    assert!(matches!(host::run(&world.config, spec("web-1")).await, Err(RunnerError::HostExists(_))));
    // A server that starts anew lets hosts live.
    assert_eq!(world.runner().sweep().await.unwrap().sandboxes, Vec::<String>::new());
    host::stop(state, "web-1").await.unwrap();
    host::stop(state, "web-2").await.unwrap();
    assert_eq!(host::list(state).unwrap(), []);
    assert!(matches!(host::stop(state, "web-1").await, Err(RunnerError::NoSuchHost(_))));
    host::run(&world.config, spec("web-1")).await.unwrap();
    assert_eq!(there(&world, "web-1", "test -e /srv/file").await.1, 1);
    host::stop(state, "web-1").await.unwrap();
}

async fn a_host_s_service_is_restarted(world: World) {
    let mut agent = spec("agent");
    agent.service =
        Some(["sh", "-c", "echo run $$; echo x >> /srv/runs; sleep 0.1"].map(str::to_owned).into());
    host::run(&world.config, agent).await.unwrap();
    let log = world.config.state_dir.join("hosts/agent/service.log");
    eventually("it ran twice", || fs::read_to_string(&log).is_ok_and(|text| text.lines().count() >= 2)).await;
    assert!(there(&world, "agent", "wc -l < /srv/runs").await.0.trim().parse::<u32>().unwrap() >= 2);
    host::stop(&world.config.state_dir, "agent").await.unwrap();
}

async fn a_killed_host_is_swept(world: World) {
    let (state, mark) = (&world.config.state_dir, format!("5{:07}", std::process::id()));
    let web = host::run(&world.config, spec("web")).await.unwrap();
    let start = format!("(setsid sleep {mark} >/dev/null 2>&1 &)");
    assert_eq!(there(&world, "web", &start).await.1, 0);
    eventually("it sleeps", || processes_with(&format!("sleep {mark}")).len() == 1).await;
    let pid = nix::unistd::Pid::from_raw(web.supervisor_pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("its processes are gone", || processes_with(&format!("sleep {mark}")).is_empty()).await;
    assert_eq!(mounts_below(state), Vec::<String>::new());
    assert_eq!(host::list(state).unwrap(), []);
    world.runner().sweep().await.unwrap();
    assert!(!state.join("hosts/web").exists() && !state.join("run/host-web").exists());
    host::run(&world.config, spec("web")).await.unwrap();
    host::stop(state, "web").await.unwrap();
}

async fn names_are_checked(world: World) {
    for name in ["", "..", "a/b", "UPPER", "-x", &"x".repeat(64)] {
        assert!(matches!(host::run(&world.config, spec(name)).await, Err(RunnerError::Invalid(_))), "{name}");
        let command = Command::new(["true"]).stdout(File::create("/dev/null").unwrap());
        assert!(host::exec(&world.config.state_dir, name, command).await.is_err());
    }
}

async fn a_host_has_an_address_that_only_its_own_machine_reaches(world: World) {
    let serve = "cd /srv && (setsid /usr/bin/python3 -m http.server 8000 >/dev/null 2>&1 &)";
    let mut addresses = Vec::new();
    for name in ["web-1", "web-2"] {
        let host = host::run(&world.config, HostSpec::new(name)).await.unwrap();
        assert_eq!(there(&world, name, serve).await.1, 0);
        addresses.push(host.address);
    }
    if let [Some(first), Some(second)] = addresses[..] {
        for address in [first, second] {
            eventually("it answers", || TcpStream::connect((address, 8000)).is_ok()).await;
        }
        let connect = |address| format!("timeout 3 bash -c '</dev/tcp/{address}/8000'");
        assert_eq!(there(&world, "web-1", &connect(first)).await.1, 0);
        assert_ne!(there(&world, "web-1", &connect(second)).await.1, 0);
    } else {
        assert_eq!((addresses, world.is_root()), (vec![None, None], false));
    }
    for name in ["web-1", "web-2"] {
        host::stop(&world.config.state_dir, name).await.unwrap();
    }
}
