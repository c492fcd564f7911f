//! The disk limit: what a sandbox has written, in its own layers and in its writable binds together.
//!
//! No file system is asked for quotas, for neither the ones below overlays nor the ones that a user without
//! root has can be relied on to have them. Instead the free space of the file systems is looked at many times
//! a second, which costs nothing; when so much of it has gone that this sandbox could be over its limit, its
//! files are added up: allocated blocks, each file at least [`MIN_FILE_BYTES`], and the files that are open but
//! have no name any more. What is found too late is bounded by what is written in one such round. Files that
//! are only mapped into memory, with neither name nor descriptor, are not seen.
//!
//! Folders are opened one below the other, never by path, and no link is followed: whatever is renamed in the
//! meantime, nothing else is entered.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use super::memory::descendants;
use crate::OVER_DISK;
use crate::sys;

const INTERVAL: Duration = Duration::from_millis(50);
/// Between two counts, where nothing hints at growth.
const QUIET: Duration = Duration::from_secs(10);
/// A count may take a fifth of one processor at most, however many files there are.
const COST_SHARE: u32 = 4;
/// Less than this gone is no reason to count.
const MIN_STEP_BYTES: u64 = 1 << 20;
/// An empty file costs, too: an inode, a name.
const MIN_FILE_BYTES: u64 = 4096;
/// Paths that tools can name end long before. Each level costs one descriptor.
const MAX_DEPTH: usize = 256;

/// Where a sandbox writes, and how much it may.
pub struct Watch {
    pub places: Vec<PathBuf>,
    pub limit_bytes: u64,
    pub init_pid: i32,
}

/// Why a count ended early.
enum Excess {
    Bytes,
    Depth,
}

impl Watch {
    /// Returns why the sandbox must end, once it must. For a thread of its own.
    pub fn run(self) -> String {
        let (mut used, mut free, mut cost) = (0, self.free_bytes(), Duration::ZERO);
        let mut counted = Instant::now();
        loop {
            std::thread::sleep(INTERVAL);
            let gone = free.saturating_sub(self.free_bytes());
            let left = self.limit_bytes.saturating_sub(used);
            let grown = gone >= (left / 2).max(MIN_STEP_BYTES.min(self.limit_bytes));
            let since = counted.elapsed();
            if since < cost * COST_SHARE || !(grown || since >= QUIET) {
                continue;
            }
            let began = Instant::now();
            free = self.free_bytes();
            match self.count() {
                Ok(bytes) => used = bytes,
                Err(Excess::Bytes) => return format!("{OVER_DISK} of {} bytes", self.limit_bytes),
                Err(Excess::Depth) => {
                    return format!("{OVER_DISK}: its folders are nested deeper than {MAX_DEPTH} levels");
                }
            }
            (counted, cost) = (Instant::now(), began.elapsed());
        }
    }

    /// Of all file systems that are written to, each once.
    fn free_bytes(&self) -> u64 {
        let mut seen = HashSet::new();
        let stats = self.places.iter().filter_map(|place| {
            let device = fs::metadata(place).ok()?.dev();
            let stat = seen.insert(device).then(|| statfs(place).ok())??;
            Some(stat.blocks_free().saturating_mul(stat.block_size() as u64))
        });
        stats.sum()
    }

    fn count(&self) -> Result<u64, Excess> {
        let mut tally = Tally { limit_bytes: self.limit_bytes, bytes: 0, seen: HashSet::new() };
        for place in &self.places {
            if let Ok(folder) = open_place(place) {
                tally.folder(&folder, 0)?;
            }
        }
        for pid in std::iter::once(self.init_pid).chain(descendants(self.init_pid)) {
            tally.nameless(pid)?;
        }
        Ok(tally.bytes)
    }
}

struct Tally {
    limit_bytes: u64,
    bytes: u64,
    /// Files of several names, or of several descriptors.
    seen: HashSet<(u64, u64)>,
}

impl Tally {
    fn add(&mut self, found: &fs::Metadata) -> Result<(), Excess> {
        if !found.is_dir() && found.nlink() != 1 && !self.seen.insert((found.dev(), found.ino())) {
            return Ok(());
        }
        self.bytes += (found.blocks() * 512).max(MIN_FILE_BYTES);
        if self.bytes > self.limit_bytes { Err(Excess::Bytes) } else { Ok(()) }
    }

    /// What vanishes while it is counted no longer counts.
    fn folder(&mut self, folder: &OwnedFd, depth: usize) -> Result<(), Excess> {
        if depth > MAX_DEPTH {
            return Err(Excess::Depth);
        }
        let Ok(entries) = fs::read_dir(sys::fd_path(folder)) else { return Ok(()) };
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else { continue };
            self.add(&found)?;
            if found.is_dir() {
                let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
                let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS;
                let name = entry.file_name();
                if let Ok(below) = sys::open_at(folder.as_fd(), Path::new(&name), flags, 0, resolve) {
                    self.folder(&below, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// Files that a process holds open and that have no name left.
    fn nameless(&mut self, pid: i32) -> Result<(), Excess> {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Ok(()) };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(found) = fs::metadata(&path) else { continue };
            if !found.is_file() || found.nlink() != 0 {
                continue;
            }
            // Memory files count as memory.
            if statfs(&path).is_ok_and(|system| system.filesystem_type() != TMPFS_MAGIC) {
                self.add(&found)?;
            }
        }
        Ok(())
    }
}

fn open_place(path: &Path) -> io::Result<OwnedFd> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    Ok(fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?.into())
}
