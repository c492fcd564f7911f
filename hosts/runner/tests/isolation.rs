//! What a sandbox must not reach, each with the control that shows the test could fail.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use support::{World, processes_with, said, shell, works, works_outside};
use towpath_runner::{Command, Network, Relay};

stories! {
    unreadable_host_files_stay_unreadable,
    homes_show_toolchains_only,
    new_folders_of_the_host_are_hidden,
    the_state_directory_is_hidden,
    host_processes_are_out_of_reach,
    host_sockets_are_out_of_reach,
    kernel_doors_are_closed,
    the_server_s_environment_is_not_inside,
    destruction_inside_is_harmless,
}

async fn unreadable_host_files_stay_unreadable(world: World) {
    let Some(folder) = world.shown_folder() else {
        // Without root: /etc/shadow is another user's, and stays so.
        let sandbox = world.start(|_| {}).await;
        assert!(works(&sandbox, "cat /etc/passwd").await);
        assert!(!works(&sandbox, "cat /etc/shadow").await);
        return;
    };
    let at = folder.path().display();
    fs::write(folder.path().join("public"), "p").unwrap();
    fs::write(folder.path().join("secret"), "s").unwrap();
    fs::set_permissions(folder.path().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(folder.path().join("closed")).unwrap();
    fs::write(folder.path().join("closed/inner"), "i").unwrap();
    fs::set_permissions(folder.path().join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let sandbox = world.start(|_| {}).await;
    assert_eq!(said(&sandbox, &format!("cat {at}/public")).await, "p");
    for name in ["secret", "closed/inner"] {
        let script = format!("cat {at}/{name}");
        assert!(works_outside(&script), "{script}");
        assert!(!works(&sandbox, &script).await, "{script}");
        assert!(!works(&sandbox, &format!("chmod 644 {at}/secret && {script}")).await, "{script}");
        assert!(!works(&sandbox, &format!("cp --no-preserve=mode {at}/{name} /tmp/x")).await);
    }
    let inside = said(&sandbox, "cat /etc/shadow").await;
    assert!(works_outside("test -r /etc/shadow"));
    assert!(inside.lines().all(|line| line.split(':').nth(1) == Some("*")), "{inside}");
}

async fn homes_show_toolchains_only(mut world: World) {
    let home = world.config.home.clone();
    let secrets = [
        ".ssh/id_ed25519",
        ".aws/credentials",
        ".netrc",
        ".bash_history",
        ".gitconfig",
        ".pypirc",
        ".npmrc",
        ".docker/config.json",
        ".config/gh/hosts.yml",
        ".cargo/credentials.toml",
        ".cargo/registry/index",
    ];
    for name in secrets.into_iter().chain([".cargo/bin/tool", ".rustup/settings.toml", "named/file"]) {
        let path = home.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "#!/bin/sh\necho \"tool of $RUSTUP_HOME\"\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    world.config.path = format!("{}:/usr/bin:/bin", home.join(".cargo/bin").display());
    world.config.extra_folders = vec![home.join("named")];
    let sandbox = world.start(|_| {}).await;
    let expected = format!("tool of {}\n", home.join(".rustup").display());
    assert_eq!(said(&sandbox, "tool").await, expected);
    assert!(works(&sandbox, "cat ~/named/file ~/.rustup/settings.toml").await);
    for name in secrets {
        let script = format!("cat {}", home.join(name).display());
        assert!(works_outside(&script), "{script}");
        assert!(!works(&sandbox, &script).await, "{script}");
    }
    // Toolchains and HOME are writable inside, and the host's stay as they are.
    said(
        &sandbox,
        "echo changed > ~/.cargo/bin/tool && echo mine > ~/.netrc && rm -r ~/.rustup/settings.toml",
    )
    .await;
    assert!(fs::read_to_string(home.join(".cargo/bin/tool")).unwrap().contains("tool of"));
    assert!(fs::read_to_string(home.join(".netrc")).unwrap().contains("tool of"));
    assert!(home.join(".rustup/settings.toml").exists());
}

async fn new_folders_of_the_host_are_hidden(world: World) {
    let runner = world.runner();
    // A server that runs for long must hide what came after its start, too.
    let name = format!("towpath-test-{}", std::process::id());
    let folder = std::path::Path::new("/").join(&name);
    let made = fs::create_dir(&folder).is_ok();
    assert_eq!(made, world.is_root());
    let sandbox = runner.start(towpath_runner::Spec::new("story")).await;
    let listed = said(sandbox.as_ref().unwrap(), "ls -A /").await;
    if made {
        fs::remove_dir(&folder).unwrap();
    }
    let expected =
        ["bin", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "proc", "root", "run", "sbin"];
    for shown in listed.lines() {
        let known = expected.contains(&shown)
            || ["srv", "sys", "tmp", "usr", "var", "lib32", "libx32"].contains(&shown);
        // Where the test's home is.
        let home = world.config.home.components().nth(1).is_some_and(|c| c.as_os_str() == shown);
        assert!(known || home, "{shown} shows");
    }
}

async fn the_state_directory_is_hidden(mut world: World) {
    let Some(shown) = world.shown_folder() else { return };
    world.config.state_dir = shown.path().join("state");
    fs::write(shown.path().join("beside"), "b").unwrap();
    let other = world.start(|spec| spec.id = "other".into()).await;
    said(&other, "echo private > /opt/private").await;
    let sandbox = world.start(|_| {}).await;
    let state = world.config.state_dir.display();
    assert!(works(&sandbox, &format!("cat {}/beside", shown.path().display())).await);
    assert!(works_outside(&format!("grep -rq private {state}/run/other")));
    assert_eq!(said(&sandbox, &format!("ls -A {state}")).await, "");
    assert!(!works(&sandbox, "cat /opt/private").await);
    other.destroy().await.unwrap();
    sandbox.destroy().await.unwrap();
}

async fn host_processes_are_out_of_reach(world: World) {
    let mut host = std::process::Command::new("sleep").arg("86421").spawn().unwrap();
    let pid = host.id();
    assert!(works_outside(&format!("kill -0 {pid} && ls /proc/{pid}/cmdline")));
    let sandbox = world.start(|_| {}).await;
    assert!(works(&sandbox, "kill -0 $$ && ls /proc/$$/cmdline").await);
    assert!(!works(&sandbox, &format!("kill -0 {pid}")).await);
    assert!(
        !works(&sandbox, "grep -aq 86421 /proc/[0-9]*/cmdline && ! grep -aq 86421 /proc/self/cmdline").await
    );
    shell(&sandbox, "kill -9 -1").await;
    assert!(host.try_wait().unwrap().is_none());
    // pid 1 outlives it too: the sandbox goes on.
    assert!(works(&sandbox, "true").await);
    for script in ["cat /proc/1/environ", "ls /proc/1/fd", "cat /proc/1/mem", "readlink /proc/1/root"] {
        assert!(
            works(&sandbox, &script.replace("/1/", "/self/").replace("cat /proc/self/mem", "true")).await
        );
        assert!(!works(&sandbox, script).await, "{script}");
    }
    host.kill().unwrap();
    host.wait().unwrap();
}

async fn host_sockets_are_out_of_reach(world: World) {
    let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let path = world.folder.path().join("socket");
    let _unix = UnixListener::bind(&path).unwrap();
    let name = format!("towpath-test-{port}");
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut near, _)) = tcp.accept() {
            near.write_all(b"hello\n").ok();
        }
    });
    let connect = |address: &str| {
        format!("timeout 3 bash -c 'read -r line </dev/tcp/{address} && test \"$line\" = hello'")
    };
    let python = |target: String| {
        format!("/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect({target})'")
    };
    let unix = python(format!("\"{}\"", path.display()));
    let hidden = python(format!("\"\\0{name}\""));
    let sandbox = world
        .start(|spec| {
            spec.network = Network::Egress;
            let (inside, outside) = (([127, 0, 0, 1], 4566).into(), ([127, 0, 0, 1], port).into());
            spec.relays.push(Relay { inside, outside });
        })
        .await;
    // The control of the way, and of the client: the one door that was asked for.
    assert!(works(&sandbox, &connect("127.0.0.1/4566")).await);
    let addresses =
        String::from_utf8(std::process::Command::new("hostname").arg("-I").output().unwrap().stdout).unwrap();
    let own = addresses
        .split_whitespace()
        .filter(|a| a.contains('.') && !a.starts_with("10.213."))
        .map(str::to_owned);
    let gateway = sandbox.report().address.map(|a| std::net::Ipv4Addr::from(u32::from(a) - 1).to_string());
    for address in own.chain(["127.0.0.1".to_owned()]).chain(gateway) {
        let script = connect(&format!("{address}/{port}"));
        assert!(works_outside(&script), "{script}");
        assert!(!works(&sandbox, &script).await, "{script}");
    }
    for script in [&unix, &hidden] {
        assert!(works_outside(script), "{script}");
        assert!(!works(&sandbox, script).await, "{script}");
    }
    let stay = "/usr/bin/python3 -c 'import socket; s=socket.socket(socket.AF_UNIX); s.bind(\"\\0x\"); s.listen(); socket.socket(socket.AF_UNIX).connect(\"\\0x\")'";
    assert!(works(&sandbox, stay).await);
    for path in ["/run/docker.sock", "/var/run/docker.sock", "/run/containerd", "/run/systemd", "/run/user"] {
        assert!(!works(&sandbox, &format!("test -e {path}")).await, "{path}");
    }
}

/// A system call by number and arguments; succeeds when the kernel did not answer EPERM, EACCES or ENOSYS.
fn call(number: i64, arguments: &str) -> String {
    format!(
        "/usr/bin/python3 -c 'import ctypes,errno,sys; l=ctypes.CDLL(None,use_errno=True); \
         r=l.syscall({number},{arguments}); e=ctypes.get_errno(); \
         sys.exit(1 if r<0 and e in (errno.EPERM,errno.EACCES,errno.ENOSYS) else 0)'"
    )
}

async fn kernel_doors_are_closed(world: World) {
    let sandbox = world.start(|_| {}).await;
    let mount = "d=$(mktemp -d); mount -t tmpfs none $d && umount $d; code=$?; rmdir $d; exit $code";
    let device = "rm -f /tmp/towpath-n; mknod /tmp/towpath-n c 1 3 && rm /tmp/towpath-n";
    let disk = "rm -f /tmp/towpath-n; mknod /tmp/towpath-n b 7 0 && rm /tmp/towpath-n";
    let setting = "cat /proc/sys/kernel/printk_ratelimit > /proc/sys/kernel/printk_ratelimit";
    let mut doors: Vec<(&str, String)> = [
        ("mount", mount),
        ("character device", device),
        ("block device", disk),
        ("sysctl", setting),
        ("sysrq", "echo h > /proc/sysrq-trigger"),
        ("kernel log", "dmesg > /dev/null"),
        ("user namespace", "unshare -U true"),
        ("mount namespace", "unshare -m true"),
        ("network namespace", "unshare -n true"),
        ("other namespaces", "nsenter -t $$ -u true"),
        ("kernel memory map", "head -c 1 /proc/kallsyms | grep -q ."),
        ("sysfs", "test -e /sys/kernel"),
        ("bpf file system", "test -e /sys/fs"),
        ("cgroup files", "test -e /sys/fs/cgroup"),
    ]
    .map(|(name, script)| (name, script.to_owned()))
    .into();
    for device in ["/dev/kvm", "/dev/net/tun", "/dev/mem", "/dev/vda", "/dev/sda", "/dev/kmsg", "/dev/fuse"] {
        if std::path::Path::new(device).exists() && world.is_root() {
            doors.push(("device", format!("test -e {device}")));
        }
    }
    doors.push(("keyctl", call(libc::SYS_keyctl, "0, -3, 0")));
    doors.push(("add_key", call(libc::SYS_add_key, "b\"user\", b\"k\", b\"v\", 1, -2")));
    doors.push(("bpf", call(libc::SYS_bpf, "0, 0, 0")));
    doors.push(("perf", call(libc::SYS_perf_event_open, "0, 0, -1, -1, 0")));
    for (name, script) in &doors {
        assert!(!works(&sandbox, script).await, "{name}: {script}");
        // The controls need rights that only root has.
        let missing = *name == "sysrq" && !std::path::Path::new("/proc/sysrq-trigger").exists();
        if world.is_root() && !missing {
            assert!(works_outside(script), "control of {name}: {script}");
        }
    }
    // Harmless neighbours of what is closed still work.
    assert!(works(&sandbox, &call(libc::SYS_getpid, "0")).await);
    assert!(works(&sandbox, "mkfifo /tmp/fifo && ln -s a /tmp/link && ln /tmp/link /tmp/hard && mkdir /tmp/a /tmp/b && touch /tmp/a/f && mv /tmp/a/f /tmp/b/f").await);
    let privileges = said(&sandbox, "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status").await;
    assert_eq!(privileges.split_whitespace().collect::<Vec<_>>(), ["NoNewPrivs:", "1", "Seccomp:", "2"]);
    if world.is_root() {
        let map = said(&sandbox, "cat /proc/self/uid_map").await;
        let outside: u32 = map.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(outside >= 0x7000_0000, "inside root is {outside} outside");
    }
}

async fn the_server_s_environment_is_not_inside(mut world: World) {
    world.config.environment.insert("TOWPATH_SECRET".into(), "s".into());
    world.config.environment.insert("NAMED".into(), "n".into());
    world.config.environment.insert("https_proxy".into(), "http://proxy.example:3128".into());
    let (file, home) = (world.folder.path().join("certificates.pem"), world.config.home.clone());
    fs::write(&file, "certificate").unwrap();
    fs::write(home.join("secret"), "s").unwrap();
    world.config.environment.insert("PIP_CERT".into(), file.display().to_string());
    world.config.environment.insert("TO_HOME".into(), home.display().to_string());
    world.config.passthrough_env = vec!["NAMED".into(), "TO_HOME".into()];
    let sandbox = world.start(|spec| spec.env.push(("GIVEN".into(), "g".into()))).await;
    let environment = said(&sandbox, "env").await;
    for expected in ["NAMED=n", "GIVEN=g", "https_proxy=http://proxy.example:3128"] {
        assert!(environment.lines().any(|l| l == expected), "{environment}");
    }
    assert!(!environment.contains("TOWPATH_SECRET"));
    assert_eq!(said(&sandbox, "cat $PIP_CERT").await, "certificate");
    assert!(!works(&sandbox, "cat $TO_HOME/secret").await);
    assert!(!works(&sandbox, "grep -aq TOWPATH_SECRET /proc/[0-9]*/environ").await);
    assert_eq!(said(&sandbox, "ls /proc/self/fd | wc -l").await.trim(), "4");
}

async fn destruction_inside_is_harmless(world: World) {
    let before = (fs::read("/bin/ls").unwrap(), fs::read_dir("/etc").unwrap().count());
    let sandbox = world.start(|_| {}).await;
    let packages = std::path::Path::new("/var/lib/dpkg").exists();
    shell(&sandbox, "rm -rf /etc /var/lib/dpkg; printf '#!/bin/sh\necho fake' > /bin/ls").await;
    let changed = works(&sandbox, "test \"$(/bin/ls)\" = fake && ! test -e /etc/passwd").await;
    // As root the change shows inside, or the test would show nothing; without root it is refused.
    assert_eq!(changed, world.is_root());
    sandbox.destroy().await.unwrap();
    assert_eq!(before, (fs::read("/bin/ls").unwrap(), fs::read_dir("/etc").unwrap().count()));
    assert_eq!(packages, std::path::Path::new("/var/lib/dpkg").exists());
    if world.is_root() {
        let sandbox = world.start(|_| {}).await;
        said(&sandbox, "cp /bin/bash /tmp/shell && chmod 4755 /tmp/shell").await;
        let command = Command::new(["/tmp/shell", "-p", "-c", "id -u"]).user("nobody");
        let output = sandbox.run(command, 100).await.unwrap();
        assert_eq!(output.stdout, b"65534\n");
        assert_eq!(processes_with("/tmp/shell"), Vec::<i32>::new());
    }
}
