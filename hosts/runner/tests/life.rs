//! A sandbox from start to end: commands, limits, doors, workspaces, and every way to die.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use support::{World, eventually, mounts_below, processes_with, said, shell, works};
use towpath_runner::{
    Access, Bind, BindSource, Command, Limits, Network, Publish, Relay, Runner, RunnerError, Spec, View,
    WindowSize,
};

stories! {
    commands_run_one_after_another_and_together,
    a_command_that_cannot_start_says_why,
    memory_over_the_limit_gives_137,
    a_fork_bomb_is_held,
    the_wall_limit_ends_it,
    the_disk_limit_ends_it,
    orphans_are_reaped_and_die_with_the_sandbox,
    a_dropped_sandbox_dies,
    a_supervisor_that_ends_at_once_says_how,
    workspaces_are_shared_and_read_safely,
    relays_and_published_ports_carry_connections,
    a_bad_specification_changes_nothing,
    packages_download_from_inside,
    a_terminal_is_a_terminal,
    many_run_at_once,
}

async fn a_supervisor_that_ends_at_once_says_how(world: World) {
    let mut config = world.config.clone();
    config.helper = "/bin/false".into();
    let error = Runner::new(config).unwrap().start(Spec::new("one")).await.unwrap_err().to_string();
    assert!(error.ends_with("its supervisor ended at once: exit status: 1"), "{error}");
}

async fn commands_run_one_after_another_and_together(world: World) {
    let sandbox = world.start(|spec| spec.hostname = "build-1".into()).await;
    assert_eq!(
        said(&sandbox, "hostname; pwd; echo $HOME").await,
        format!("build-1\n/\n{}\n", world.config.home.display())
    );
    said(&sandbox, "echo kept > ~/state").await;
    let command = Command::new(["cat", "state"]).cwd(&world.config.home);
    assert_eq!(sandbox.run(command, 100).await.unwrap().stdout, b"kept\n");
    let slow = sandbox.run(Command::new(["sh", "-c", "read line < ~/fifo; exit $line"]).env("X", "1"), 10);
    let fast = async {
        said(&sandbox, "mkfifo ~/fifo 2>/dev/null; true").await;
        said(&sandbox, "echo 7 > ~/fifo").await
    };
    said(&sandbox, "mkfifo ~/fifo").await;
    let (slow, _) = tokio::join!(slow, fast);
    assert_eq!(slow.unwrap().status.code, 7);
    let output = sandbox.run(Command::new(["sh", "-c", "echo long line; echo err >&2"]), 4).await.unwrap();
    assert_eq!((output.stdout, output.stderr, output.truncated), (b"long".to_vec(), b"err\n".to_vec(), true));
    let mut process = sandbox.exec(Command::new(["sleep", "100"])).await.unwrap();
    process.signal(libc_sigterm()).await.unwrap();
    let status = process.wait().await.unwrap();
    assert_eq!((status.code, status.signal), (143, Some(15)));
    assert!(works(&sandbox, "echo reopened > /dev/stdout && echo x > /dev/stderr").await);
    if world.is_root() {
        let command = Command::new(["sh", "-c", "id -un; id -u; echo x > /dev/stderr"]).user("nobody");
        assert_eq!(sandbox.run(command, 100).await.unwrap().stdout, b"nobody\n65534\n");
        let command = Command::new(["id", "-u"]).user("1234:5");
        assert_eq!(sandbox.run(command, 100).await.unwrap().stdout, b"1234\n");
    }
    sandbox.destroy().await.unwrap();
    eventually("the trash is emptied", || {
        let left = |name: &str| fs::read_dir(world.config.state_dir.join(name)).unwrap().count();
        left("trash") == 0 && left("run") == 0
    })
    .await;
}

fn libc_sigterm() -> i32 {
    nix::sys::signal::Signal::SIGTERM as i32
}

async fn a_command_that_cannot_start_says_why(world: World) {
    let sandbox = world.start(|_| {}).await;
    let cases = [
        (Command::new(["no-such-program"]), "No such file"),
        (Command::new(["/etc/passwd"]), "Permission denied"),
        (Command::new(["true"]).cwd("/no/such"), "working folder"),
        (Command::new(["true"]).user("no-such-user"), "no user"),
        (Command::new(Vec::<String>::new()), "empty command"),
        (Command::new(["true"]).env("A=B", "c"), "cannot name"),
    ];
    for (command, expected) in cases {
        match sandbox.exec(command).await {
            Err(RunnerError::Spawn { detail, .. }) => assert!(detail.contains(expected), "{detail}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert_eq!(shell(&sandbox, "exit 127").await.status.code, 127);
}

/// Takes 200 MiB, not in one gulp.
const EAT: &str = "/usr/bin/python3 -c '
import time
held = []
for _ in range(50):
    held.append(bytearray(4 << 20))
    time.sleep(0.01)
'";

async fn memory_over_the_limit_gives_137(world: World) {
    let roomy = world.start(|spec| spec.limits.memory_bytes = Some(1 << 30)).await;
    assert!(works(&roomy, EAT).await);
    drop(roomy);
    let mut spec = Spec::new("tight");
    spec.limits.memory_bytes = Some(64 << 20);
    let sandbox = world.runner().start(spec).await.unwrap();
    let status = shell(&sandbox, &format!("exec {EAT}")).await.status;
    assert_eq!((status.code, status.signal, status.out_of_memory), (137, Some(9), true));
    // Without a control group the limit is weaker, and says so.
    let told = sandbox.report().weaknesses.iter().any(|w| w.contains("memory limit"));
    assert_eq!(told, !world.is_root());
    let status = shell(&sandbox, "true").await.status;
    assert!(status.success() && !status.out_of_memory);
}

/// Forks until it may not, at most 80 times, and prints how often.
const FORK: &str = "/usr/bin/python3 -c '
import os, signal
children = []
try:
    for _ in range(80):
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
except OSError:
    pass
print(len(children))
for child in children:
    os.kill(child, signal.SIGKILL)
'";

async fn a_fork_bomb_is_held(world: World) {
    let roomy = world.start(|spec| spec.limits.pids = Some(500)).await;
    assert_eq!(said(&roomy, FORK).await.trim(), "80");
    drop(roomy);
    let mut spec = Spec::new("tight");
    spec.limits.pids = Some(40);
    let sandbox = world.runner().start(spec).await.unwrap();
    let held: u32 = said(&sandbox, FORK).await.trim().parse().unwrap();
    assert!((10..40).contains(&held), "{held}");
    let bomb = sandbox.exec(Command::new(["bash", "-c", "f() { f | f & }; f; sleep 100"])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The host goes on, and the sandbox ends when told to, bomb and all.
    assert!(support::works_outside("true"));
    let started = Instant::now();
    drop(bomb);
    sandbox.destroy().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(20));
}

async fn the_wall_limit_ends_it(world: World) {
    let sandbox = world.start(|spec| spec.limits.wall_ms = Some(400)).await;
    assert!(works(&sandbox, "true").await);
    let status = shell(&sandbox, "sleep 100").await.status;
    assert_eq!((status.code, status.signal), (137, Some(9)));
    assert!(sandbox.ended().await.contains("time limit"));
    match sandbox.exec(Command::new(["true"])).await {
        Err(RunnerError::Ended { reason, .. }) => assert!(reason.contains("time limit"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// Each way of filling the disk ends its own sandbox, and whoever waits is told why.
async fn the_disk_limit_ends_it(world: World) {
    let runner = world.runner();
    let workspace = world.folder.path().join("work");
    fs::create_dir(&workspace).unwrap();
    let limit = 32 << 20;
    let start = async |id: &str| {
        let mut spec = Spec::new(id);
        spec.limits.disk_bytes = Some(limit);
        if id == "filler" {
            spec.binds = vec![Bind::writable(&workspace, "/work")];
        }
        runner.start(spec).await.unwrap()
    };
    let bystander = start("bystander").await;
    assert!(works(&bystander, "head -c 8M /dev/zero > /tmp/some && truncate -s 10G /tmp/sparse").await);
    for (name, fill) in [
        ("a file of its own", "head -c 200M /dev/zero > /tmp/big; sleep 60"),
        ("in the workspace", "head -c 200M /dev/zero > /work/big; sleep 60"),
        ("many empty files", "mkdir /tmp/many; cd /tmp/many; touch $(seq 20000); sleep 60"),
        ("closed folders", "mkdir /tmp/c; head -c 200M /dev/zero > /tmp/c/big; chmod 0 /tmp/c; sleep 60"),
        ("no name", "exec 3> /tmp/gone; rm /tmp/gone; head -c 200M /dev/zero >&3; sleep 60"),
        ("in the background", "(head -c 200M /dev/zero > /tmp/big) & sleep 60"),
    ] {
        let sandbox = start("filler").await;
        let mut process = sandbox.exec(Command::new(["bash", "-c", fill])).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(50), process.wait()).await;
        let error = ended.expect(name).expect_err(name);
        assert!(error.is_over_disk(), "{name}: {error}");
        assert!(error.to_string().contains(&format!("over its disk limit of {limit} bytes")), "{error}");
        let again = sandbox.exec(Command::new(["true"])).await.unwrap_err();
        assert!(again.is_over_disk(), "{name}: {again}");
        drop(sandbox);
        fs::remove_file(workspace.join("big")).ok();
        eventually("its folder is gone", || !world.config.state_dir.join("run/filler").exists()).await;
    }
    assert!(
        works(&bystander, "cat /tmp/some > /dev/null && echo more >> /tmp/some").await,
        "the others go on"
    );
}

async fn orphans_are_reaped_and_die_with_the_sandbox(world: World) {
    let mark = format!("7{:07}", std::process::id());
    let sandbox = world.start(|_| {}).await;
    said(&sandbox, &format!("(setsid sleep {mark} > /dev/null 2>&1 &) ; (sleep 0 &) ; true")).await;
    eventually("the orphan runs", || processes_with(&format!("sleep {mark}")).len() == 1).await;
    said(&sandbox, "for i in $(seq 300); do ps -eo stat= | grep -q Z || exit 0; sleep 0.1; done; exit 1")
        .await;
    sandbox.destroy().await.unwrap();
    assert_eq!(processes_with(&mark), Vec::<i32>::new());
}

async fn a_dropped_sandbox_dies(world: World) {
    let mark = format!("8{:07}", std::process::id());
    let sandbox = world.start(|_| {}).await;
    let process = sandbox.exec(Command::new(["sleep", &mark])).await.unwrap();
    eventually("it sleeps", || processes_with(&mark).len() == 1).await;
    drop(sandbox);
    assert_eq!(processes_with(&mark).len(), 1);
    drop(process);
    eventually("it is gone", || processes_with(&mark).is_empty()).await;
}

async fn workspaces_are_shared_and_read_safely(world: World) {
    let workspace = world.folder.path().join("workspace");
    let source = world.folder.path().join("source");
    for folder in [&workspace, &source] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("input"), "in").unwrap();
    }
    symlink("/etc/passwd", workspace.join("planted")).unwrap();
    let sandbox = world
        .start(|spec| {
            spec.binds = vec![
                Bind::writable(&workspace, "/codebuild/output/src"),
                Bind::read_only(&source, "/codebuild/read"),
                Bind::copy_on_write(&source, "/codebuild/copy"),
                Bind {
                    source: BindSource::CurrentExecutable,
                    target: "/usr/local/bin/towpath".into(),
                    access: Access::ReadOnly,
                },
            ];
        })
        .await;
    let script = "cd /codebuild/output/src && test -O input && cat input && mkdir out && echo made > out/file && \
                  ln -s /etc/shadow out/stolen && ln -s file out/link && ln -s ../../../.. out/up";
    assert_eq!(said(&sandbox, script).await, "in");
    assert_eq!(fs::read_to_string(workspace.join("out/file")).unwrap(), "made\n");
    assert_eq!(fs::metadata(workspace.join("out/file")).unwrap().uid(), nix::unistd::geteuid().as_raw());
    assert!(!works(&sandbox, "echo x > /codebuild/read/input").await);
    assert!(works(&sandbox, "echo x > /codebuild/copy/input && rm /codebuild/copy/input").await);
    assert_eq!(fs::read_to_string(source.join("input")).unwrap(), "in");
    assert!(works(&sandbox, "test -x /usr/local/bin/towpath && ! echo > /usr/local/bin/towpath").await);
    let inside = sandbox.view().unwrap();
    for view in [View::open(&workspace).unwrap(), inside.folder(Path::new("/codebuild/output/src")).unwrap()]
    {
        let read = |path: &str| {
            let mut text = String::new();
            view.open_beneath(Path::new(path))?.read_to_string(&mut text)?;
            Ok::<_, RunnerError>(text)
        };
        assert_eq!(read("out/file").unwrap(), "made\n");
        assert_eq!(read("out/link").unwrap(), "made\n");
        for path in ["planted", "out/stolen", "out/up/etc/passwd", "../workspace/input"] {
            assert!(read(path).is_err(), "{path}");
        }
    }
    said(
        &sandbox,
        "echo text > ~/artifact && ln -s ~/artifact /tmp/absolute && ln -s /proc/1/root/etc /tmp/magic",
    )
    .await;
    assert!(inside.open_beneath(Path::new("/tmp/absolute")).is_ok());
    assert!(inside.open_beneath(Path::new("/tmp/magic/passwd")).is_err());
    sandbox.destroy().await.unwrap();
    assert!(workspace.join("out/file").exists());
}

async fn relays_and_published_ports_carry_connections(world: World) {
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = outside.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut near, _)) = outside.accept() {
            let mut line = String::new();
            BufReader::new(near.try_clone().unwrap()).read_line(&mut line).ok();
            near.write_all(format!("heard {line}").as_bytes()).ok();
        }
    });
    let sandbox = world
        .start(|spec| {
            spec.relays.push(Relay { inside: ([127, 0, 0, 1], 4566).into(), outside: address });
            spec.publish.push(Publish { host: ([127, 0, 0, 1], 0).into(), inside_port: 8080 });
        })
        .await;
    let ask = "exec 3<>/dev/tcp/127.0.0.1/4566; echo hello >&3; cat <&3";
    assert_eq!(said(&sandbox, ask).await, "heard hello\n");
    let serve =
        "echo served > /tmp/page && cd /tmp && exec /usr/bin/python3 -m http.server 8080 --bind 127.0.0.1";
    let _server = sandbox.exec(Command::new(["sh", "-c", serve])).await.unwrap();
    let published = sandbox.report().published[0];
    let mut answer = String::new();
    eventually("the published port answers", || {
        let Ok(mut client) = TcpStream::connect(published) else { return false };
        answer.clear();
        client.write_all(b"GET /page HTTP/1.0\r\n\r\n").ok();
        client.read_to_string(&mut answer).is_ok() && answer.ends_with("served\n")
    })
    .await;
    sandbox.destroy().await.unwrap();
    assert!(TcpStream::connect(published).is_err());
}

async fn a_bad_specification_changes_nothing(world: World) {
    let runner = world.runner();
    for id in ["", "..", "a/b", ".hidden", &"x".repeat(200)] {
        let mut spec = Spec::new("fine");
        spec.id = id.to_owned();
        assert!(matches!(runner.start(spec).await, Err(RunnerError::Invalid(_))), "{id}");
    }
    let change = |change: fn(&mut Spec)| {
        let mut spec = Spec::new("fine");
        change(&mut spec);
        spec
    };
    for spec in [
        change(|s| s.hostname = "a b".into()),
        change(|s| s.binds.push(Bind::read_only("/etc", "relative"))),
        change(|s| s.binds.push(Bind::read_only("/etc", "/a/../../b"))),
        change(|s| s.limits.cpus = Some(0.0)),
        change(|s| s.limits = Limits { memory_bytes: Some(1), ..Limits::default() }),
    ] {
        assert!(matches!(runner.start(spec).await, Err(RunnerError::Invalid(_))));
    }
    match runner.start(change(|s| s.binds.push(Bind::read_only("/no/such", "/x")))).await {
        Err(RunnerError::Setup { step, .. }) => assert!(step.contains("/no/such"), "{step}"),
        other => panic!("{other:?}"),
    }
    eventually("nothing is left", || fs::read_dir(world.config.state_dir.join("run")).unwrap().count() == 0)
        .await;
    let first = runner.start(Spec::new("twice")).await.unwrap();
    assert!(matches!(runner.start(Spec::new("twice")).await, Err(RunnerError::Setup { .. })));
    assert!(works(&first, "true").await);
}

async fn packages_download_from_inside(world: World) {
    let script = "/usr/bin/python3 -c 'import urllib.request as u; print(len(u.urlopen(\"https://pypi.org/simple/six/\").read()))'";
    if !support::works_outside(script) {
        eprintln!("skipped: this machine does not reach pypi.org");
        return;
    }
    let sandbox = world.start(|spec| spec.network = Network::Egress).await;
    said(&sandbox, script).await;
    let closed = world.runner().start(Spec::new("closed")).await.unwrap();
    assert!(!works(&closed, script).await);
    if world.is_root() {
        let metadata = "timeout 3 bash -c '</dev/tcp/169.254.169.254/80'";
        assert!(!works(&sandbox, metadata).await);
    }
}

async fn a_terminal_is_a_terminal(world: World) {
    let sandbox = world.start(|_| {}).await;
    assert!(!works(&sandbox, "test -t 1").await);
    let mut command =
        Command::new(["sh", "-c", "test -t 0 && tty && stty size && read line && echo got $line"]);
    command.terminal = Some(WindowSize { rows: 33, columns: 99 });
    let mut process = sandbox.exec(command).await.unwrap();
    let mut terminal = fs::File::from(process.take_terminal().unwrap());
    terminal.write_all(b"keys\n").unwrap();
    assert!(process.wait().await.unwrap().success());
    let (mut text, mut part) = (Vec::new(), [0; 1024]);
    while let Ok(size @ 1..) = terminal.read(&mut part) {
        text.extend_from_slice(&part[..size]);
    }
    let text = String::from_utf8(text).unwrap();
    for expected in ["/dev/pts/0", "33 99", "got keys"] {
        assert!(text.contains(expected), "{text}");
    }
}

async fn many_run_at_once(world: World) {
    let runner = world.runner();
    let (waves, count) = (2, 12);
    for wave in 0..waves {
        let started = (0..count).map(|number| {
            let runner = runner.clone();
            tokio::spawn(async move {
                let mut spec = Spec::new(format!("many-{wave}-{number}"));
                spec.network = Network::Egress;
                let sandbox = runner.start(spec).await.unwrap();
                let (name, address) = (said(&sandbox, "hostname").await, sandbox.report().address);
                sandbox.destroy().await.unwrap();
                (name.trim().to_owned(), address)
            })
        });
        let started: Vec<_> = started.collect();
        let mut addresses = std::collections::BTreeSet::new();
        for (number, task) in started.into_iter().enumerate() {
            let (name, address) = task.await.unwrap();
            assert_eq!(name, format!("many-{wave}-{number}"));
            addresses.extend(address);
        }
        assert_eq!(addresses.is_empty(), !world.is_root());
    }
    assert_eq!(fs::read_dir(world.config.state_dir.join("run")).unwrap().count(), 0);
    assert_eq!(mounts_below(&world.config.state_dir), Vec::<String>::new());
}
