//! Upkeep of a repository's packs: few files, and an index with bitmaps over them, so that a clone counts
//! almost nothing.
//!
//! **What.** Many packs and loose objects are rolled up into fewer, each at least twice as large as the next
//! (`git repack --geometric`); one index over all packs says which objects a commit reaches (a multi-pack index
//! with bitmaps), and one file holds the graph of commits. Nothing is ever left out of a pack: an object that
//! nothing refers to may belong to a push under way. Git removes a pack only after another that has all of it,
//! and the index that names that other, are on the disk.
//!
//! **When.** After a push that was kept as a pack, and now and then; [`due`] decides by what is on the disk. What
//! the index lacks must be a quarter of everything, so the whole work grows with the repository's size and not
//! with its pushes. One repository at a time.
//!
//! **State.** `upkeep.lock` in the repository: locked by the git that is at work and by the server that
//! started it, and holding that git's process group. Locks end with the last process that has them.
//! Pushes and clones take no part in it: git's own rules keep them right while packs change.
//!
//! **Crash.** Every step may be repeated. A git that outlived its server is ended by the next one before it
//! touches anything ([`end_orphan`]); what it left is removed by the next upkeep. Each node of several keeps its own
//! copy.
//!
//! Sources: <https://git-scm.com/docs/git-repack>, <https://git-scm.com/docs/git-multi-pack-index>,
//! <https://git-scm.com/docs/git-commit-graph>, <https://git-scm.com/docs/bitmap-format>.

use crate::error::Error;
use crate::git::{GitError, repository};
use crate::reconcile::blocking;
use crate::service::CodeCommitService;
use crate::store::{self, Repository};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use towpath_durable::Shutdown;

/// Packs in a repository before they are put together.
const MANY_PACKS: usize = 30;
/// Loose objects, estimated from one of 256 folders.
const MANY_LOOSE_IN_FOLDER: usize = 8;
/// Below this, counting costs next to nothing.
const MIN_FRESH_BYTES: u64 = 4 << 20;
/// The share of a repository that may be without bitmaps: one in so many.
const FRESH_SHARE: u64 = 4;
/// Repositories that wait. Where there are more, the look at all of them finds the rest.
const WAITING: usize = 256;
/// No push takes that long.
const OLD_QUARANTINE: Duration = Duration::from_secs(24 * 3600);
/// One step, for the largest repositories.
const MAX_STEP: Duration = Duration::from_secs(6 * 3600);
/// How long an orphan may take to end, before and after it is killed.
const ORPHAN_GRACE: Duration = Duration::from_secs(3);
const LOCK: &str = "upkeep.lock";

/// Who asks for upkeep, and who does it.
pub(crate) struct Upkeep {
    ask: mpsc::Sender<String>,
    asked: Mutex<Option<mpsc::Receiver<String>>>,
    turn: tokio::sync::Mutex<()>,
}

impl Upkeep {
    pub fn new() -> Upkeep {
        let (ask, asked) = mpsc::channel(WAITING);
        Upkeep { ask, asked: Mutex::new(Some(asked)), turn: tokio::sync::Mutex::new(()) }
    }

    /// A large push came in.
    pub fn ask(&self, repository_id: &str) {
        // Where the queue is full, the next look at all repositories finds this one.
        let _full = self.ask.try_send(repository_id.to_owned());
    }
}

/// What a repository's folder has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    packs: usize,
    loose_in_folder: usize,
    pack_bytes: u64,
    /// In packs that the index does not name.
    fresh_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// Only the index and the graph.
    Index,
    /// Fewer packs first.
    Repack,
}

fn due(found: Found) -> Due {
    if found.packs > MANY_PACKS || found.loose_in_folder > MANY_LOOSE_IN_FOLDER {
        return Due::Repack;
    }
    let many = found.fresh_bytes >= MIN_FRESH_BYTES.max(found.pack_bytes / FRESH_SHARE);
    if many { Due::Index } else { Due::Nothing }
}

/// Looks into `objects`; the name of the largest pack, too.
fn look(repository: &Path) -> io::Result<(Found, Option<String>)> {
    let folder = repository.join("objects/pack");
    let indexed = indexed(&folder.join("multi-pack-index"));
    let mut found = Found::default();
    let mut largest: Option<(u64, String)> = None;
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(base) = name.strip_suffix(".pack").filter(|base| base.starts_with("pack-")) else {
            continue;
        };
        // Git takes up a pack by its index, which comes last.
        if !folder.join(format!("{base}.idx")).exists() {
            continue;
        }
        let size_bytes = entry.metadata()?.len();
        found.packs += 1;
        found.pack_bytes += size_bytes;
        if !indexed.contains(&format!("{base}.idx")) {
            found.fresh_bytes += size_bytes;
        }
        if largest.as_ref().is_none_or(|(most, _)| size_bytes > *most) {
            largest = Some((size_bytes, name));
        }
    }
    found.loose_in_folder = match fs::read_dir(repository.join("objects/17")) {
        Ok(entries) => entries.count(),
        Err(_) => 0,
    };
    Ok((found, largest.map(|(_, name)| name)))
}

/// The packs that the index names; none where there is no index that can be read.
fn indexed(path: &Path) -> BTreeSet<String> {
    let Ok(index) = gix::odb::pack::multi_index::File::at(path, None) else { return BTreeSet::new() };
    index.index_names().iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

/// The right to change a repository's packs. Given up when the last process that has the file is gone.
struct Held(File);

impl Held {
    /// `None`: someone is at work.
    fn take(repository: &Path) -> io::Result<Option<Held>> {
        let path = repository.join(LOCK);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Held(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// For one child: the lock is its standard input, which keeps it locked.
    fn for_child(&self) -> io::Result<Stdio> {
        // Who was here before is gone; its number may be a stranger's by now.
        self.0.set_len(0)?;
        Ok(self.0.try_clone()?.into())
    }

    fn note(&self, group: Option<i32>) -> io::Result<()> {
        let mut file = &self.0;
        file.rewind()?;
        file.write_all(group.map_or_else(String::new, |group| group.to_string()).as_bytes())
    }
}

/// Ends the upkeep that outlived the last server, so that nobody holds git's own locks. Only for the start.
pub(crate) fn end_orphan(repository: &Path) -> Result<(), GitError> {
    let end = || -> io::Result<()> {
        if !repository.join(LOCK).exists() {
            return Ok(());
        }
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let until = Instant::now() + ORPHAN_GRACE;
            let mut told = false;
            loop {
                if Held::take(repository)?.is_some() {
                    return Ok(());
                }
                let mut text = String::new();
                File::open(repository.join(LOCK))?.read_to_string(&mut text)?;
                // While it holds the lock it lives, and the number is its own.
                if let (Ok(group @ 2..), false) = (text.parse::<i32>(), told) {
                    tracing::info!(group, repository = %repository.display(), "ending an upkeep of the last server");
                    told = killpg(Pid::from_raw(group), signal).is_ok();
                }
                if Instant::now() > until {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Err(io::Error::other("the upkeep of the last server does not end"))
    };
    end().map_err(GitError::io(format!("upkeep of {}", repository.display())))
}

/// Removes what an upkeep that was killed left: only who holds the lock may.
fn remove_leftovers(repository: &Path, _held: &Held) -> io::Result<usize> {
    let mut removed = 0;
    for folder in ["objects", "objects/pack", "objects/info"] {
        for entry in fs::read_dir(repository.join(folder))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let unfinished = match folder {
                "objects" => name.starts_with("bitmap-ref-tips_"),
                "objects/info" => name == "commit-graph.lock",
                // A pack on its way from another node is that other work's.
                _ => {
                    name == "multi-pack-index.lock"
                        || name.starts_with(".tmp-")
                        || (name.starts_with("tmp_") && !name.starts_with("tmp_shared_"))
                }
            };
            if unfinished && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

impl CodeCommitService {
    /// Until the shutdown: what pushes ask for.
    pub(crate) async fn tend_when_asked(&self, shutdown: Shutdown) {
        let asked = self.upkeep.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut asked) = asked else { return };
        loop {
            let id = tokio::select! {
                id = asked.recv() => id,
                () = shutdown.wait() => return,
            };
            let Some(id) = id else { return };
            match store::by_id(&self.store, &id).await {
                Ok(Some(repository)) => self.tend(&repository, &shutdown).await,
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, repository = id, "no upkeep"),
            }
        }
    }

    /// Does what is due. A shutdown ends it in its middle.
    pub(crate) async fn tend(&self, repository: &Repository, shutdown: &Shutdown) {
        let path = self.disk.path(&repository.id);
        if self.shared.is_some() && !path.exists() {
            return;
        }
        let work = async {
            let _turn = self.upkeep.turn.lock().await;
            self.do_due(path).await
        };
        tokio::select! {
            done = work => if let Err(error) = done {
                tracing::warn!(%error, repository = repository.name, "upkeep failed; it will be tried again");
            },
            () = shutdown.wait() => {}
        }
    }

    async fn do_due(&self, path: PathBuf) -> Result<(), Error> {
        let at = path.clone();
        let begin = move || -> io::Result<Option<(Due, Option<String>, Held)>> {
            repository::remove_quarantines(&at, OLD_QUARANTINE)?;
            let (found, largest) = look(&at)?;
            let due = due(found);
            if due == Due::Nothing {
                return Ok(None);
            }
            let Some(held) = Held::take(&at)? else { return Ok(None) };
            remove_leftovers(&at, &held)?;
            Ok(Some((due, largest, held)))
        };
        let begun =
            blocking(move || begin().map_err(GitError::io("looking at a repository's packs"))).await?;
        let Some((due, largest, held)) = begun else { return Ok(()) };
        if due == Due::Repack {
            let words =
                ["repack", "--geometric=2", "-d", "-n", "--write-midx", "--write-bitmap-index", "--quiet"];
            self.step(&path, &held, &words).await?;
            self.step(&path, &held, &["prune-packed", "--quiet"]).await?;
            // A copy's references are one file already, and only [`crate::shared`] writes it.
            if self.shared.is_none() {
                self.step(&path, &held, &["pack-refs", "--all"]).await?;
            }
        } else {
            // Whole stretches of this pack are sent as they are.
            let preferred = largest.map(|name| format!("--preferred-pack={name}"));
            let mut words = vec!["multi-pack-index", "write", "--bitmap", "--no-progress"];
            words.extend(preferred.as_deref());
            self.step(&path, &held, &words).await?;
        }
        self.step(&path, &held, &["commit-graph", "write", "--reachable", "--no-progress"]).await
    }

    /// One git command that holds the lock as long as it lives.
    async fn step(&self, path: &Path, held: &Held, arguments: &[&str]) -> Result<(), Error> {
        let mut words = vec![OsStr::new("--git-dir"), path.as_os_str()];
        words.extend(arguments.iter().map(OsStr::new));
        let stdin = held.for_child().map_err(GitError::io("upkeep's lock"))?;
        let mut running = self.git.start_on(self.git.command(&words), stdin).await?;
        held.note(running.group()).map_err(GitError::io("upkeep's lock"))?;
        drop(running.stdout());
        let command = arguments.join(" ");
        let finished = tokio::time::timeout(MAX_STEP, running.finish()).await;
        let slow = || GitError::TooSlow { command: command.clone(), limit_ms: MAX_STEP.as_millis() };
        let (status, stderr) = finished.map_err(|_| slow())??;
        match status.success() {
            true => Ok(()),
            false => Err(GitError::Failed { command, status, stderr }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::git::repository::Disk;
    use std::process::Command;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_due() {
        let found = |packs, pack_mib, fresh_mib| Found {
            packs,
            loose_in_folder: 0,
            pack_bytes: pack_mib * MIB,
            fresh_bytes: fresh_mib * MIB,
        };
        assert_eq!(due(Found::default()), Due::Nothing);
        assert_eq!(due(found(1, 3, 3)), Due::Nothing, "small");
        assert_eq!(due(found(1, 4, 4)), Due::Index, "the first large push");
        assert_eq!(due(found(2, 100, 24)), Due::Nothing, "most has its bitmaps");
        assert_eq!(due(found(9, 100, 25)), Due::Index);
        assert_eq!(due(found(30, 100, 1)), Due::Nothing);
        assert_eq!(due(found(31, 100, 1)), Due::Repack);
        assert_eq!(due(Found { loose_in_folder: 9, ..Found::default() }), Due::Repack);
    }

    #[test]
    fn an_upkeep_that_outlived_its_server_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = Disk::open(folder.path()).unwrap().create("id").unwrap();
        end_orphan(&path).unwrap();
        let held = Held::take(&path).unwrap().unwrap();
        assert!(Held::take(&path).unwrap().is_none(), "one at a time");
        let mut command = Command::new("sleep");
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.arg("600").stdin(held.for_child().unwrap()).spawn().unwrap();
        held.note(i32::try_from(child.id()).ok()).unwrap();
        drop((held, command));
        assert!(Held::take(&path).unwrap().is_none(), "the child still has it");
        end_orphan(&path).unwrap();
        assert!(!child.wait().unwrap().success());
        fs::write(path.join("objects/pack/multi-pack-index.lock"), "").unwrap();
        fs::write(path.join("objects/pack/.tmp-1-pack-x.pack"), "").unwrap();
        fs::write(path.join("objects/pack/tmp_idx_x"), "").unwrap();
        fs::write(path.join("objects/pack/tmp_shared_x.pack"), "").unwrap();
        fs::write(path.join("objects/info/commit-graph.lock"), "").unwrap();
        let held = Held::take(&path).unwrap().unwrap();
        assert_eq!(remove_leftovers(&path, &held).unwrap(), 4);
        assert_eq!(remove_leftovers(&path, &held).unwrap(), 0);
    }
}
