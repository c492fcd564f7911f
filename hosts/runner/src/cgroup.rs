//! A sandbox's control group: version 2 where the controllers are, version 1 beside it on hybrid machines.
//!
//! State: one folder per hierarchy, `…/towpath-HASH/ID`, beside (v2) or below (v1) the server's own group, so
//! that the limits set on the server by others keep holding on v1, and a v2 group without processes of its own
//! can hand controllers on. The folders' paths are also written to the sandbox's folder on disk, from which a
//! sweep removes what a killed supervisor left.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::spec::Limits;

const CPU_PERIOD_US: u64 = 100_000;
const REMOVAL: Duration = Duration::from_secs(5);

/// The control groups of one sandbox.
#[derive(Debug, Default)]
pub struct Cgroup {
    folders: Vec<PathBuf>,
    unified: Option<OwnedFd>,
    oom_events: Option<PathBuf>,
    /// Version 1 groups, each with this process's own in that hierarchy.
    entered: Vec<(PathBuf, PathBuf)>,
}

/// One mounted hierarchy, and this process's group in it.
#[derive(Debug, PartialEq)]
struct Hierarchy {
    version: Version,
    controllers: BTreeSet<String>,
    mount: PathBuf,
    own: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A limit to write: controller, file, value, by version.
struct Setting {
    controller: &'static str,
    one: Vec<(&'static str, String)>,
    two: Vec<(&'static str, String)>,
    what: &'static str,
    /// What stands in for it where there is no control group.
    otherwise: &'static str,
}

impl Cgroup {
    /// Makes groups for `limits`. What this machine does not allow is told in `weaknesses`.
    pub fn create(state_dir: &Path, id: &str, limits: &Limits, weaknesses: &mut Vec<String>) -> Cgroup {
        let mut cgroup = Cgroup::default();
        let hierarchies = find_hierarchies();
        let two = hierarchies.iter().find(|h| h.version == Version::Two);
        let mut wanted = settings(limits);
        if let Some(two) = two {
            let inside: Vec<Setting> = extract(&mut wanted, |s| two.controllers.contains(s.controller));
            match again(|| make_two(two, state_dir, id, &inside)) {
                Ok(folder) => {
                    cgroup.unified = fs::File::open(&folder).ok().map(Into::into);
                    if limits.memory_bytes.is_some() && two.controllers.contains("memory") {
                        cgroup.oom_events = Some(folder.join("memory.events"));
                    }
                    cgroup.folders.push(folder);
                }
                Err(_) => wanted.extend(inside),
            }
        }
        for one in hierarchies.iter().filter(|h| h.version == Version::One) {
            let inside: Vec<Setting> = extract(&mut wanted, |s| one.controllers.contains(s.controller));
            if inside.is_empty() {
                continue;
            }
            match again(|| make_one(one, state_dir, id, &inside)) {
                Ok(folder) => {
                    if one.controllers.contains("memory") {
                        cgroup.oom_events = Some(folder.join("memory.oom_control"));
                    }
                    cgroup.entered.push((folder.clone(), one.own.clone()));
                    cgroup.folders.push(folder);
                }
                Err(_) => wanted.extend(inside),
            }
        }
        for setting in wanted {
            weaknesses.push(format!(
                "{} ({}): this server may not make control groups with the {} controller",
                setting.what, setting.otherwise, setting.controller
            ));
        }
        cgroup
    }

    /// The group to clone init into, when there is a version 2 one.
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Runs `clone` as a member of the version 1 groups, so that the child is born in them.
    ///
    /// Moving the calling thread alone, by `tasks`, takes no machine-wide lock; moving another process, by
    /// `cgroup.procs`, waits for every processor (measured: up to 36 ms on a busy machine, against none).
    pub fn clone_within<T>(&self, clone: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        for (folder, _) in &self.entered {
            fs::write(folder.join("tasks"), "0")?;
        }
        let cloned = clone();
        for (_, own) in &self.entered {
            // This runs in the child, too, which stays: it is the first of its process namespace.
            if std::process::id() != 1 {
                fs::write(own.join("tasks"), "0")?;
            }
        }
        cloned
    }

    /// Moves init into the version 2 group, where it could not be cloned into it.
    pub fn join_unified(&self, pid: i32) -> io::Result<()> {
        match (&self.unified, self.folders.first()) {
            (Some(_), Some(folder)) => fs::write(folder.join("cgroup.procs"), pid.to_string()),
            _ => Ok(()),
        }
    }

    pub fn enforces_memory(&self) -> bool {
        self.oom_events.is_some()
    }

    pub fn enforces_pids(&self) -> bool {
        self.folders.iter().any(|f| f.join("pids.max").exists())
    }

    /// How many processes of the sandbox the memory limit has killed.
    pub fn oom_kills(&self) -> u64 {
        let text =
            self.oom_events.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let count = text.lines().find_map(|l| l.strip_prefix("oom_kill "));
        count.and_then(|c| c.trim().parse().ok()).unwrap_or(0)
    }

    /// Paths for the record that a sweep reads.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Kills what is left in the groups and removes them.
    pub fn remove(self) -> io::Result<()> {
        remove(&self.folders)
    }
}

/// Kills all processes of these groups and removes them. Paths that are gone are fine.
pub fn remove(folders: &[PathBuf]) -> io::Result<()> {
    let deadline = Instant::now() + REMOVAL;
    for folder in folders {
        remove_one(folder, deadline)?;
        // The shared group above, when this was its last; another sandbox may be making its own just now.
        folder.parent().map(fs::remove_dir);
    }
    Ok(())
}

fn remove_one(folder: &Path, deadline: Instant) -> io::Result<()> {
    let mut pause = Duration::from_micros(200);
    loop {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if Instant::now() > deadline => return Err(e),
            Err(_) => {
                kill_all(folder);
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
        }
    }
}

fn kill_all(folder: &Path) {
    if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|p| *p > 1) {
        // SAFETY: no memory is involved.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

fn settings(limits: &Limits) -> Vec<Setting> {
    let pids = limits.pids.unwrap_or(Limits::DEFAULT_PIDS).to_string();
    let mut settings = vec![Setting {
        controller: "pids",
        one: vec![("pids.max", pids.clone())],
        two: vec![("pids.max", pids)],
        what: "the process limit",
        otherwise: "held by a resource limit",
    }];
    if let Some(bytes) = limits.memory_bytes {
        let bytes = bytes.to_string();
        settings.push(Setting {
            controller: "memory",
            one: vec![
                ("memory.limit_in_bytes", bytes.clone()),
                ("?memory.memsw.limit_in_bytes", bytes.clone()),
            ],
            two: vec![("memory.max", bytes), ("?memory.swap.max", "0".into())],
            what: "the memory limit",
            otherwise: "watched, not enforced: page cache is not counted, and a quick process may pass it briefly",
        });
    }
    if let Some(cpus) = limits.cpus {
        let quota_us = ((cpus * CPU_PERIOD_US as f64) as u64).max(1_000);
        settings.push(Setting {
            controller: "cpu",
            one: vec![
                ("cpu.cfs_period_us", CPU_PERIOD_US.to_string()),
                ("cpu.cfs_quota_us", quota_us.to_string()),
            ],
            two: vec![("cpu.max", format!("{quota_us} {CPU_PERIOD_US}"))],
            what: "the CPU limit",
            otherwise: "not held at all",
        });
    }
    settings
}

fn extract(from: &mut Vec<Setting>, wanted: impl Fn(&Setting) -> bool) -> Vec<Setting> {
    let (taken, left) = std::mem::take(from).into_iter().partition(|s| wanted(s));
    *from = left;
    taken
}

fn group_name(state_dir: &Path) -> String {
    let mut hash = DefaultHasher::new();
    state_dir.hash(&mut hash);
    format!("towpath-{:08x}", hash.finish() as u32)
}

fn make_two(hierarchy: &Hierarchy, state_dir: &Path, id: &str, settings: &[Setting]) -> io::Result<PathBuf> {
    // The root group may hold processes and still hand controllers on; any other may not, so go beside it.
    let base = if hierarchy.own == hierarchy.mount {
        &hierarchy.own
    } else {
        hierarchy.own.parent().unwrap_or(&hierarchy.own)
    };
    let shared = base.join(group_name(state_dir));
    create(&shared)?;
    for setting in settings {
        for folder in [base, shared.as_path()] {
            let file = folder.join("cgroup.subtree_control");
            let on = fs::read_to_string(&file)?.split_whitespace().any(|c| c == setting.controller);
            if !on {
                fs::write(file, format!("+{}", setting.controller))?;
            }
        }
    }
    let folder = shared.join(id);
    create(&folder)?;
    apply(&folder, settings.iter().flat_map(|s| &s.two)).inspect_err(|_| drop(fs::remove_dir(&folder)))?;
    Ok(folder)
}

fn make_one(hierarchy: &Hierarchy, state_dir: &Path, id: &str, settings: &[Setting]) -> io::Result<PathBuf> {
    let shared = hierarchy.own.join(group_name(state_dir));
    let folder = shared.join(id);
    create(&shared)?;
    create(&folder)?;
    apply(&folder, settings.iter().flat_map(|s| &s.one)).inspect_err(|_| drop(fs::remove_dir(&folder)))?;
    Ok(folder)
}

/// The shared group may vanish while it is being used, with the last sandbox of another server's.
fn again(mut make: impl FnMut() -> io::Result<PathBuf>) -> io::Result<PathBuf> {
    for _ in 0..20 {
        match make() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    make()
}

fn create(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Writes the values; a file with a question mark may be missing (no swap accounting).
fn apply<'a>(folder: &Path, values: impl Iterator<Item = &'a (&'static str, String)>) -> io::Result<()> {
    for (file, value) in values {
        let (file, optional) = file.strip_prefix('?').map_or((*file, false), |f| (f, true));
        match fs::write(folder.join(file), value) {
            Err(_) if optional => {}
            other => other?,
        }
    }
    Ok(())
}

fn find_hierarchies() -> Vec<Hierarchy> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut found = parse(&mounts, &own);
    for hierarchy in found.iter_mut().filter(|h| h.version == Version::Two) {
        let listed = fs::read_to_string(hierarchy.own.join("cgroup.controllers")).unwrap_or_default();
        hierarchy.controllers = listed.split_whitespace().map(str::to_owned).collect();
    }
    found
}

fn parse(mounts: &str, own: &str) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (left, right): (Vec<&str>, Vec<&str>) = (left.split(' ').collect(), right.split(' ').collect());
        let (Some(root), Some(mount), Some(kind)) = (left.get(3), left.get(4), right.first()) else {
            continue;
        };
        let options: BTreeSet<String> =
            right.get(2).map(|o| o.split(',').map(str::to_owned).collect()).unwrap_or_default();
        let version = match *kind {
            "cgroup2" => Version::Two,
            "cgroup" => Version::One,
            _ => continue,
        };
        let path = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let same = match version {
                Version::Two => controllers.is_empty(),
                Version::One => {
                    !controllers.is_empty() && controllers.split(',').all(|c| options.contains(c))
                }
            };
            same.then_some(path)
        });
        let Some(path) = path else { continue };
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        let mount = PathBuf::from(mount);
        let own = mount.join(below.strip_prefix("/").unwrap_or(below));
        let own = if below.as_os_str().is_empty() { mount.clone() } else { own };
        found.push(Hierarchy { version, controllers: options, mount, own });
    }
    found
}

/// Kept so that an open group is closed before its removal.
impl Drop for Cgroup {
    fn drop(&mut self) {
        self.unified.take();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn hybrid_and_unified_tables_are_read() {
        let mounts = "30 20 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                      31 20 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      32 20 0:28 / /proc rw - proc proc rw\n";
        let own = "4:memory:/a/b\n1:cpu:/\n0::/\n";
        let found = parse(mounts, own);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].own, Path::new("/sys/fs/cgroup/memory/a/b"));
        assert_eq!(found[1].own, found[1].mount);
        let nested = parse("31 20 0:27 /pod /sys/fs/cgroup rw - cgroup2 c rw\n", "0::/pod/x\n");
        assert_eq!(nested[0].own, Path::new("/sys/fs/cgroup/x"));
    }

    #[test]
    fn limits_become_values_of_both_versions() {
        let limits = Limits { memory_bytes: Some(64 << 20), cpus: Some(1.5), ..Limits::default() };
        let settings = settings(&limits);
        assert_eq!(settings.len(), 3);
        assert_eq!(settings[2].two[0].1, "150000 100000");
        assert_eq!(settings[0].one[0].1, "16384");
    }
}
