//! Finds and removes what killed supervisors left below a state directory, of sandboxes and of hosts.
//!
//! Owns no state: a run folder whose lock is free has no supervisor, so whatever is in it may go. A sweep that is
//! killed itself is simply made again.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::supervisor::{draft_folder, run_folder};
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
        if id.starts_with('.') {
            sweep_draft(state_dir, &id)?;
        } else if sweep_one(state_dir, &id)? {
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
pub(crate) fn bury(state_dir: &Path, id: &str, supervisor_pid: u32) {
    tracing::warn!(sandbox = id, "its supervisor was killed; removing what it left");
    trash::discard(state_dir, &draft_folder(state_dir, id, supervisor_pid)).ok();
    if let Err(e) = sweep_one(state_dir, id).and_then(|_| trash::empty(state_dir).map_err(RunnerError::from))
    {
        tracing::error!(sandbox = id, error = %e, "what a killed supervisor left is removed at the next start");
    }
}

/// Whether anything was removed; a host whose supervisor lives stays.
///
/// Whoever removes a folder holds its lock meanwhile, as its supervisor did before: two sweeps do not meet, and none
/// meets the next sandbox of this name, whose folder comes into its place locked.
fn sweep_one(state_dir: &Path, id: &str) -> Result<bool, RunnerError> {
    let folder = run_folder(state_dir, id);
    let Some(_lock) = dead(state_dir, &folder, id)? else { return Ok(false) };
    // Its process's number may be another's from here on.
    fs::remove_file(folder.join("supervisor")).ok();
    let groups = fs::read_to_string(folder.join("cgroups")).unwrap_or_default();
    let groups: Vec<PathBuf> =
        groups.lines().filter(|l| l.starts_with("/sys/fs/cgroup/")).map(PathBuf::from).collect();
    cgroup::remove(&groups).map_err(RunnerError::file("the sandbox's control group"))?;
    trash::discard(state_dir, &folder).map_err(RunnerError::file(&folder))?;
    Ok(true)
}

/// The lock of a folder that nobody holds any more, once that is so; nothing where the folder is gone, or is a living
/// host's.
fn dead(state_dir: &Path, folder: &Path, id: &str) -> Result<Option<File>, RunnerError> {
    let deadline = Instant::now() + FAREWELL;
    let mut killed = false;
    loop {
        let path = folder.join("lock");
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                // Folders come into their place with a lock: only an older version's can be without.
                if folder.exists() && !is_young(folder) {
                    trash::discard(state_dir, folder).map_err(RunnerError::file(folder))?;
                }
                return Ok(None);
            }
            Err(e) => return Err(RunnerError::file(&path)(e)),
        };
        match lock.try_lock() {
            Ok(()) if is_at(&lock, &path) => return Ok(Some(lock)),
            // Another has removed it meanwhile.
            Ok(()) => continue,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(RunnerError::file(&path)(e)),
        }
        if folder.join("host").exists() && folder.join("supervisor").exists() {
            return Ok(None);
        }
        if Instant::now() > deadline && !killed {
            killed = true;
            kill_supervisor(folder, id);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn kill_supervisor(folder: &Path, id: &str) {
    let pid = fs::read_to_string(folder.join("supervisor")).ok().and_then(|p| p.trim().parse::<i32>().ok());
    if let Some(pid) = pid.filter(|p| *p > 1) {
        tracing::warn!(sandbox = id, pid, "killing a supervisor that does not end by itself");
        // It holds the lock, so the number is still its own.
        // SAFETY: no memory is involved.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// A folder that a supervisor was making when it was killed; or that one is making now.
fn sweep_draft(state_dir: &Path, name: &str) -> Result<(), RunnerError> {
    let folder = run_folder(state_dir, name);
    let maker = name.trim_start_matches('.').split('.').next().unwrap_or_default();
    if Path::new("/proc").join(maker).exists() && is_young(&folder) {
        return Ok(());
    }
    trash::discard(state_dir, &folder).map(drop).map_err(RunnerError::file(&folder))
}

fn is_young(folder: &Path) -> bool {
    let made = fs::metadata(folder).and_then(|m| m.modified());
    made.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < STARTING))
}

/// A supervisor holds its folder's lock for as long as it lives; so does who removes the folder, without its number.
pub(crate) fn supervisor_lives(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join("lock")) else { return false };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)) && folder.join("supervisor").exists()
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
    if place.exists() && (described || !is_young(&place)) {
        trash::discard(state_dir, &place).map_err(RunnerError::file(&place))?;
    }
    Ok(())
}
