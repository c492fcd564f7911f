//! The vocabulary of a sandbox: what it may use, what it sees, and how a command in it ends. Plain data;
//! it travels as JSON from the server to the sandbox's supervisor.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One sandbox to start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Unique among the sandboxes of one state directory: 1 to 128 of `[A-Za-z0-9._-]`, not starting with a dot.
    pub id: String,
    pub hostname: String,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub network: Network,
    /// Base environment of every command, over what the runner passes through (PATH, HOME, proxies, certificates).
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Host folders and files to show inside. Toolchains need not be listed: the runner gives them.
    #[serde(default)]
    pub binds: Vec<Bind>,
    /// Doors from the inside to one address outside each.
    #[serde(default)]
    pub relays: Vec<Relay>,
    /// Doors from one address outside each to a port inside.
    #[serde(default)]
    pub publish: Vec<Publish>,
}

impl Spec {
    /// A sandbox without network, limits or binds.
    pub fn new(id: impl Into<String>) -> Spec {
        let id = id.into();
        Spec {
            hostname: id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect(),
            id,
            limits: Limits::default(),
            network: Network::default(),
            env: Vec::new(),
            binds: Vec::new(),
            relays: Vec::new(),
            publish: Vec::new(),
        }
    }
}

/// Limits over all processes of one sandbox together. `None` means the machine's own limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory with page cache, in bytes; a process that goes over is killed (exit code 137).
    pub memory_bytes: Option<u64>,
    /// CPU time per wall time: 1.5 is one and a half cores.
    pub cpus: Option<f64>,
    /// Processes and threads. `None` means [`Limits::DEFAULT_PIDS`]: a fork bomb is always held.
    pub pids: Option<u32>,
    /// The whole sandbox is killed this long after its start.
    pub wall_ms: Option<u64>,
    /// What may be written to disk, in the sandbox's own layers and in its writable binds (with what is in them
    /// at its start). Over it the whole sandbox is killed, and [`crate::RunnerError::is_over_disk`] tells why.
    #[serde(default)]
    pub disk_bytes: Option<u64>,
}

impl Limits {
    pub const DEFAULT_PIDS: u32 = 16_384;
}

/// What the sandbox reaches. It always has a network namespace of its own; the host's loopback, its other
/// listening sockets and the link-local metadata addresses are never reachable but through a [`Relay`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Its own loopback only (relays still work).
    #[default]
    None,
    /// The outside by NAT, and a working `/etc/resolv.conf`.
    Egress,
}

/// A host folder or file shown inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bind {
    pub source: BindSource,
    /// Absolute path inside; it is created.
    pub target: PathBuf,
    pub access: Access,
}

/// Where a [`Bind`] comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum BindSource {
    Path(PathBuf),
    /// The running executable itself: gives a host sandbox its agent.
    CurrentExecutable,
}

/// What the inside may do with a [`Bind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    ReadOnly,
    /// Writes go to the host's folder. Its files belong to the inside's root.
    Writable,
    /// Writes stay in the sandbox and vanish with it.
    CopyOnWrite,
}

impl Bind {
    /// A workspace: writable, owned by the inside's root.
    pub fn writable(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Bind {
        Bind { source: BindSource::Path(source.into()), target: target.into(), access: Access::Writable }
    }

    pub fn read_only(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Bind {
        Bind { source: BindSource::Path(source.into()), target: target.into(), access: Access::ReadOnly }
    }

    pub fn copy_on_write(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Bind {
        Bind { source: BindSource::Path(source.into()), target: target.into(), access: Access::CopyOnWrite }
    }
}

/// A listener inside whose connections are carried to one address outside, whatever else is closed:
/// `inside` is an address of the sandbox's own (usually `127.0.0.1:PORT`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    pub inside: SocketAddr,
    pub outside: SocketAddr,
}

/// A listener outside whose connections are carried to `127.0.0.1:inside_port` inside. Port 0 takes a free
/// port; [`Report::published`] tells which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    pub host: SocketAddr,
    pub inside_port: u16,
}

/// What a started sandbox really has. Nothing that was asked for is dropped silently: what this machine
/// cannot enforce is in `weaknesses`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub mode: Mode,
    /// Sentences for a person, one per protection or limit that is weaker than asked for.
    pub weaknesses: Vec<String>,
    /// The real address of each [`Publish`], in order.
    pub published: Vec<SocketAddr>,
    /// The sandbox's own address, reachable from the host; only as root with [`Network::Egress`].
    pub address: Option<std::net::Ipv4Addr>,
    /// Process id of the supervisor and of the inside's pid 1, as the host counts.
    pub supervisor_pid: i32,
    pub init_pid: i32,
    /// From the helper's first instruction to "ready", in microseconds.
    pub setup_us: u64,
}

/// How much this server may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Copy-on-write root, private uid range, cgroups, NAT.
    Root,
    /// Read-only root, one uid, limits by rlimit unless cgroups are delegated, network by pasta or slirp4netns.
    #[default]
    Rootless,
}

/// A command for a sandbox. Without `stdin`/`stdout`/`stderr` those are `/dev/null`.
#[derive(Debug, Default)]
pub struct Command {
    pub argv: Vec<String>,
    /// Over the sandbox's base environment.
    pub env: Vec<(String, String)>,
    /// Absolute; `/` when `None`.
    pub cwd: Option<PathBuf>,
    /// A name of the inside's `/etc/passwd`, or `UID[:GID]`; root when `None`.
    pub user: Option<String>,
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// A terminal of this size for all three streams instead; [`crate::Process::take_terminal`] is its other end.
    pub terminal: Option<WindowSize>,
}

impl Command {
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Command {
        Command { argv: argv.into_iter().map(Into::into).collect(), ..Command::default() }
    }

    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Command {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> Command {
        self.cwd = Some(cwd.into());
        self
    }

    pub fn user(mut self, user: impl Into<String>) -> Command {
        self.user = Some(user.into());
        self
    }

    pub fn stdin(mut self, fd: impl Into<OwnedFd>) -> Command {
        self.stdin = Some(fd.into());
        self
    }

    pub fn stdout(mut self, fd: impl Into<OwnedFd>) -> Command {
        self.stdout = Some(fd.into());
        self
    }

    pub fn stderr(mut self, fd: impl Into<OwnedFd>) -> Command {
        self.stderr = Some(fd.into());
        self
    }
}

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// As a shell says it: 0..=255, and 128 + signal for a command that a signal ended (137 for SIGKILL).
    pub code: i32,
    pub signal: Option<i32>,
    /// The memory limit killed at least one process of the sandbox while this command ran.
    pub out_of_memory: bool,
}

impl ExitStatus {
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

/// What [`crate::Sandbox::run`] collects. Output beyond the limit is cut, and `truncated` says so.
#[derive(Clone, Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub truncated: bool,
}
