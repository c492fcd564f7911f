//! Sandboxes that are kept alive as machines: `towpath host run|list|exec|stop`.
//!
//! Each is held by a supervisor process of its own, which outlives the command that made it and answers on a
//! unix socket below the state directory. Its writable root lasts until it is stopped.

pub(crate) mod socket;

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Bind, Command, Config, ExitStatus, Limits, Network, Publish, Relay, RunnerError};

/// A host to run.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSpec {
    /// Also its hostname: 1 to 63 of `[a-z0-9-]`.
    pub name: String,
    pub limits: Limits,
    pub network: Network,
    pub env: Vec<(String, String)>,
    pub binds: Vec<Bind>,
    pub relays: Vec<Relay>,
    pub publish: Vec<Publish>,
    /// What runs inside for as long as the host does, usually the agent:
    /// `["/usr/local/bin/towpath", "agent", …]` (the running executable is there). Restarted when it ends.
    pub service: Option<Vec<String>>,
    /// Shown by `list`, for the caller's own use (tags, endpoint).
    pub labels: Vec<(String, String)>,
}

/// A running host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    pub name: String,
    pub supervisor_pid: i32,
    pub started_at_ms: i64,
    pub address: Option<Ipv4Addr>,
    pub published: Vec<SocketAddr>,
    pub labels: Vec<(String, String)>,
    pub weaknesses: Vec<String>,
}

/// Starts a host and returns when it is ready for commands; it runs on after this process ends. The service's
/// output is in `STATE_DIR/hosts/NAME/service.log`.
pub async fn run(_config: &Config, spec: HostSpec) -> Result<Host, RunnerError> {
    Err(RunnerError::Invalid(spec.name))
}

/// The running hosts, by name.
pub fn list(_state_dir: &Path) -> Result<Vec<Host>, RunnerError> {
    Ok(Vec::new())
}

/// Runs a command in a host and waits for it. Streams are the command's `stdin`, `stdout`, `stderr`. With
/// `terminal` set, this process's own terminal is put into raw mode and connected.
pub async fn exec(_state_dir: &Path, name: &str, _command: Command) -> Result<ExitStatus, RunnerError> {
    Err(RunnerError::NoSuchHost(name.to_owned()))
}

/// Stops a host: its processes, its files, its network.
pub async fn stop(_state_dir: &Path, name: &str) -> Result<(), RunnerError> {
    Err(RunnerError::NoSuchHost(name.to_owned()))
}

/// Removes what killed supervisors of hosts left.
pub(crate) fn sweep(_state_dir: &Path) -> Result<(), RunnerError> {
    Ok(())
}
