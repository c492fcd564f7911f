//! Sandboxes that are kept alive as machines: `towpath host run|list|exec|stop`.
//!
//! Each is held by a supervisor process of its own, which outlives the command that made it and answers on a
//! unix socket below the state directory. Its writable root lasts until it is stopped.
//!
//! State: `STATE_DIR/hosts/NAME/`, made before the supervisor starts and removed by it at its end: `socket`,
//! `host.json` (what `list` shows), `service.log`. A host whose supervisor was killed is found by its run
//! folder's free lock; `list` leaves it out and a [`Runner::sweep`] removes it.

pub(crate) mod socket;
mod terminal;

pub use terminal::size as terminal_size;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::channel::AsyncChannel;
use crate::messages::Holder;
use crate::supervisor::run_folder;
use crate::sweep::{host_folder as folder, host_sandbox_id as sandbox_id, supervisor_lives, sweep_host};
use crate::{
    Access, Bind, BindSource, Command, Config, ExitStatus, Limits, Network, Publish, Relay, Report, Runner,
    RunnerError, Sandbox, Spec, trash,
};

/// Where a host finds the running executable.
pub const EXECUTABLE: &str = "/usr/local/bin/towpath";

/// A host to run.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSpec {
    /// Also its hostname: 1 to 63 of `[a-z0-9-]`, not starting with `-`.
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

impl HostSpec {
    /// A host with a way out, and nothing running in it.
    pub fn new(name: impl Into<String>) -> HostSpec {
        HostSpec {
            name: name.into(),
            limits: Limits::default(),
            network: Network::Egress,
            env: Vec::new(),
            binds: Vec::new(),
            relays: Vec::new(),
            publish: Vec::new(),
            service: None,
            labels: Vec::new(),
        }
    }
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

fn check_name(name: &str) -> Result<(), RunnerError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 63 || name.starts_with('-') || !name.chars().all(plain) {
        let text = format!("{name:?} cannot be a host's name: use 1 to 63 of a-z, 0-9 and \"-\"");
        return Err(RunnerError::Invalid(text));
    }
    Ok(())
}

/// Starts a host and returns when it is ready for commands; it runs on after this process ends. The service's
/// output is in `STATE_DIR/hosts/NAME/service.log`.
pub async fn run(config: &Config, spec: HostSpec) -> Result<Host, RunnerError> {
    check_name(&spec.name)?;
    let runner = Runner::new(config.clone())?;
    let state_dir = runner.state_dir().to_owned();
    let place = folder(&state_dir, &spec.name);
    if supervisor_lives(&run_folder(&state_dir, &sandbox_id(&spec.name))) {
        return Err(RunnerError::HostExists(spec.name));
    }
    sweep_host(&state_dir, &spec.name)?;
    fs::DirBuilder::new().mode(0o700).create(&place).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => RunnerError::HostExists(spec.name.clone()),
        _ => RunnerError::file(&place)(e),
    })?;
    let result = start(&runner, &spec, &place).await;
    if result.is_err() {
        trash::discard(&state_dir, &place).ok();
    }
    result
}

async fn start(runner: &Runner, spec: &HostSpec, place: &Path) -> Result<Host, RunnerError> {
    let executable = Bind {
        source: BindSource::CurrentExecutable,
        target: PathBuf::from(EXECUTABLE),
        access: Access::ReadOnly,
    };
    let sandbox = Spec {
        id: sandbox_id(&spec.name),
        hostname: spec.name.clone(),
        limits: spec.limits.clone(),
        network: spec.network,
        env: spec.env.clone(),
        binds: spec.binds.iter().cloned().chain([executable]).collect(),
        relays: spec.relays.clone(),
        publish: spec.publish.clone(),
    };
    let holder = Holder::Supervisor {
        socket: place.join("socket"),
        service: spec.service.clone(),
        service_log: place.join("service.log"),
    };
    let plan = runner.plan(sandbox, holder)?;
    runner.prepare_network(&plan.spec).await?;
    let launched = runner.launch(plan)?;
    // Dropping this handle only closes a channel: the supervisor holds the sandbox.
    let sandbox = Sandbox::await_ready(sandbox_id(&spec.name), launched).await?;
    let report = sandbox.report();
    let host = Host {
        name: spec.name.clone(),
        supervisor_pid: report.supervisor_pid,
        started_at_ms: crate::sys::now_ms(),
        address: report.address,
        published: report.published.clone(),
        labels: spec.labels.clone(),
        weaknesses: report.weaknesses.clone(),
    };
    let path = place.join("host.json");
    let draft = path.with_extension("draft");
    let text = serde_json::to_vec(&host).map_err(std::io::Error::from)?;
    fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path)).map_err(RunnerError::file(&path))?;
    Ok(host)
}

/// The running hosts, by name.
pub fn list(state_dir: &Path) -> Result<Vec<Host>, RunnerError> {
    let hosts = state_dir.join("hosts");
    let entries = match fs::read_dir(&hosts) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(RunnerError::file(&hosts)(e)),
    };
    let mut found: Vec<Host> = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let description = fs::read(entry.path().join("host.json")).ok();
        let host = description.and_then(|text| serde_json::from_slice::<Host>(&text).ok());
        found.extend(host.filter(|_| supervisor_lives(&run_folder(state_dir, &sandbox_id(&name)))));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn connect(state_dir: &Path, name: &str) -> Result<Sandbox, RunnerError> {
    check_name(name)?;
    let channel = socket::connect(&folder(state_dir, name).join("socket"))
        .map_err(|_| RunnerError::NoSuchHost(name.to_owned()))?;
    Ok(Sandbox::attach(sandbox_id(name), Report::default(), None, AsyncChannel::new(channel)?))
}

/// Runs a command in a host and waits for it. Streams are the command's `stdin`, `stdout`, `stderr`. With
/// `terminal` set, this process's own terminal is put into raw mode and connected. When this process ends
/// first, the command is hung up on.
pub async fn exec(state_dir: &Path, name: &str, command: Command) -> Result<ExitStatus, RunnerError> {
    let sandbox = connect(state_dir, name)?;
    let mut process = sandbox.exec(command).await?;
    match process.take_terminal() {
        Some(terminal) => terminal::attend(terminal.as_fd(), process.wait()).await,
        None => process.wait().await,
    }
}

/// Stops a host: its processes, its files, its network. Returns when they are gone.
pub async fn stop(state_dir: &Path, name: &str) -> Result<(), RunnerError> {
    connect(state_dir, name)?.destroy().await
}
