//! Finds and removes what killed supervisors left below a state directory, of sandboxes and of hosts.
//!
//! Owns no state: a run folder whose lock is free has no supervisor, so whatever is in it may go. A sweep that is
//! killed itself is simply made again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::supervisor::run_folder;
use crate::{RunnerError, cgroup, trash};

/// How long a sweep waits for a supervisor that is cleaning up by itself.
const FAREWELL: Duration = Duration::from_secs(5);
/// A host that is just being started has its folder before its supervisor; it is younger than this.
const STARTING: Duration = Duration::from_secs(30);

/// What [`crate::Runner::sweep`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub sandboxes: Vec<String>,
}

/// The sandbox of a host.
pub(crate) fn host_sandbox_id(name: &str) -> String {
    format!("host-{name}")
}

pub(crate) fn host_folder(state_dir: &Path, name: &str) -> PathBuf {
    state_dir.join("hosts").join(name)
}

/// Removes what an earlier server left: everything but hosts that are held by their own supervisor.
pub(crate) fn sweep(state_dir: &Path) -> Result<Swept, RunnerError> {
    let mut swept = Swept::default();
    let run = state_dir.join("run");
    for entry in fs::read_dir(&run).map_err(RunnerError::file(&run))? {
        let entry = entry.map_err(RunnerError::file(&run))?;
        let id = entry.file_name().to_string_lossy().into_owned();
        if sweep_one(state_dir, &id)? {
            swept.sandboxes.push(id);
        }
    }
    let hosts = state_dir.join("hosts");
    for entry in fs::read_dir(&hosts).map_err(RunnerError::file(&hosts))?.flatten() {
        sweep_host(state_dir, &entry.file_name().to_string_lossy())?;
    }
    let state_dir = state_dir.to_owned();
    std::thread::spawn(move || trash::empty(&state_dir));
    Ok(swept)
}

/// Removes what a killed supervisor left, without waiting for the next start's sweep.
pub(crate) fn bury(state_dir: &Path, id: &str) {
    tracing::warn!(sandbox = id, "its supervisor was killed; removing what it left");
    if let Err(e) = sweep_one(state_dir, id).and_then(|_| trash::empty(state_dir).map_err(RunnerError::from))
    {
        tracing::error!(sandbox = id, error = %e, "what a killed supervisor left is removed at the next start");
    }
}

/// Whether anything was removed; a host whose supervisor lives stays.
fn sweep_one(state_dir: &Path, id: &str) -> Result<bool, RunnerError> {
    let folder = run_folder(state_dir, id);
    let deadline = Instant::now() + FAREWELL;
    let mut killed = false;
    while supervisor_lives(&folder) {
        if folder.join("host").exists() {
            return Ok(false);
        }
        if Instant::now() > deadline && !killed {
            killed = true;
            let pid =
                fs::read_to_string(folder.join("supervisor")).ok().and_then(|p| p.trim().parse::<i32>().ok());
            if let Some(pid) = pid.filter(|p| *p > 1) {
                tracing::warn!(sandbox = id, pid, "killing a supervisor that does not end by itself");
                // It holds the lock, so the number is still its own.
                // SAFETY: no memory is involved.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let groups = fs::read_to_string(folder.join("cgroups")).unwrap_or_default();
    let groups: Vec<PathBuf> =
        groups.lines().filter(|l| l.starts_with("/sys/fs/cgroup/")).map(PathBuf::from).collect();
    cgroup::remove(&groups).map_err(RunnerError::file("the sandbox's control group"))?;
    trash::discard(state_dir, &folder).map_err(RunnerError::file(&folder))?;
    Ok(true)
}

/// A supervisor holds its folder's lock for as long as it lives.
pub(crate) fn supervisor_lives(folder: &Path) -> bool {
    let Ok(lock) = fs::File::open(folder.join("lock")) else { return false };
    matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}

/// Removes what a killed supervisor of a host left.
pub(crate) fn sweep_host(state_dir: &Path, name: &str) -> Result<(), RunnerError> {
    let run = run_folder(state_dir, &host_sandbox_id(name));
    if supervisor_lives(&run) {
        return Ok(());
    }
    if run.exists() {
        sweep_one(state_dir, &host_sandbox_id(name))?;
    }
    let place = host_folder(state_dir, name);
    let described = place.join("host.json").exists();
    let young = fs::metadata(&place)
        .and_then(|m| m.modified())
        .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < STARTING));
    if place.exists() && (described || !young) {
        trash::discard(state_dir, &place).map_err(RunnerError::file(&place))?;
    }
    Ok(())
}
