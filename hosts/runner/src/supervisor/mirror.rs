//! The root without root: the host's system folders, bound read-only into a tmpfs; the rest is empty folders
//! of the sandbox's own on disk.
//!
//! An unprivileged user namespace has one user, so there is nobody that could own a changed system file:
//! nothing is installed inside such a sandbox. HOME, `/tmp`, `/var/tmp`, `/run` and binds are writable;
//! toolchains are copy-on-write.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::view::{WRITABLE, Workshop};
use crate::layer;
use crate::messages::{Failure, Step};
use crate::places::NewRoot;
use crate::sys::{self, Depth};

pub const REMEDY: &str = "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
                          user.max_user_namespaces above 0, kernel.apparmor_restrict_unprivileged_userns=0), or \
                          run the server as root";

/// Makes this process root of a user namespace of its own, which may mount.
pub fn own_namespaces() -> Result<(), Failure> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(|e| Failure {
        step: "make namespaces".into(),
        detail: e.to_string(),
        remedy: Some(REMEDY.into()),
    })?;
    let step = || "map users".into();
    fs::write("/proc/self/setgroups", "deny").step(step)?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).step(step)?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).step(step)
}

/// Builds the root and returns it.
pub fn build(shop: &Workshop<'_>, weaknesses: &mut Vec<String>) -> Result<NewRoot, Failure> {
    weaknesses.push(
        "without root the system folders are read-only: nothing can be installed into them, and no other user \
         exists inside"
            .into(),
    );
    if nix::unistd::getgroups().is_ok_and(|groups| groups.iter().any(|g| *g != nix::unistd::getegid())) {
        weaknesses.push("without root the server's supplementary groups cannot be dropped inside".into());
    }
    let step = || "put the root together".into();
    let (path, _) = shop.bench_place().step(step)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &path, Some("tmpfs"), flags, Some("mode=755,size=64m")).step(step)?;
    let root = NewRoot::expandable(sys::open_place(&path).step(step)?);
    for folder in layer::shown_folders() {
        show(&root, &folder).step(|| format!("show {}", folder.display()))?;
    }
    for (folder, mode) in layer::empty_folders() {
        hide(shop, &root, &folder, mode).step(|| format!("make {}", folder.display()))?;
    }
    for folder in layer::hidden_folders(&shop.plan.state_dir) {
        root.tmpfs(&folder, "755", "4k", flags | MsFlags::MS_RDONLY)
            .step(|| format!("hide {}", folder.display()))?;
    }
    writable(shop, &root, &shop.plan.home).step(|| "make HOME".into())?;
    Ok(root)
}

fn show(root: &NewRoot, folder: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(folder)?;
    if metadata.is_symlink() {
        return root.symlink(folder, &fs::read_link(folder)?.to_string_lossy());
    }
    let copy = sys::clone_mount(None, folder, Depth::Recursive)?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    sys::set_mount(copy.as_fd(), attributes, None, Depth::Recursive)?;
    sys::attach_mount(copy.as_fd(), root.folder(folder)?.as_fd())
}

fn hide(shop: &Workshop<'_>, root: &NewRoot, folder: &Path, mode: u32) -> io::Result<()> {
    if WRITABLE.iter().any(|w| folder == Path::new(w)) {
        return writable(shop, root, folder);
    }
    if WRITABLE.iter().any(|w| folder.starts_with(w)) {
        return root.folder(folder).map(drop);
    }
    let below_shown = layer::shown_folders().iter().any(|shown| folder.starts_with(shown));
    match (below_shown, root.find(folder)?.is_some()) {
        // Packages' own folders matter to those who can install.
        (true, true) if folder.starts_with("/var/cache") || folder.starts_with("/var/lib") => Ok(()),
        (true, true) => {
            let (flags, mode) = (MsFlags::MS_NOSUID | MsFlags::MS_NODEV, format!("{mode:o}"));
            root.tmpfs(folder, &mode, "16m", flags)
        }
        (true, false) => Ok(()),
        (false, _) => root.folder(folder).map(drop),
    }
}

/// A folder of the sandbox's own on disk.
fn writable(shop: &Workshop<'_>, root: &NewRoot, folder: &Path) -> io::Result<()> {
    let name = format!("own{}", folder.display().to_string().replace('/', "-"));
    let disk: PathBuf = shop.disk_folder(&name, None)?;
    let mode = if folder.ends_with("tmp") { 0o1777 } else { 0o755 };
    fs::set_permissions(&disk, fs::Permissions::from_mode(mode))?;
    let copy = sys::clone_mount(None, &disk, Depth::Recursive)?;
    sys::set_mount(copy.as_fd(), libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV, None, Depth::Recursive)?;
    sys::attach_mount(copy.as_fd(), root.folder(folder)?.as_fd())
}
