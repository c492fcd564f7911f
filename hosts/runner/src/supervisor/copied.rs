//! The root's root: a copy-on-write view of the host's, in two overlays.
//!
//! The lower one is mounted by a process without any right to override permissions, over an id-mapped copy of
//! the host's root: so the kernel itself answers EACCES for every host file that is not readable by anybody,
//! whoever asks inside. The upper one adds the hiding layer ([`crate::layer`]) and the writable folder.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::view::{Workshop, overlay};
use crate::layer;
use crate::messages::{Failure, Step};
use crate::places::NewRoot;
use crate::spec::Mode;
use crate::sys;

/// CAP_SYS_ADMIN: all that mounting needs.
const MOUNTING: u64 = 1 << 21;

/// Builds the root and returns it.
pub fn build(shop: &Workshop<'_>, weaknesses: &mut Vec<String>) -> Result<NewRoot, Failure> {
    // Without it the host would show: never go on.
    let layer_path = shop.plan.layer.clone().filter(|path| path.is_dir());
    let layer_path = layer_path.ok_or("it is not there").step(|| "find the hiding layer".into())?;
    let root_place = shop.bench_place().step(|| "make the root's place".into())?;
    mount_view(shop, Path::new("/"), &layer_path, &root_place.1)?;
    let root = sys::open_place(&root_place.0).step(|| "open the root".into())?;
    let root = NewRoot::new(root, shop.owner);
    for path in layer::visible_mounts(&shop.plan.state_dir) {
        let place = root.find(&path).step(|| format!("find {}", path.display()))?;
        let Some(place) = place else { continue };
        let below = layer_path.join(path.strip_prefix("/").unwrap_or(&path));
        if let Err(failure) = mount_view(shop, &path, &below, &place) {
            weaknesses.push(format!("{} is empty inside: {}", path.display(), failure.detail));
        }
    }
    Ok(root)
}

/// Shows the host's mount at `source` at `target`.
fn mount_view(shop: &Workshop<'_>, source: &Path, layer: &Path, target: &OwnedFd) -> Result<(), Failure> {
    let step = || format!("show the host's {} copy-on-write", source.display());
    let host = shop.host_mount(source, true).map_err(|e| Failure {
        step: step(),
        detail: e.to_string(),
        remedy: Some(
            "the root must be on a file system that can be id-mapped (ext4, xfs, btrfs, …; not overlayfs, as in \
             most containers) and the kernel 5.19 or newer; else run the server as an ordinary user"
                .into(),
        ),
    })?;
    let host = place_mount(shop, &host).step(step)?;
    let (_, empty) = shop.bench_place().step(step)?;
    let (guarded_path, guarded) = shop.bench_place().step(step)?;
    with_capabilities(MOUNTING, || overlay(&[&empty, &host], None, Mode::Root, &guarded)).step(step)?;
    let guarded = sys::open_place(&guarded_path).step(step)?;
    let name = if source == Path::new("/") { "root".to_owned() } else { mount_name(source) };
    let upper = shop.disk_folder(&format!("{name}/upper"), Some(source)).step(step)?;
    let work = shop.disk_folder(&format!("{name}/work"), None).step(step)?;
    let (upper, work) = (sys::open_place(&upper).step(step)?, sys::open_place(&work).step(step)?);
    let hiding = if fs::symlink_metadata(layer).is_ok_and(|m| m.is_dir()) {
        Some(place_mount(shop, &shop.host_mount(layer, true).step(step)?).step(step)?)
    } else {
        None
    };
    let lower: Vec<&OwnedFd> = hiding.iter().chain([&guarded]).collect();
    overlay(&lower, Some((&upper, &work)), Mode::Root, target).step(step)
}

fn mount_name(source: &Path) -> String {
    format!("mount{}", source.display().to_string().replace('/', "-"))
}

/// Puts a detached mount on the bench and opens it there (older kernels take only attached ones as layers).
fn place_mount(shop: &Workshop<'_>, mount: &OwnedFd) -> std::io::Result<OwnedFd> {
    let (path, place): (PathBuf, OwnedFd) = shop.bench_place()?;
    sys::attach_mount(mount.as_fd(), place.as_fd())?;
    sys::open_place(&path)
}

/// Runs `work` with only these effective capabilities.
fn with_capabilities<T>(effective: u64, work: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let mut before = [0u32; 6];
    // SAFETY: header and data have the layout of capget(2), version 3.
    sys::check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, before.as_mut_ptr()) })?;
    let mut during = before;
    (during[0], during[3]) = (effective as u32, (effective >> 32) as u32);
    // SAFETY: as above.
    sys::check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, during.as_ptr()) })?;
    let result = work();
    // SAFETY: as above.
    sys::check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, before.as_ptr()) })?;
    result
}
