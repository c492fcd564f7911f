//! The server's handle on all sandboxes of one state directory.
//!
//! State below `state_dir` (0700): `run/ID` (a sandbox's writable layers, its supervisor's lock and process id,
//! its control groups' names), `hosts/NAME` (a kept-alive host's socket, description and log), `layers/` (what
//! hides the host's own files), `bench/` (an empty folder that supervisors mount on, each in its own mount
//! namespace), `trash/` (waiting to be deleted).

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::channel::{self, Channel};
use crate::messages::{Holder, Plan, ToSupervisor};
use crate::supervisor::{self, NAME};
use crate::sweep::{self, Swept};
use crate::toolchains::{self, Toolchains};
use crate::{Bind, Config, Mode, Network, Relay, RunnerError, Sandbox, Spec, layer, nat};

const SEARCH_PATHS_ALWAYS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CAP_SYS_ADMIN: u64 = 1 << 21;
/// How long a sandbox may take to be made.
const SETUP: Duration = Duration::from_secs(60);

/// Starts sandboxes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runner {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    mode: Mode,
    folders: Vec<PathBuf>,
    files: Vec<Bind>,
    env: Vec<(String, String)>,
    proxies: Vec<Relay>,
    nat_is_ready: Mutex<bool>,
}

/// A supervisor that was started.
pub(crate) struct Launched {
    pub channel: Channel,
    /// How its process ended, once it has.
    pub ended: tokio::sync::oneshot::Receiver<String>,
}

impl Runner {
    /// Prepares the state directory, finds the toolchains and probes what this machine allows. Blocking, some
    /// milliseconds; call it once at start.
    pub fn new(mut config: Config) -> Result<Runner, RunnerError> {
        let at = config.state_dir.clone();
        let make = |path: &Path, mode| fs::DirBuilder::new().recursive(true).mode(mode).create(path);
        make(&at, 0o700).map_err(RunnerError::file(&at))?;
        config.state_dir = at.canonicalize().map_err(RunnerError::file(&at))?;
        fs::set_permissions(&config.state_dir, fs::Permissions::from_mode(0o700))
            .map_err(RunnerError::file(&at))?;
        for name in ["run", "hosts", "layers", "bench", "trash"] {
            let path = config.state_dir.join(name);
            make(&path, 0o700).map_err(RunnerError::file(&path))?;
        }
        let mode = find_mode();
        let shown = |path: &Path| layer::is_shown(path, &config.state_dir);
        let lookup = |name: &str| config.environment.get(name).cloned();
        let Toolchains { mut folders, env: named } = toolchains::find(&config.path, lookup, shown);
        folders.extend(config.extra_folders.iter().filter(|f| !shown(f)).cloned());
        let passed = passed_variables(&config);
        let files = passed.iter().filter_map(|(name, value)| hidden_file(name, value, &shown)).collect();
        let proxies = passed.iter().filter_map(|(_, value)| loopback_proxy(value)).collect();
        let mut env = vec![
            ("PATH".to_owned(), search_path(&config.path)),
            ("HOME".to_owned(), config.home.display().to_string()),
            ("USER".to_owned(), "root".to_owned()),
            ("LOGNAME".to_owned(), "root".to_owned()),
        ];
        env.extend(named);
        env.extend(passed);
        let shared = Shared { config, mode, folders, files, env, proxies, nat_is_ready: Mutex::new(false) };
        Ok(Runner { shared: Arc::new(shared) })
    }

    pub fn mode(&self) -> Mode {
        self.shared.mode
    }

    pub(crate) fn state_dir(&self) -> &Path {
        &self.shared.config.state_dir
    }

    /// Folders that every sandbox is given, copy-on-write: toolchains and the operator's own.
    pub fn folders(&self) -> &[PathBuf] {
        &self.shared.folders
    }

    /// Kills and removes what an earlier server of this state directory left: processes, cgroups, folders.
    /// Hosts that are held by their own supervisor stay. Call it at start, before the first `start`.
    pub async fn sweep(&self) -> Result<Swept, RunnerError> {
        let state_dir = self.shared.config.state_dir.clone();
        let swept = tokio::task::spawn_blocking(move || sweep::sweep(&state_dir)).await;
        swept.map_err(|e| RunnerError::Channel(io::Error::other(e)))?
    }

    /// Starts a sandbox; it is ready for commands when this returns. Dropping its last handle kills it.
    pub async fn start(&self, spec: Spec) -> Result<Sandbox, RunnerError> {
        let id = spec.id.clone();
        let plan = self.plan(spec, Holder::Server)?;
        self.prepare_network(&plan.spec).await?;
        let launched = self.launch(plan)?;
        // A dropped channel ends the supervisor, however far it has come.
        match tokio::time::timeout(SETUP, Sandbox::await_ready(id.clone(), launched)).await {
            Ok(ready) => ready,
            Err(_) => {
                let (step, detail) = ("wait for the sandbox".into(), format!("not ready after {SETUP:?}"));
                Err(RunnerError::Setup { id, step, detail })
            }
        }
    }

    /// Starts a supervisor with a plan; it answers on the channel.
    pub(crate) fn launch(&self, plan: Plan) -> Result<Launched, RunnerError> {
        let (ours, theirs) = channel::pair()?;
        let (id, state_dir) = (plan.spec.id.clone(), self.shared.config.state_dir.clone());
        ours.send(&ToSupervisor::Start(Box::new(plan)), &[])?;
        // No hook between fork and exec: std then spawns without copying this process. The environment stays
        // here: it may hold secrets, and the inside's pid 1 is a copy of the supervisor.
        let mut child = tokio::process::Command::new(&self.shared.config.helper)
            .arg0(NAME)
            .env_clear()
            // The executable's allocator reserves a gigabyte as if it were used, which a limit on memory would count.
            .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
            .current_dir("/")
            .stdin(Stdio::from(theirs.into_fd()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(RunnerError::file(&self.shared.config.helper))?;
        let (tell, ended) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let pid = child.id().unwrap_or_default();
            let Ok(status) = child.wait().await else { return };
            tell.send(supervisor::silent_end(status)).ok();
            // One that ends by itself has cleaned up.
            if status.signal().is_some() {
                tokio::task::spawn_blocking(move || sweep::bury(&state_dir, &id, pid)).await.ok();
            }
        });
        Ok(Launched { channel: ours, ended })
    }

    pub(crate) async fn prepare_network(&self, spec: &Spec) -> Result<(), RunnerError> {
        if spec.network != Network::Egress || self.shared.mode != Mode::Root {
            return Ok(());
        }
        let shared = self.shared.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let mut ready = shared.nat_is_ready.lock().unwrap_or_else(PoisonError::into_inner);
            if !*ready {
                nat::prepare()?;
                *ready = true;
            }
            Ok(())
        });
        prepared.await.map_err(|e| RunnerError::Channel(io::Error::other(e)))?
    }

    /// Completes a specification with this runner's decisions.
    pub(crate) fn plan(&self, mut spec: Spec, holder: Holder) -> Result<Plan, RunnerError> {
        validate(&spec)?;
        let shared = &*self.shared;
        let mut env = shared.env.clone();
        for (name, value) in std::mem::take(&mut spec.env) {
            env.retain(|(known, _)| *known != name);
            env.push((name, value));
        }
        spec.env = env;
        if spec.network == Network::Egress {
            for proxy in &shared.proxies {
                if !spec.relays.iter().any(|r| r.inside == proxy.inside) {
                    spec.relays.push(proxy.clone());
                }
            }
        }
        let (resolvers, search_domains) = resolver_settings();
        let state_dir = &shared.config.state_dir;
        let layer = match shared.mode {
            Mode::Root => Some(layer::make(state_dir).map_err(RunnerError::file(state_dir.join("layers")))?),
            Mode::Rootless => None,
        };
        Ok(Plan {
            spec,
            mode: shared.mode,
            state_dir: shared.config.state_dir.clone(),
            home: shared.config.home.clone(),
            folders: shared.folders.clone(),
            files: shared.files.clone(),
            resolvers,
            search_domains,
            network: shared.config.network.clone(),
            layer,
            holder,
        })
    }
}

fn validate(spec: &Spec) -> Result<(), RunnerError> {
    let invalid = |text: String| Err(RunnerError::Invalid(text));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if spec.id.is_empty() || spec.id.len() > 128 || spec.id.starts_with('.') || !spec.id.chars().all(plain) {
        return invalid(format!("{:?} cannot be a sandbox's id", spec.id));
    }
    let name = &spec.hostname;
    if name.is_empty() || name.len() > 63 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return invalid(format!("{name:?} cannot be a hostname"));
    }
    for bind in &spec.binds {
        let parts = bind.target.components().skip(1).collect::<Vec<_>>();
        let plain = parts.iter().all(|p| matches!(p, std::path::Component::Normal(_)));
        if !bind.target.is_absolute() || parts.is_empty() || !plain {
            return invalid(format!("{} cannot be a bind's target", bind.target.display()));
        }
    }
    if spec.limits.cpus.is_some_and(|cpus| !cpus.is_finite() || cpus <= 0.0) {
        return invalid("the CPU limit must be above zero".into());
    }
    if spec.limits.memory_bytes.is_some_and(|bytes| bytes < 4 << 20) {
        return invalid("the memory limit must be at least 4 MiB".into());
    }
    Ok(())
}

/// Root means root of the machine, not of some user namespace.
fn find_mode() -> Mode {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective =
        status.lines().find_map(|l| u64::from_str_radix(l.strip_prefix("CapEff:")?.trim(), 16).ok());
    // A container's root usually lacks it.
    let may_mount = effective.is_some_and(|c| c & CAP_SYS_ADMIN != 0);
    if nix::unistd::geteuid().is_root() && whole && may_mount { Mode::Root } else { Mode::Rootless }
}

fn passed_variables(config: &Config) -> Vec<(String, String)> {
    let names = Config::PASSED.iter().copied().chain(config.passthrough_env.iter().map(String::as_str));
    names.filter_map(|n| config.environment.get(n).map(|v| (n.to_owned(), v.clone()))).collect()
}

/// A file or folder that a variable names, if the inside would not see it.
/// Folders only for the variables that this crate knows: another's may name a whole home.
fn hidden_file(name: &str, value: &str, shown: &impl Fn(&Path) -> bool) -> Option<Bind> {
    let path = Path::new(value);
    let metadata = path.is_absolute().then(|| fs::metadata(path).ok())??;
    let known = Config::PASSED.contains(&name) && !toolchains::is_home(path);
    let wanted = metadata.is_file() || (metadata.is_dir() && known);
    (wanted && !shown(path)).then(|| Bind::read_only(path, path))
}

/// A proxy on the host's loopback, which the inside reaches through a relay at the same address.
fn loopback_proxy(value: &str) -> Option<Relay> {
    let (_, rest) = value.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = host.strip_prefix("localhost").map_or(host.to_owned(), |port| format!("127.0.0.1{port}"));
    let address: SocketAddr = host.parse().ok().or_else(|| host.to_socket_addrs().ok()?.next())?;
    address.ip().is_loopback().then_some(Relay { inside: address, outside: address })
}

/// The server's PATH and the system's own, without relative entries.
fn search_path(path: &str) -> String {
    let mut entries: Vec<&str> = Vec::new();
    for entry in path.split(':').chain(SEARCH_PATHS_ALWAYS.split(':')) {
        if entry.starts_with('/') && !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    entries.join(":")
}

fn resolver_settings() -> (Vec<IpAddr>, Vec<String>) {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let (mut resolvers, mut search) = (Vec::<IpAddr>::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => resolvers.extend(words.next().and_then(|a| a.parse::<IpAddr>().ok())),
            Some("search" | "domain") => search = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    (resolvers, search)
}
