//! The attacks that container runtimes test against, in one table: each must fail inside in the stated way, and
//! each has a control that shows that the attempt as such can succeed.
//!
//! The attempts are in `attacks/probes.py`; one sandbox serves the whole table. What needs more than one process
//! or a story of its own is in `isolation.rs`, `life.rs` and `hosts.rs`. Docker's default profile is the measure
//! of what a runtime closes: <https://docs.docker.com/engine/security/seccomp/>.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use support::{World, shell, works};
use towpath_runner::{Command, Network};

stories! {
    every_attack_of_the_table_fails,
    the_server_s_executable_is_out_of_reach,
    other_sandboxes_are_out_of_reach,
    what_builds_need_still_works,
}

const PROBES: &str = include_str!("attacks/probes.py");

/// What shows that a row could fail.
enum Control {
    /// The same attempt outside, whoever tries, ends otherwise.
    Outside,
    /// The same attempt outside ends otherwise for root; others lack the right outside, too.
    OutsideAsRoot,
    /// This attempt of the same kind works inside.
    Inside(&'static str),
}

use Control::{Inside, Outside, OutsideAsRoot};

/// Attack, how it may end inside, control. Where the machine has no such thing (outside: ENOENT), there is
/// nothing to attack, and inside it must be missing, too.
type Row = (&'static str, &'static [&'static str], Control);

const EPERM: &[&str] = &["EPERM"];
const ENOSYS: &[&str] = &["ENOSYS"];
const CLOSED: &[&str] = &["EACCES", "EPERM", "EROFS", "ENOENT"];
const NOTHING: &[&str] = &["none", "EACCES", "EPERM", "ENOENT"];

const ROWS: &[Row] = &[
    // Mounts.
    ("mount", EPERM, Outside),
    ("umount2", EPERM, OutsideAsRoot),
    ("pivot_root", EPERM, OutsideAsRoot),
    ("move_mount", EPERM, OutsideAsRoot),
    ("open_tree", EPERM, Outside),
    ("open_tree_attr", EPERM, Outside),
    ("mount_setattr", EPERM, OutsideAsRoot),
    ("fsopen", EPERM, OutsideAsRoot),
    ("fsconfig", EPERM, Outside),
    ("fsmount", EPERM, OutsideAsRoot),
    ("fspick", EPERM, OutsideAsRoot),
    ("a proc over /proc", EPERM, OutsideAsRoot),
    ("a new cgroup file system", EPERM, OutsideAsRoot),
    ("unmasking /proc/sys", EPERM, OutsideAsRoot),
    // Namespaces.
    ("unshare a user namespace", EPERM, Outside),
    ("clone a user namespace", EPERM, Outside),
    ("clone with high bits", EPERM, Outside),
    ("clone with high bits", EPERM, Inside("fork")),
    ("clone3 with set_tid", ENOSYS, Outside),
    ("setns", EPERM, Outside),
    ("setns to init's", &["EACCES", "EPERM"], Inside("own root")),
    // The kernel's doors.
    ("bpf", EPERM, OutsideAsRoot),
    ("perf_event_open", EPERM, Outside),
    ("io_uring_setup", ENOSYS, Outside),
    ("io_uring_enter", ENOSYS, Outside),
    ("io_uring_register", ENOSYS, Outside),
    ("userfaultfd", EPERM, OutsideAsRoot),
    ("keyctl", EPERM, Outside),
    ("add_key", EPERM, Outside),
    ("request_key", EPERM, Outside),
    ("kexec_load", EPERM, OutsideAsRoot),
    ("init_module", EPERM, OutsideAsRoot),
    ("finit_module", EPERM, OutsideAsRoot),
    ("delete_module", EPERM, OutsideAsRoot),
    ("open_by_handle_at", EPERM, OutsideAsRoot),
    ("name_to_handle_at", EPERM, Outside),
    ("fanotify_init", EPERM, OutsideAsRoot),
    ("syslog", EPERM, OutsideAsRoot),
    ("reboot", EPERM, OutsideAsRoot),
    ("swapon", EPERM, OutsideAsRoot),
    ("acct", EPERM, OutsideAsRoot),
    ("quotactl", EPERM, OutsideAsRoot),
    ("quotactl_fd", EPERM, Outside),
    ("clock_settime", EPERM, OutsideAsRoot),
    ("settimeofday", EPERM, OutsideAsRoot),
    ("adjtimex", EPERM, Outside),
    ("set_mempolicy_home_node", EPERM, Outside),
    #[cfg(target_arch = "x86_64")]
    ("ioperm", EPERM, OutsideAsRoot),
    #[cfg(target_arch = "x86_64")]
    ("iopl", EPERM, Outside),
    #[cfg(target_arch = "x86_64")]
    ("i386 calls", &["SIGSYS"], Outside),
    // Processes.
    ("ptrace init", EPERM, Inside("ptrace a child")),
    ("process_vm_readv init", EPERM, Inside("process_vm_readv a child")),
    ("pidfd_getfd init", EPERM, Inside("pidfd_getfd a child")),
    ("init's executable", &["EACCES"], Inside("own executable")),
    ("init's memory", &["EACCES"], Inside("own memory")),
    ("init's environment", &["EACCES"], Inside("own memory")),
    ("init's root", &["EACCES"], Inside("own root")),
    ("init's descriptors", &["EACCES"], Inside("own descriptors")),
    ("host files through processes", &["none"], Outside),
    ("leaked descriptors", &["none"], Outside),
    ("raise the core limit", EPERM, Inside("lower the core limit")),
    ("raise the file limit", EPERM, Inside("lower the file limit")),
    ("nice below zero", &["EACCES", "EPERM"], OutsideAsRoot),
    ("file capabilities", NOTHING, OutsideAsRoot),
    ("leave a chroot", NOTHING, OutsideAsRoot),
    ("the host's shared memory", &["ENOENT"], Outside),
    ("typing into a terminal", EPERM, OutsideAsRoot),
    ("typing with high bits", EPERM, OutsideAsRoot),
    // procfs, sysfs, devices, files.
    ("core_pattern", CLOSED, OutsideAsRoot),
    ("modprobe", CLOSED, OutsideAsRoot),
    ("overcommit", CLOSED, OutsideAsRoot),
    ("forwarding", CLOSED, OutsideAsRoot),
    ("sysrq-trigger", CLOSED, OutsideAsRoot),
    ("pressure triggers", CLOSED, Outside),
    ("kcore", NOTHING, OutsideAsRoot),
    ("kallsyms", NOTHING, Outside),
    ("keys", NOTHING, OutsideAsRoot),
    ("key users", NOTHING, Outside),
    ("interrupts", NOTHING, Outside),
    ("timer_list", NOTHING, OutsideAsRoot),
    ("page flags", CLOSED, OutsideAsRoot),
    ("/dev/mem", CLOSED, OutsideAsRoot),
    ("/dev/kmsg", CLOSED, OutsideAsRoot),
    ("/dev/fuse", CLOSED, OutsideAsRoot),
    ("host disks", NOTHING, Outside),
    ("sysfs", NOTHING, Outside),
    ("cgroup files", NOTHING, Outside),
    ("mknod character", CLOSED, OutsideAsRoot),
    ("mknod block", CLOSED, OutsideAsRoot),
    ("mknod whiteout", CLOSED, Outside),
    ("the host's device node", CLOSED, OutsideAsRoot),
    ("read a secret", CLOSED, OutsideAsRoot),
    ("write a secret", CLOSED, OutsideAsRoot),
    ("link a secret", CLOSED, OutsideAsRoot),
    ("chown a secret", CLOSED, OutsideAsRoot),
    // Sockets.
    ("vsock", EPERM, Outside),
    ("kernel crypto", EPERM, Outside),
    ("packet", EPERM, OutsideAsRoot),
    ("packet with high bits", EPERM, OutsideAsRoot),
    ("PF_KEY", EPERM, OutsideAsRoot),
    ("XDP", EPERM, OutsideAsRoot),
    ("RDS", EPERM, Outside),
    ("packet filter netlink", EPERM, Outside),
    ("IPsec netlink", EPERM, Outside),
    ("IPsec netlink", EPERM, Inside("route netlink")),
    ("raw", EPERM, OutsideAsRoot),
    ("raw", EPERM, Inside("udp")),
    ("change an interface", EPERM, OutsideAsRoot),
    ("delete a route", EPERM, OutsideAsRoot),
    ("instance metadata", &["EACCES", "ENETUNREACH", "EHOSTUNREACH"], Inside("another address")),
];

/// The command that tries all rows at once.
fn arguments(settings: &[String]) -> Vec<String> {
    let mut names: Vec<&str> = ROWS.iter().map(|(name, ..)| *name).collect();
    names.extend(ROWS.iter().filter_map(|(.., control)| match control {
        Inside(name) => Some(*name),
        Outside | OutsideAsRoot => None,
    }));
    names.sort_unstable();
    names.dedup();
    let fixed = ["/usr/bin/python3", "-I", "-c", PROBES].map(str::to_owned);
    fixed.into_iter().chain(settings.iter().cloned()).chain(names.into_iter().map(str::to_owned)).collect()
}

fn outcomes(stdout: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(stdout).into_owned();
    text.lines().filter_map(|l| l.split_once('\t')).map(|(n, o)| (n.to_owned(), o.to_owned())).collect()
}

/// What the machine has, to be attacked; removed when dropped.
struct Bait {
    folder: Option<tempfile::TempDir>,
    shared_memory: i32,
    settings: Vec<String>,
}

impl Bait {
    fn lay(world: &World) -> Bait {
        // Below /tmp: the inside has its own.
        let hidden = world.folder.path().join("hidden");
        fs::write(&hidden, "h").unwrap();
        let key = std::process::id() as i32;
        // SAFETY: no memory is passed.
        let shared_memory = unsafe { libc::shmget(key, 4096, libc::IPC_CREAT | 0o666) };
        assert!(shared_memory >= 0);
        let folder = world.shown_folder();
        let (mut secret, mut device) = ("/etc/shadow".to_owned(), "/nonexistent".to_owned());
        if let Some(folder) = &folder {
            (secret, device) = (at(folder, "secret"), at(folder, "device"));
            fs::write(&secret, "s").unwrap();
            fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
            let random = nix::sys::stat::makedev(1, 8);
            nix::sys::stat::mknod(device.as_str(), nix::sys::stat::SFlag::S_IFCHR, mode, random).unwrap();
        }
        let settings = vec![
            format!("hidden={}", hidden.display()),
            format!("shm={key}"),
            format!("secret={secret}"),
            format!("device={device}"),
        ];
        Bait { folder, shared_memory, settings }
    }
}

fn at(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

impl Drop for Bait {
    fn drop(&mut self) {
        // SAFETY: no memory is passed.
        unsafe { libc::shmctl(self.shared_memory, libc::IPC_RMID, std::ptr::null_mut()) };
        drop(self.folder.take());
    }
}

async fn every_attack_of_the_table_fails(world: World) {
    let bait = Bait::lay(&world);
    let sandbox = world
        .start(|spec| {
            spec.network = Network::Egress;
            // An attack that stops init would else stop the test.
            spec.limits.wall_ms = Some(120_000);
        })
        .await;
    let output = sandbox.run(Command::new(arguments(&bait.settings)), 1 << 20).await.unwrap();
    let inside = outcomes(&output.stdout);
    sandbox.destroy().await.unwrap();
    // With one descriptor more than usual.
    let mut outside = std::process::Command::new("bash");
    outside.args(["-c", "exec \"$@\" 9</dev/null", "bash"]).args(arguments(&bait.settings));
    let outside = outcomes(&outside.output().unwrap().stdout);
    let mut wrong = Vec::new();
    for (name, denied, control) in ROWS {
        let (within, without) = (&inside.get(*name), outside.get(*name).map_or("no answer", String::as_str));
        let within = within.map_or("no answer", String::as_str);
        if !denied.contains(&within) {
            wrong.push(format!("{name}: {within} inside, must be one of {denied:?}"));
        }
        match control {
            Inside(other) => {
                let other_said = inside.get(*other).map_or("no answer", String::as_str);
                if !["ok", "EINPROGRESS"].contains(&other_said) {
                    wrong.push(format!("{name}: its control, {other}, gives {other_said} inside"));
                }
            }
            OutsideAsRoot if !world.is_root() => {}
            // The file is not on this machine: nothing to attack.
            Outside | OutsideAsRoot if without == "ENOENT" && denied.contains(&"ENOENT") => {}
            Outside | OutsideAsRoot => {
                if denied.contains(&without) || without == "no answer" || without.starts_with("broken") {
                    wrong.push(format!("{name}: its control outside gives {without}, so it shows nothing"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), String::from_utf8_lossy(&output.stderr));
}

/// CVE-2019-5736: a command that is a link to `/proc/self/exe` runs the runtime's own executable from the host,
/// where it can then be overwritten.
async fn the_server_s_executable_is_out_of_reach(world: World) {
    let sandbox = world.start(|_| {}).await;
    let landlocked = !sandbox.report().weaknesses.iter().any(|w| w.starts_with("Landlock"));
    if !landlocked {
        eprintln!("skipped: this kernel's Landlock is missing or old");
        return;
    }
    // The control: the way as such works, to the inside's own executable.
    assert!(works(&sandbox, "exec /proc/self/exe -c true").await);
    assert!(works(&sandbox, "printf '#!/proc/self/exe\n' > /tmp/script && chmod 755 /tmp/script").await);
    assert!(works(&sandbox, "ln -s /proc/self/exe /tmp/link && /tmp/link -c true").await);
    for program in ["/proc/self/exe", "/tmp/script", "/tmp/link"] {
        let said = sandbox.run(Command::new([program, "--version"]), 100).await.map(|o| o.status);
        let refusal = format!("{said:?}");
        assert!(said.is_err() && refusal.contains("denied"), "{program}: {refusal}");
    }
    // Nor may a file of the host that was given as a stream be opened anew.
    let stream = fs::File::create(world.folder.path().join("stream")).unwrap();
    let script = "echo given; echo opened > /proc/self/fd/1";
    let command = Command::new(["/bin/bash", "-c", script]).stdout(stream);
    assert!(!sandbox.exec(command).await.unwrap().wait().await.unwrap().success());
    assert_eq!(fs::read_to_string(world.folder.path().join("stream")).unwrap(), "given\n");
    assert!(works(&sandbox, "{ echo given; echo opened > /proc/self/fd/1; } > /tmp/own").await);
}

async fn other_sandboxes_are_out_of_reach(world: World) {
    let victim = world.start(|spec| (spec.id, spec.network) = ("victim".into(), Network::Egress)).await;
    let Some(address) = victim.report().address else {
        // Without root a sandbox has no address that anybody else could name.
        assert!(!world.is_root());
        return;
    };
    let listen = "import socket,sys\ns=socket.create_server((\"0.0.0.0\", 8099))\n\
                  open(\"/tmp/ready\",\"w\")\nwhile True: s.accept()[0].send(b\"hello\\n\")";
    let start = format!(
        "setsid /usr/bin/python3 -c '{listen}' >/dev/null 2>&1 </dev/null & \
         for i in $(seq 300); do test -e /tmp/ready && exit 0; sleep 0.1; done; exit 1"
    );
    assert!(shell(&victim, &start).await.status.success());
    let attacker = world.start(|spec| (spec.id, spec.network) = ("attacker".into(), Network::Egress)).await;
    let connect =
        format!("timeout 3 bash -c 'read -r line </dev/tcp/{address}/8099 && test \"$line\" = hello'");
    // The machine itself reaches it, and so does the victim.
    assert!(support::works_outside(&connect));
    assert!(works(&victim, &connect).await);
    assert!(!works(&attacker, &connect).await);
}

/// The other side of every protection: ordinary, unusual things that compilers, tests and packages do.
async fn what_builds_need_still_works(world: World) {
    let sandbox = world.start(|_| {}).await;
    let python = |text: &str| format!("/usr/bin/python3 -c '{text}'");
    let memory_file = "import os; f=os.memfd_create(\"x\"); os.write(f, open(\"/usr/bin/true\",\"rb\").read()); \
                       os.execve(f, [\"x\"], {})";
    let unnamed = "import os; f=os.open(\"/tmp\", os.O_TMPFILE|os.O_RDWR); os.write(f, b\"x\"); \
                   os.link(\"/proc/self/fd/%d\" % f, \"/tmp/named\", src_dir_fd=os.open(\"/\", 0), follow_symlinks=True)";
    let unlinked = "import os; f=os.open(\"/tmp/gone\", os.O_CREAT|os.O_RDWR); os.unlink(\"/tmp/gone\"); \
                    os.write(os.open(\"/proc/self/fd/%d\" % f, os.O_WRONLY|os.O_TRUNC), b\"x\")";
    let addresses = "import socket; s=socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); s.bind((0, 0)); \
                     socket.getaddrinfo(\"localhost\", 80); socket.socket(socket.AF_INET6)";
    let audit = "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)";
    let shared =
        "from multiprocessing import shared_memory as m; s=m.SharedMemory(create=True, size=9); s.unlink()";
    for script in [memory_file, unnamed, unlinked, addresses, audit, shared].map(python) {
        assert!(works(&sandbox, &script).await, "{script}");
    }
    for script in [
        "echo x > /proc/self/fd/1 && echo x > /dev/stderr && echo x > /dev/null",
        "cp /usr/bin/true ~/tool && ~/tool && cp /usr/bin/true /dev/shm/tool && /dev/shm/tool",
        "mkdir -p ~/a ~/b && echo x > ~/a/f && mv ~/a/f ~/b/ && truncate -s 0 ~/b/f && ln ~/b/f ~/a/g",
        "cd $(mktemp -d) && printf '#!/bin/sh\nexit 0\n' > run && chmod 755 run && ./run",
        "sleep 5 & kill $! && ! wait $!",
    ] {
        assert!(works(&sandbox, script).await, "{script}");
    }
}
