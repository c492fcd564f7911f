//! Runs each story twice: as root, and as a user without any rights.
//!
//! The second run is this test binary again, as `nobody`, in a mount namespace where `/dev/net/tun` is open to
//! all (as on a usual Debian). Stories get a [`World`]: a state directory, a fake home, a runner.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command as HostCommand, Stdio};

use tempfile::TempDir;
use towpath_runner::{Command, Config, Mode, Output, Runner, Sandbox, Spec};

const ROOTLESS: &str = "TOWPATH_TEST_ROOTLESS";
const HELPER: &str = "TOWPATH_TEST_HELPER";
const NOBODY: &str = "65534";

/// `stories! { name => function }`: a module per story with the tests `as_root` and `rootless`.
#[macro_export]
macro_rules! stories {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn as_root() {
                $crate::support::as_root(|world| Box::pin(super::$name(world)));
            }
            #[test]
            fn rootless() {
                let name = concat!(stringify!($name), "::rootless");
                $crate::support::rootless(name, |world| Box::pin(super::$name(world)));
            }
        }
    )*};
}

type Story = std::pin::Pin<Box<dyn Future<Output = ()>>>;

pub struct World {
    pub folder: TempDir,
    pub config: Config,
    pub mode: Mode,
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub fn as_root(story: fn(World) -> Story) {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    tell(story, Mode::Root);
}

pub fn rootless(name: &str, story: fn(World) -> Story) {
    if std::env::var_os(ROOTLESS).is_some() || !is_root() {
        return tell(story, Mode::Rootless);
    }
    let status = as_nobody(name, &[]).status().unwrap();
    assert!(status.success(), "the story failed without root");
}

/// This test binary's test `name` as nobody.
pub fn as_nobody(name: &str, variables: &[(&str, &str)]) -> HostCommand {
    // Build folders may lie in a home that nobody can enter.
    let copies = TempDir::new().unwrap().keep();
    open_to_all(&copies);
    let (test, helper) = (copies.join("test"), copies.join("helper"));
    fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_towpath-sandbox"), &helper).unwrap();
    let temporary = copies.join("tmp");
    fs::create_dir(&temporary).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).unwrap();
    let script = format!(
        "mkdir {c}/net && mount -t tmpfs none {c}/net -o mode=755 && mknod -m 666 {c}/net/tun c 10 200 && \
         if [ -d /dev/net ]; then mount --bind {c}/net /dev/net; fi && \
         setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups \"$@\"; code=$?; umount -l {c}/net; rm -rf {c}; exit $code",
        c = copies.display()
    );
    let mut command = HostCommand::new("unshare");
    command.args(["-m", "sh", "-c", &script, "sh"]).arg(&test).args(["--exact", name, "--nocapture"]);
    command.env(ROOTLESS, "1").env(HELPER, &helper).env("TMPDIR", &temporary).envs(variables.iter().copied());
    command.current_dir("/");
    command
}

fn tell(story: fn(World) -> Story, mode: Mode) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(story(World::new(mode)));
}

pub fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

impl World {
    pub fn new(mode: Mode) -> World {
        let folder = TempDir::new().unwrap();
        open_to_all(folder.path());
        let mut config = Config::from_env(folder.path().join("state"));
        config.home = folder.path().join("home");
        fs::create_dir(&config.home).unwrap();
        config.environment.remove("CARGO_HOME");
        config.environment.remove("RUSTUP_HOME");
        config.path = "/usr/local/bin:/usr/bin:/bin".into();
        config.helper = helper();
        World { folder, config, mode }
    }

    pub fn runner(&self) -> Runner {
        let runner = Runner::new(self.config.clone()).unwrap();
        assert_eq!(runner.mode(), self.mode);
        runner
    }

    pub async fn start(&self, change: impl FnOnce(&mut Spec)) -> Sandbox {
        let mut spec = Spec::new("story");
        change(&mut spec);
        self.runner().start(spec).await.unwrap()
    }

    pub fn is_root(&self) -> bool {
        self.mode == Mode::Root
    }

    /// A fresh folder in a part of the host that shows inside, when this user may make one.
    pub fn shown_folder(&self) -> Option<TempDir> {
        let folder = tempfile::Builder::new().prefix("towpath-test-").tempdir_in("/opt").ok()?;
        open_to_all(folder.path());
        Some(folder)
    }
}

pub fn helper() -> PathBuf {
    std::env::var_os(HELPER).map_or_else(|| env!("CARGO_BIN_EXE_towpath-sandbox").into(), PathBuf::from)
}

/// Runs a shell script inside.
pub async fn shell(sandbox: &Sandbox, script: &str) -> Output {
    sandbox.run(Command::new(["/bin/bash", "-c", script]), 1 << 20).await.unwrap()
}

/// Output of a script that must succeed inside.
pub async fn said(sandbox: &Sandbox, script: &str) -> String {
    let output = shell(sandbox, script).await;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {:?}\n{stdout}{stderr}", output.status);
    stdout.into_owned()
}

/// Whether a script succeeds inside.
pub async fn works(sandbox: &Sandbox, script: &str) -> bool {
    shell(sandbox, script).await.status.success()
}

/// Whether a script succeeds outside: the positive control of a denial.
pub fn works_outside(script: &str) -> bool {
    let status = HostCommand::new("bash")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

/// Processes of the host whose command line holds `text`.
pub fn processes_with(text: &str) -> Vec<i32> {
    let own = std::process::id() as i32;
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_string_lossy().parse::<i32>().ok());
    pids.filter(|pid| *pid != own)
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
        })
        .collect()
}

/// Waits until `done`; panics with `what` after thirty seconds.
pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("not in thirty seconds: {what}");
}

/// Lines of the host's mount table below `folder`.
pub fn mounts_below(folder: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|l| l.contains(&*folder.to_string_lossy())).map(str::to_owned).collect()
}

/// The control groups that a sandbox of this state directory has, by its record.
pub fn groups_of(state_dir: &Path, id: &str) -> Vec<PathBuf> {
    let record = fs::read_to_string(state_dir.join("run").join(id).join("cgroups")).unwrap_or_default();
    record.lines().map(PathBuf::from).collect()
}
