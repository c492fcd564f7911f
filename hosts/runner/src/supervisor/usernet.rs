//! Egress without root: pasta or slirp4netns carries the sandbox's traffic with sockets of its own, as an
//! ordinary user's process.
//!
//! The tool must run outside the supervisor's user namespace, so a helper is forked before that is made. It
//! waits for init's process id, runs the tool, and ends it when the supervisor's end of their pipe closes, by
//! a drop or by death.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::messages::{Failure, Plan, Step};
use crate::spec::{Mode, Network};
use crate::sys;

const FOLDERS: &[&str] = &["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
const READY: Duration = Duration::from_secs(10);

/// A helper that waits for a network namespace.
pub struct Prepared {
    pipe: PipeWriter,
    tool: PathBuf,
}

/// The helper with its tool; the sandbox's network is gone when this is dropped.
pub struct Helper {
    _pipe: PipeWriter,
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
    let (reader, pipe) = io::pipe().step(|| "make the network helper's pipe".into())?;
    // SAFETY: the supervisor has one thread, so the child may use everything it inherits.
    match sys::check(unsafe { libc::fork() }.into()).step(|| "fork the network helper".into())? {
        0 => {
            drop(pipe);
            help(reader, &tool)
        }
        _ => Ok(Some(Prepared { pipe, tool })),
    }
}

impl Prepared {
    /// Starts to connect init's network namespace.
    pub fn connect(mut self, init_pid: i32) -> Result<Helper, Failure> {
        self.pipe.write_all(&init_pid.to_ne_bytes()).step(|| "start the network helper".into())?;
        Ok(Helper { _pipe: self.pipe, init_pid, tool: self.tool })
    }
}

impl Helper {
    /// Waits until the inside has a way out.
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
            if Instant::now() > deadline {
                let detail = format!("{} made no default route in {READY:?}", self.tool.display());
                return Err(Failure { step: "connect the network".into(), detail, remedy: None });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The helper's whole life; a child of the supervisor, outside its namespaces.
fn help(mut pipe: PipeReader, tool: &Path) -> ! {
    sys::close_from(3, &[pipe.as_raw_fd()]);
    let mut pid = [0; 4];
    if pipe.read_exact(&mut pid).is_ok()
        && let Ok(mut child) = run_tool(tool, i32::from_ne_bytes(pid))
    {
        // Returns when the supervisor has gone or dropped its end.
        pipe.read(&mut [0; 1]).ok();
        child.kill().ok();
        child.wait().ok();
    }
    // SAFETY: ends this process without running the supervisor's exit handlers.
    unsafe { libc::_exit(0) }
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
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).spawn()
}
