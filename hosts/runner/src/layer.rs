//! The hiding layer: what a sandbox must not see of the host's root, made once and laid over it.
//!
//! It is an overlay layer on disk: a whiteout or an opaque folder hides what the host has there, at no cost
//! per sandbox. Only the system folders of [`SHOWN`] show through `/`; every other name is hidden, so a new
//! folder of the host is hidden by default. What only root may read is not the layer's concern: the guarded
//! overlay below it refuses that. The layer holds the few such files that installing packages needs, empty.
//!
//! State: `STATE_DIR/layers/HASH`, named by its content's recipe, never changed once it has its name (running
//! sandboxes mount it), made under another name first.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::{c_path, check};

/// System folders that show through, copy-on-write.
const SHOWN: &[&str] = &["bin", "etc", "lib", "lib32", "lib64", "libx32", "opt", "sbin", "usr", "var"];

/// Empty folders of the inside's own, with their modes.
const EMPTY: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("run/lock", 0o1777),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var/backups", 0o755),
    ("var/cache/apt/archives/partial", 0o755),
    ("var/cache/ldconfig", 0o755),
    ("var/crash", 0o755),
    ("var/lib/apt/lists/partial", 0o755),
    ("var/log", 0o755),
    ("var/log/apt", 0o755),
    ("var/mail", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
    ("var/www", 0o755),
];

/// Other engines' data: hidden where the host has it.
const HIDDEN: &[&str] = &[
    "var/lib/containerd",
    "var/lib/containers",
    "var/lib/docker",
    "var/lib/kubelet",
    "var/lib/lxc",
    "var/lib/machines",
    "var/lib/rancher",
];

/// Locks that packages' tools open, readable by root alone on the host.
const LOCKS: &[&str] = &[
    "etc/.pwd.lock",
    "var/cache/apt/archives/lock",
    "var/cache/debconf/passwords.dat",
    "var/lib/apt/lists/lock",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock",
];

const VERSION: u32 = 1;

/// Whether a host path is shown inside without being given.
pub fn is_shown(path: &Path, state_dir: &Path) -> bool {
    let Ok(path) = path.strip_prefix("/") else { return false };
    let shown = path.components().next().is_some_and(|first| SHOWN.iter().any(|s| first.as_os_str() == *s));
    let emptied =
        EMPTY.iter().map(|(folder, _)| *folder).chain(HIDDEN.iter().copied()).any(|f| path.starts_with(f));
    shown && !emptied && !Path::new("/").join(path).starts_with(state_dir)
}

/// System folders of this host that show through.
pub fn shown_folders() -> Vec<PathBuf> {
    SHOWN
        .iter()
        .map(|name| Path::new("/").join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .collect()
}

/// Folders that are the inside's own, with their modes; parents first.
pub fn empty_folders() -> impl Iterator<Item = (PathBuf, u32)> {
    EMPTY.iter().map(|(folder, mode)| (Path::new("/").join(folder), *mode))
}

/// Folders of this host that would show but must not.
pub fn hidden_folders(state_dir: &Path) -> Vec<PathBuf> {
    let engines = HIDDEN.iter().map(|folder| Path::new("/").join(folder)).filter(|path| path.is_dir());
    let own = is_shown(state_dir, Path::new("/nonexistent")).then(|| state_dir.to_owned());
    engines.chain(own).collect()
}

/// The layer for this host as it is now, made unless it is there. It depends on what the host's root holds, so
/// ask again for each sandbox.
pub fn make(state_dir: &Path) -> io::Result<PathBuf> {
    let mut hash = DefaultHasher::new();
    (VERSION, state_dir, host_names()?, fs::read("/etc/passwd")?, fs::read("/etc/group")?).hash(&mut hash);
    hidden_folders(state_dir).hash(&mut hash);
    let path = state_dir.join("layers").join(format!("{:016x}", hash.finish()));
    if path.exists() {
        return Ok(path);
    }
    // Several sandboxes may find it missing at the same moment: each makes a draft, the first one counts.
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft =
        path.with_extension(format!("{}.{}.{number}.draft", std::process::id(), crate::sys::now_ms()));
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&draft)?;
    fill(&draft, state_dir)?;
    match fs::rename(&draft, &path) {
        Err(_) if path.exists() => fs::remove_dir_all(&draft)?,
        other => other?,
    }
    Ok(path)
}

/// Host mounts of disk file systems below a shown folder: each needs a view of its own. Parents first.
pub fn visible_mounts(state_dir: &Path) -> Vec<PathBuf> {
    const DISKS: &[&str] =
        &["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "erofs", "squashfs"];
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return Vec::new() };
    let mut mounts = BTreeSet::new();
    for line in table.lines() {
        let (Some(path), Some(kind)) =
            (line.split(' ').nth(4), line.split(" - ").nth(1).and_then(|rest| rest.split(' ').next()))
        else {
            continue;
        };
        let path = PathBuf::from(path.replace("\\040", " "));
        if DISKS.contains(&kind) && is_shown(&path, state_dir) {
            mounts.insert(path);
        }
    }
    mounts.into_iter().collect()
}

fn host_names() -> io::Result<BTreeSet<String>> {
    fs::read_dir("/")?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn fill(draft: &Path, state_dir: &Path) -> io::Result<()> {
    for name in host_names()? {
        let known = SHOWN.contains(&name.as_str()) || EMPTY.iter().any(|(folder, _)| *folder == name);
        if !known {
            whiteout(&draft.join(name))?;
        }
    }
    for (folder, mode) in EMPTY {
        hide_folder(draft, Path::new(folder), *mode)?;
    }
    for folder in HIDDEN.iter().filter(|f| Path::new("/").join(f).exists()) {
        hide_folder(draft, Path::new(folder), 0o755)?;
    }
    if is_shown(state_dir, Path::new("/nonexistent")) {
        let relative = state_dir.strip_prefix("/").unwrap_or(state_dir);
        hide_folder(draft, relative, 0o755)?;
    }
    for lock in LOCKS.iter().filter(|l| Path::new("/").join(l).exists()) {
        write(draft, lock, "", 0o600)?;
    }
    accounts(draft)
}

/// Accounts without passwords, in place of the host's: tools that add users need the files.
fn accounts(draft: &Path) -> io::Result<()> {
    let names = |file: &str| -> io::Result<Vec<String>> {
        let text = fs::read_to_string(file)?;
        Ok(text
            .lines()
            .filter_map(|l| l.split(':').next())
            .filter(|n| !n.is_empty())
            .map(str::to_owned)
            .collect())
    };
    let shadow: String =
        names("/etc/passwd")?.iter().map(|n| format!("{n}:*:19000:0:99999:7:::\n")).collect();
    let gshadow: String = names("/etc/group")?.iter().map(|n| format!("{n}:*::\n")).collect();
    for (path, text) in [("etc/shadow", &shadow), ("etc/shadow-", &shadow)] {
        write(draft, path, text, 0o640)?;
    }
    for (path, text) in [("etc/gshadow", &gshadow), ("etc/gshadow-", &gshadow)] {
        write(draft, path, text, 0o640)?;
    }
    Ok(())
}

fn write(draft: &Path, path: &str, text: &str, mode: u32) -> io::Result<()> {
    let path = Path::new(path);
    parents(draft, path)?;
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(draft.join(path))?;
    io::Write::write_all(&mut file, text.as_bytes())
}

fn hide_folder(draft: &Path, folder: &Path, mode: u32) -> io::Result<()> {
    parents(draft, folder)?;
    let path = draft.join(folder);
    fs::DirBuilder::new().recursive(true).create(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    let (path, name) = (c_path(&path)?, c"trusted.overlay.opaque");
    // SAFETY: strings and value outlive the call.
    check(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), c"y".as_ptr().cast(), 1, 0) }.into())?;
    Ok(())
}

/// The folders above `path`, with the host's modes and owners: the topmost layer's are the ones seen.
fn parents(draft: &Path, path: &Path) -> io::Result<()> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).collect();
    above.reverse();
    for folder in above {
        let made = draft.join(folder);
        if made.exists() {
            continue;
        }
        fs::create_dir(&made)?;
        if let Ok(host) = fs::metadata(Path::new("/").join(folder)) {
            std::os::unix::fs::chown(&made, Some(host.uid()), Some(host.gid()))?;
            fs::set_permissions(&made, fs::Permissions::from_mode(host.mode() & 0o7777))?;
        }
    }
    Ok(())
}

fn whiteout(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: the path outlives the call.
    check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR, 0) }.into())?;
    Ok(())
}
