//! Egress without root: pasta or slirp4netns carries the sandbox's traffic with sockets of its own, as an
//! ordinary user's process.
//!
//! The tool must run outside the supervisor's user namespace, so a helper is forked before that is made. It
//! waits for init's process id, runs the tool, and ends it when the supervisor's end of their pipe closes, by
//! a drop or by death.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::messages::{Failure, Plan, Step};
use crate::spec::{Mode, Network};
use crate::sys;

const FOLDERS: &[&str] = &["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
const TUN: &str = "/dev/net/tun";
/// Of what the tool says when it fails.
const SAID_BYTES: u64 = 4_000;
const READY: Duration = Duration::from_secs(10);

/// A helper that waits for a network namespace.
pub struct Prepared {
    pipe: UnixStream,
    tool: PathBuf,
}

/// The helper with its tool; the sandbox's network is gone when this is dropped.
pub struct Helper {
    pipe: UnixStream,
    init_pid: i32,
    tool: PathBuf,
}

/// Forks the helper where the plan asks for egress and the server is not root.
pub fn prepare(plan: &Plan) -> Result<Option<Prepared>, Failure> {
    if plan.mode == Mode::Root || plan.spec.network == Network::None {
        return Ok(None);
    }
    let names = ["pasta", "slirp4netns"].into_iter();
    let found = names.flat_map(|n| FOLDERS.iter().map(move |f| Path::new(f).join(n))).find(|p| p.exists());
    let tool = found.ok_or_else(|| Failure {
        step: "connect the network".into(),
        detail: "neither pasta nor slirp4netns is installed, and the server is not root".into(),
        remedy: Some("install one of them (`apt-get install passt` or `apt-get install slirp4netns`)".into()),
    })?;
    let (theirs, pipe) = UnixStream::pair().step(|| "make the network helper's pipe".into())?;
    File::options().read(true).write(true).open(TUN).map_err(|e| Failure {
        step: "connect the network".into(),
        detail: format!("{} needs {TUN}: {e}", tool.display()),
        remedy: Some(format!("load the tun module and let this user open it (`chmod 0666 {TUN}`)")),
    })?;
    // SAFETY: the supervisor has one thread, so the child may use everything it inherits.
    match sys::check(unsafe { libc::fork() }.into()).step(|| "fork the network helper".into())? {
        0 => {
            drop(pipe);
            help(theirs, &tool)
        }
        _ => Ok(Some(Prepared { pipe, tool })),
    }
}

impl Prepared {
    /// Starts to connect init's network namespace.
    pub fn connect(mut self, init_pid: i32) -> Result<Helper, Failure> {
        let step = || "start the network helper".into();
        self.pipe.write_all(&init_pid.to_ne_bytes()).step(step)?;
        self.pipe.set_nonblocking(true).step(step)?;
        Ok(Helper { pipe: self.pipe, init_pid, tool: self.tool })
    }
}

impl Helper {
    /// Waits until the inside has a way out. Before init is told to go on: once it has hidden itself, no tool can
    /// open its namespaces.
    pub fn await_ready(&self) -> Result<(), Failure> {
        let (deadline, routes) = (Instant::now() + READY, format!("/proc/{}/net/route", self.init_pid));
        loop {
            let table = fs::read_to_string(&routes).unwrap_or_default();
            // Interface, destination, …: the default route's destination is zero.
            let is_default = |line: &str| line.split_whitespace().nth(1) == Some("00000000");
            let prohibited = |line: &str| line.starts_with('*');
            if table.lines().skip(1).any(|l| is_default(l) && !prohibited(l)) {
                return Ok(());
            }
            let mut said = String::new();
            let over = Instant::now() > deadline;
            let gone = (&self.pipe).take(SAID_BYTES).read_to_string(&mut said).is_ok();
            if over || gone {
                let detail = format!("{} made no default route: {}", self.tool.display(), said.trim());
                return Err(Failure { step: "connect the network".into(), detail, remedy: None });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The helper's whole life; a child of the supervisor, outside its namespaces.
fn help(mut pipe: UnixStream, tool: &Path) -> ! {
    sys::close_from(3, &[pipe.as_raw_fd()]);
    let mut pid = [0; 4];
    if pipe.read_exact(&mut pid).is_ok() {
        match run_tool(tool, i32::from_ne_bytes(pid)) {
            Ok(child) => attend(pipe, child),
            Err(e) => drop(pipe.write_all(e.to_string().as_bytes())),
        }
    }
    // SAFETY: ends this process without running the supervisor's exit handlers.
    unsafe { libc::_exit(0) }
}

/// Until the supervisor has gone or dropped its end, or the tool has ended: then tells why.
fn attend(mut pipe: UnixStream, mut tool: Child) {
    pipe.set_read_timeout(Some(Duration::from_millis(100))).ok();
    loop {
        if tool.try_wait().is_ok_and(|ended| ended.is_some()) {
            let mut said = String::new();
            if let Some(stderr) = tool.stderr.take() {
                stderr.take(SAID_BYTES).read_to_string(&mut said).ok();
            }
            pipe.write_all(said.as_bytes()).ok();
            return;
        }
        match pipe.read(&mut [0; 1]) {
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    tool.kill().ok();
    tool.wait().ok();
}

fn run_tool(tool: &Path, init_pid: i32) -> io::Result<Child> {
    let mut command = Command::new(tool);
    let (network, user) = (format!("/proc/{init_pid}/ns/net"), format!("/proc/{init_pid}/ns/user"));
    if tool.ends_with("pasta") {
        command.args(["--foreground", "--quiet", "--config-net", "--ipv4-only", "--no-map-gw"]);
        command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
        command.args(["--netns", &network, "--userns", &user]);
    } else {
        command.args(["--configure", "--disable-host-loopback", "--disable-dns"]);
        command.args(["--userns-path", &user, "--netns-type", "path", &network, "tap0"]);
    }
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.process_group(0).spawn()
}
