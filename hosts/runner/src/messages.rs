//! What server, supervisor and init say to each other.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::{ExitStatus, Mode, Report, Spec, WindowSize};
use crate::{Bind, NetworkConfig};

/// Everything a supervisor needs to make one sandbox: the specification with the runner's own decisions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub spec: Spec,
    pub mode: Mode,
    pub state_dir: PathBuf,
    /// HOME inside.
    pub home: PathBuf,
    /// Toolchains and extra folders, each shown copy-on-write at its own path.
    pub folders: Vec<PathBuf>,
    /// Binds of the runner's own (certificate files).
    pub files: Vec<Bind>,
    /// Host resolvers.
    pub resolvers: Vec<std::net::IpAddr>,
    pub search_domains: Vec<String>,
    pub network: NetworkConfig,
    /// What hides the host's own files, as root.
    pub layer: Option<PathBuf>,
    pub holder: Holder,
}

/// Whose life the sandbox shares.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Holder {
    /// The server's: it ends when the server's socket closes.
    Server,
    /// Its supervisor's: it ends when told to, over `socket`.
    Supervisor { socket: PathBuf, service: Option<Vec<String>>, service_log: PathBuf },
}

/// A command to start; its three streams are the message's descriptors unless it has a terminal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecRequest {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: Option<PathBuf>,
    pub user: Option<String>,
    pub terminal: Option<WindowSize>,
}

/// Server (or host client) to supervisor. `seq` is the client's own number for a command.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToSupervisor {
    Start(Box<Plan>),
    Exec {
        seq: u64,
        request: ExecRequest,
    },
    Signal {
        seq: u64,
        signal: i32,
    },
    /// Kill everything and clean up.
    Stop,
}

/// Supervisor to server (or host client).
#[derive(Debug, Serialize, Deserialize)]
pub enum FromSupervisor {
    /// Carries the inside's root as a descriptor.
    Ready(Report),
    Failed(Failure),
    /// Carries the terminal's near end when one was asked for.
    Started {
        seq: u64,
        pid: i32,
    },
    SpawnFailed {
        seq: u64,
        detail: String,
    },
    Exited {
        seq: u64,
        status: ExitStatus,
    },
    /// Processes, mounts and cgroup are gone.
    Ended {
        reason: String,
    },
}

/// Why a sandbox could not be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    pub step: String,
    pub detail: String,
    /// What to install or permit, when that is the cause.
    pub remedy: Option<String>,
}

/// Supervisor to init.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToInit {
    /// Carries the new root as a descriptor.
    Setup(InitPlan),
    Exec {
        seq: u64,
        request: ExecRequest,
    },
    Signal {
        seq: u64,
        signal: i32,
    },
    /// A listening socket at an address inside.
    Listen {
        seq: u64,
        address: SocketAddr,
        kind: Socket,
    },
    /// An unconnected socket of the inside's network.
    Open {
        seq: u64,
        v6: bool,
    },
}

/// Transport of a [`ToInit::Listen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Socket {
    Stream,
    Datagram,
}

/// Init to supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromInit {
    /// Carries the inside's root.
    Ready {
        weaknesses: Vec<String>,
    },
    Failed(Failure),
    Started {
        seq: u64,
        pid: i32,
    },
    SpawnFailed {
        seq: u64,
        detail: String,
    },
    /// `status` is the raw wait status.
    Exited {
        seq: u64,
        status: i32,
    },
    /// Carries the socket.
    Socket {
        seq: u64,
    },
    SocketFailed {
        seq: u64,
        detail: String,
    },
}

/// What init does before it takes requests.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InitPlan {
    pub mode: Mode,
    pub hostname: String,
    pub env: Vec<(String, String)>,
    pub address: Option<InsideAddress>,
    /// Address ranges that the inside may not reach.
    pub unreachable: Vec<(std::net::Ipv4Addr, u8)>,
    pub rlimits: Vec<(u32, u64)>,
}

/// The inside's end of its veth.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InsideAddress {
    pub interface: String,
    pub address: std::net::Ipv4Addr,
    pub prefix: u8,
    pub gateway: std::net::Ipv4Addr,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure { step: "set up".into(), detail: error.to_string(), remedy: None }
    }
}

/// Names the step in which an error happened.
pub trait Step<T> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> Step<T> for Result<T, E> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|e| Failure { step: step(), detail: e.to_string(), remedy: None })
    }
}
