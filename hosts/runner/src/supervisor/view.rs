//! What both kinds of root share: the workshop where mounts are put together, binds, copy-on-write folders,
//! and the few files that are written anew for each sandbox.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use crate::messages::{Failure, Plan, Step};
use crate::places::NewRoot;
use crate::spec::{Access, Bind, BindSource, Mode};
use crate::sys::{self, Depth, fd_path};

const NONE: Option<&str> = None;
/// Folders inside that are the sandbox's own where the rest of the root is the host's.
pub const WRITABLE: &[&str] = &["/tmp", "/var/tmp", "/run"];
const SAFE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// Where a sandbox's mounts and files are put together: a tmpfs in the supervisor's own mount namespace (so
/// that no mountpoint lies in a folder that is ever deleted), and the sandbox's folder on disk.
pub struct Workshop<'a> {
    pub plan: &'a Plan,
    /// The tmpfs.
    pub bench: PathBuf,
    /// The sandbox's folder on disk.
    pub disk: PathBuf,
    /// The inside's user namespace, whose mapping host files are shown by. Only as root.
    pub idmap: Option<OwnedFd>,
    /// The host's number for the inside's root.
    pub owner: u32,
    next: std::cell::Cell<u32>,
}

impl<'a> Workshop<'a> {
    pub fn new(plan: &'a Plan, disk: PathBuf, idmap: Option<OwnedFd>, owner: u32) -> Result<Self, Failure> {
        let bench = plan.state_dir.join("bench");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), &bench, Some("tmpfs"), flags, Some("mode=755,size=1m"))
            .step(|| format!("mount a tmpfs on {}", bench.display()))?;
        Ok(Workshop { plan, bench, disk, idmap, owner, next: std::cell::Cell::new(0) })
    }

    /// A new folder on the bench, to mount on.
    pub fn bench_place(&self) -> io::Result<(PathBuf, OwnedFd)> {
        let number = self.next.get();
        self.next.set(number + 1);
        let path = self.bench.join(number.to_string());
        fs::create_dir(&path)?;
        let fd = sys::open_place(&path)?;
        Ok((path, fd))
    }

    /// A new folder on disk with the mode of `like`, owned by the inside's root.
    pub fn disk_folder(&self, name: &str, like: Option<&Path>) -> io::Result<PathBuf> {
        let path = self.disk.join(name);
        fs::DirBuilder::new().mode(0o755).recursive(true).create(&path)?;
        let mode = like.map_or(Ok(0o755), |l| fs::metadata(l).map(|m| m.mode() & 0o1777))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o700))?;
        std::os::unix::fs::chown(&path, Some(self.owner), Some(self.owner))?;
        Ok(path)
    }

    /// A copy of a host mount, shown by the inside's id mapping where there is one.
    pub fn host_mount(&self, source: &Path, read_only: bool) -> io::Result<OwnedFd> {
        // Without root, mounts below are locked to the ones above.
        let depth = if self.idmap.is_some() { Depth::One } else { Depth::Recursive };
        let copy = sys::clone_mount(None, source, depth)?;
        let attributes = if read_only { SAFE | libc::MOUNT_ATTR_RDONLY } else { SAFE };
        sys::set_mount(copy.as_fd(), attributes, self.idmap.as_ref().map(AsFd::as_fd), depth)?;
        Ok(copy)
    }

    /// A copy-on-write view of `source`, mounted at `target`.
    pub fn copy_on_write(&self, source: &Path, target: &OwnedFd) -> io::Result<()> {
        let (_, lower) = self.bench_place()?;
        sys::attach_mount(self.host_mount(source, true)?.as_fd(), lower.as_fd())?;
        // The path again, for a descriptor of what is now mounted there.
        let number = self.next.get() - 1;
        let lower = sys::open_place(&self.bench.join(number.to_string()))?;
        let upper = sys::open_place(&self.disk_folder(&format!("cow/{number}/upper"), Some(source))?)?;
        let work = sys::open_place(&self.disk_folder(&format!("cow/{number}/work"), None)?)?;
        overlay(&[&lower], Some((&upper, &work)), self.plan.mode, target)
    }

    pub fn bind(&self, root: &NewRoot, bind: &Bind) -> Result<(), Failure> {
        let step = || format!("show {:?} at {}", bind.source, bind.target.display());
        let source = match &bind.source {
            BindSource::Path(path) => path.clone(),
            BindSource::CurrentExecutable => match own_executable().step(step)? {
                Some(path) => path,
                None => return copy_own_executable(root, &bind.target).step(step),
            },
        };
        let is_folder = fs::metadata(&source).step(step)?.is_dir();
        let target =
            if is_folder { root.folder(&bind.target) } else { root.file(&bind.target) }.step(step)?;
        match (bind.access, is_folder) {
            (Access::CopyOnWrite, true) => self.copy_on_write(&source, &target).step(step),
            (Access::CopyOnWrite, false) => {
                let (content, mode) =
                    fs::read(&source).and_then(|c| Ok((c, fs::metadata(&source)?.mode()))).step(step)?;
                root.write(&bind.target, &content, mode & 0o777).step(step)
            }
            (access, _) => {
                let mount = self.host_mount(&source, access == Access::ReadOnly).step(step)?;
                sys::attach_mount(mount.as_fd(), target.as_fd()).step(step)
            }
        }
    }

    /// Toolchains, extra folders, binds, devices, and this sandbox's own files in `/etc`.
    pub fn furnish(&self, root: &NewRoot, weaknesses: &mut Vec<String>) -> Result<(), Failure> {
        let home = root.folder(&self.plan.home).step(|| "make HOME".into())?;
        drop(home);
        for folder in &self.plan.folders {
            let step = || format!("give {}", folder.display());
            let target = root.folder(folder).step(step)?;
            if let Err(e) = self.copy_on_write(folder, &target) {
                let copy = self.host_mount(folder, true).step(step)?;
                sys::attach_mount(copy.as_fd(), target.as_fd()).step(step)?;
                weaknesses.push(format!("{} is read-only, not copy-on-write: {e}", folder.display()));
            }
        }
        for bind in self.plan.files.iter().chain(&self.plan.spec.binds) {
            self.bind(root, bind)?;
        }
        let shared_memory =
            self.plan.spec.limits.memory_bytes.map_or("50%".to_owned(), |bytes| bytes.to_string());
        root.devices(&shared_memory).step(|| "make /dev".into())
    }

    /// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, by name and content.
    pub fn write_own_files(&self, root: &NewRoot, resolvers: &[std::net::IpAddr]) -> Result<(), Failure> {
        for (path, content) in self.own_files(resolvers) {
            let at = Path::new(path);
            match self.plan.mode {
                Mode::Root => root.write(at, content.as_bytes(), 0o644),
                Mode::Rootless => replace_file(self, root, at, &content),
            }
            .step(|| format!("write {path}"))?;
        }
        Ok(())
    }

    fn own_files(&self, resolvers: &[std::net::IpAddr]) -> Vec<(&'static str, String)> {
        let name = &self.plan.spec.hostname;
        let hosts = format!("127.0.0.1\tlocalhost {name}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        let mut resolv = String::new();
        for resolver in resolvers {
            resolv.push_str(&format!("nameserver {resolver}\n"));
        }
        if !self.plan.search_domains.is_empty() {
            resolv.push_str(&format!("search {}\n", self.plan.search_domains.join(" ")));
        }
        vec![("/etc/hosts", hosts), ("/etc/hostname", format!("{name}\n")), ("/etc/resolv.conf", resolv)]
    }
}

/// Mounts an overlay at `target`. Layers are named by descriptor, so no path needs escaping.
pub fn overlay(
    lower: &[&OwnedFd],
    upper_and_work: Option<(&OwnedFd, &OwnedFd)>,
    mode: Mode,
    target: &OwnedFd,
) -> io::Result<()> {
    let lower: Vec<String> = lower.iter().map(fd_path).collect();
    let mut options = format!("lowerdir={}", lower.join(":"));
    if let Some((upper, work)) = upper_and_work {
        // Nothing of it outlives the sandbox, so nothing of it needs to reach the disk.
        options.push_str(&format!(",upperdir={},workdir={},volatile", fd_path(upper), fd_path(work)));
    }
    if mode == Mode::Rootless {
        options.push_str(",userxattr");
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("overlay"), fd_path(target).as_str(), Some("overlay"), flags, Some(options.as_str()))?;
    Ok(())
}

/// Keeps mounts of this process from spreading to the host, and the host's from spreading here.
pub fn private_mounts() -> Result<(), Failure> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).step(|| "make mounts private".into())
}

/// This process's executable by its path, if that still leads to it: the link in `/proc` itself leads into the
/// mount namespace that this process was started in, from where nothing can be bound.
fn own_executable() -> io::Result<Option<PathBuf>> {
    let (path, own) = (fs::read_link("/proc/self/exe")?, fs::metadata("/proc/self/exe")?);
    let same = fs::metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino()));
    Ok(same.then_some(path))
}

/// For an executable that was replaced on disk since it started.
fn copy_own_executable(root: &NewRoot, target: &Path) -> io::Result<()> {
    root.write(target, &fs::read("/proc/self/exe")?, 0o755)
}

/// Puts a file of the sandbox's own over one of the host's.
fn replace_file(shop: &Workshop<'_>, root: &NewRoot, path: &Path, content: &str) -> io::Result<()> {
    // The host's may be a link into /run, which is the sandbox's own and empty.
    let real = match fs::read_link(path) {
        Ok(target) => path.parent().unwrap_or(Path::new("/")).join(target),
        Err(_) => path.to_owned(),
    };
    let real = normalise(&real);
    if WRITABLE.iter().any(|w| real.starts_with(w)) {
        return root.write(&real, content.as_bytes(), 0o644);
    }
    let name = path.display().to_string().replace('/', "-");
    let disk = shop.disk.join(format!("file{name}"));
    fs::write(&disk, content)?;
    let copy = sys::clone_mount(None, &disk, Depth::Recursive)?;
    sys::attach_mount(copy.as_fd(), root.file(path)?.as_fd())
}

/// Takes `..` and `.` out, by text.
fn normalise(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(plain.pop()),
            std::path::Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}
