//! Bare repositories on disk, by repository id (never by name, so a rename moves nothing and no name
//! reaches the file system).
//!
//! State: `repositories/ID.git` per repository; `trash/` for what waits to be removed.
//! Crash: a folder is complete and on the disk before its document is committed, so a folder without a
//! document is a creation that was never acknowledged, or a deletion that was: the sweep removes it.
//! Layout: <https://git-scm.com/docs/gitrepository-layout>.

use super::GitError;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use towpath_api::id;

/// References that one repository may have when they are read at once.
const MAX_REFERENCES: usize = 1_000_000;
/// Depth of a reference's name: bounds the search for stale locks.
const MAX_DEPTH: usize = 64;

/// Attributes that a pushed tree could use to change what an export contains are switched off: an
/// artifact holds the bytes that were committed. This file outranks every `.gitattributes`.
const ATTRIBUTES: &str = "* -export-ignore -export-subst -text -ident -filter -working-tree-encoding\n";

/// Where repositories live.
#[derive(Clone, Debug)]
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    /// `root` is made when it is missing.
    pub fn open(root: &Path) -> Result<Disk, GitError> {
        for folder in ["repositories", "pushes", "trash"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(GitError::io(path.display().to_string()))?;
        }
        Ok(Disk { root: root.to_owned() })
    }

    pub fn path(&self, repository_id: &str) -> PathBuf {
        self.root.join("repositories").join(format!("{repository_id}.git"))
    }

    /// Makes an empty repository, whole and on the disk when it returns.
    pub fn create(&self, repository_id: &str) -> Result<PathBuf, GitError> {
        self.create_at(self.path(repository_id))
    }

    fn create_at(&self, path: PathBuf) -> Result<PathBuf, GitError> {
        let make = || -> io::Result<()> {
            fs::create_dir(&path)?;
            for folder in
                ["objects", "objects/info", "objects/pack", "refs", "refs/heads", "refs/tags", "info"]
            {
                fs::create_dir(path.join(folder))?;
            }
            write_synced(&path.join("HEAD"), "ref: refs/heads/main\n")?;
            write_synced(
                &path.join("config"),
                "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n",
            )?;
            write_synced(&path.join("info/attributes"), ATTRIBUTES)?;
            for folder in ["objects", "refs", "info", ""] {
                File::open(path.join(folder))?.sync_all()?;
            }
            File::open(self.root.join("repositories"))?.sync_all()
        };
        match make() {
            Ok(()) => Ok(path),
            Err(error) => {
                // Half of one is of no use, but takes room, on a disk that may be full. What was there before
                // stays.
                if error.kind() != io::ErrorKind::AlreadyExists {
                    fs::remove_dir_all(&path).ok();
                }
                Err(GitError::io(format!("creating {}", path.display()))(error))
            }
        }
    }

    /// Makes a repository for one push over a repository that is only read: its objects and a list of
    /// references, but no memory of what is pushed.
    pub fn create_over(
        &self,
        repository_id: &str,
        name: &str,
        references: &BTreeMap<String, String>,
    ) -> Result<PathBuf, GitError> {
        let below = self.path(repository_id);
        let path = self.create_at(self.root.join("pushes").join(name))?;
        let fill = || -> io::Result<()> {
            fs::copy(below.join("HEAD"), path.join("HEAD"))?;
            let objects = below.join("objects");
            fs::write(path.join("objects/info/alternates"), format!("{}\n", objects.display()))
        };
        let filled = fill().map_err(GitError::io(format!("filling {}", path.display())));
        if let Err(error) = filled.and_then(|()| set_references(&path, references)) {
            fs::remove_dir_all(&path).ok();
            return Err(error);
        }
        Ok(path)
    }

    /// Removes what pushes left that were under way when the server died.
    pub fn forget_pushes(&self) -> Result<(), GitError> {
        let pushes = self.root.join("pushes");
        let empty = || -> io::Result<()> {
            for entry in fs::read_dir(&pushes)? {
                fs::remove_dir_all(entry?.path())?;
            }
            Ok(())
        };
        empty().map_err(GitError::io(format!("emptying {}", pushes.display())))
    }

    /// Takes a repository out of sight at once; its files go later, with [`Disk::empty_trash`].
    pub fn discard(&self, repository_id: &str) -> Result<(), GitError> {
        let (from, to) = (self.path(repository_id), self.root.join("trash").join(id::uuid()));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(GitError::io(format!("removing {}", from.display()))),
        }
    }

    pub fn empty_trash(&self) -> Result<(), GitError> {
        let trash = self.root.join("trash");
        let empty = || -> io::Result<()> {
            for entry in fs::read_dir(&trash)? {
                fs::remove_dir_all(entry?.path())?;
            }
            Ok(())
        };
        empty().map_err(GitError::io(format!("emptying {}", trash.display())))
    }

    /// The ids of all folders.
    pub fn list(&self) -> Result<Vec<String>, GitError> {
        let folder = self.root.join("repositories");
        let read = || -> io::Result<Vec<String>> {
            let names =
                fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let names = names.collect::<io::Result<Vec<String>>>()?;
            Ok(names.iter().filter_map(|name| name.strip_suffix(".git")).map(str::to_owned).collect())
        };
        read().map_err(GitError::io(format!("listing {}", folder.display())))
    }
}

fn write_synced(path: &Path, content: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

/// Makes these all of a repository's references, in one step. Only for a repository whose references
/// nobody else moves: there are no loose ones beside them.
/// Format: <https://git-scm.com/docs/git-pack-refs>.
pub fn set_references(repository: &Path, references: &BTreeMap<String, String>) -> Result<(), GitError> {
    let mut content = String::from("# pack-refs with: sorted \n");
    for (name, target) in references {
        content.push_str(&format!("{target} {name}\n"));
    }
    replace_file(repository, "packed-refs", &content)
}

/// Writes a file of a repository whole or not at all.
pub fn replace_file(repository: &Path, name: &str, content: &str) -> Result<(), GitError> {
    let temporary = repository.join(format!("{name}.tmp"));
    let replace = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, repository.join(name))?;
        File::open(repository)?.sync_all()
    };
    replace().map_err(GitError::io(format!("writing {name} of {}", repository.display())))
}

/// Points `HEAD` at the default branch: what a clone checks out.
pub fn set_head(repository: &Path, branch: &str) -> Result<(), GitError> {
    let content = format!("ref: refs/heads/{branch}\n");
    let head = repository.join("HEAD");
    let set = || -> io::Result<()> {
        if fs::read_to_string(&head)? == content {
            return Ok(());
        }
        let temporary = repository.join("HEAD.new");
        let mut file = File::create(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &head)?;
        File::open(repository)?.sync_all()
    };
    set().map_err(GitError::io(format!("setting {}", head.display())))
}

/// Removes what a git that was killed, or a machine that lost its power, left behind: lock files,
/// quarantines, and references without content, which were never acknowledged. Only for the start, when
/// no git of ours runs.
pub fn remove_stale(repository: &Path) -> Result<usize, GitError> {
    let sweep = || -> io::Result<usize> {
        let mut removed = 0;
        for name in ["HEAD.lock", "packed-refs.lock", "config.lock", "packed-refs.new", "shallow.lock"] {
            removed += usize::from(fs::remove_file(repository.join(name)).is_ok());
        }
        for folder in reference_folders(repository)? {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let is_lock = entry.file_name().to_string_lossy().ends_with(".lock");
                let metadata = entry.metadata()?;
                if metadata.is_file() && (is_lock || metadata.len() == 0) {
                    fs::remove_file(entry.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed + remove_quarantines(repository, Duration::ZERO)?)
    };
    sweep().map_err(GitError::io(format!("looking for stale files in {}", repository.display())))
}

/// Flushes the folders of these references: git flushes a reference's content, and not the name that it then gives
/// it. Of a reference whose folders are gone, what is left of them.
pub fn sync_references(repository: &Path, names: &BTreeSet<String>) -> Result<(), GitError> {
    let mut folders = BTreeSet::from([repository.to_owned(), repository.join("objects/pack")]);
    for name in names {
        folders.extend(Path::new(name).ancestors().skip(1).map(|folder| repository.join(folder)));
    }
    let sync = |folder: &PathBuf| match File::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        opened => opened?.sync_all(),
    };
    let flushed = folders.iter().try_for_each(sync);
    flushed.map_err(GitError::io(format!("flushing references of {}", repository.display())))
}

/// Flushes the folders of references, so that what was removed from them stays removed.
pub fn sync_reference_folders(repository: &Path) -> Result<(), GitError> {
    let sync = || reference_folders(repository)?.iter().try_for_each(|folder| File::open(folder)?.sync_all());
    sync().map_err(GitError::io(format!("flushing references of {}", repository.display())))
}

/// `refs` and every folder below it.
fn reference_folders(repository: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![(repository.join("refs"), 0usize)];
    while let Some((folder, depth)) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && depth < MAX_DEPTH {
                open.push((entry.path(), depth + 1));
            }
        }
        found.push(folder);
    }
    Ok(found)
}

/// Removes what pushes that never finished left in quarantine, when it is older than `age`.
pub fn remove_quarantines(repository: &Path, age: Duration) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(repository.join("objects"))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("tmp_objdir-") && !name.starts_with("incoming-") {
            continue;
        }
        if entry.metadata()?.modified()?.elapsed().unwrap_or_default() >= age {
            fs::remove_dir_all(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The references on the disk, or those of them that are named: full name to object id. Symbolic
/// references are not among them.
pub fn references(
    repository: &Path,
    only: Option<&BTreeSet<String>>,
) -> Result<BTreeMap<String, String>, GitError> {
    let repo = open(repository)?;
    let mut found = BTreeMap::new();
    let mut add = |reference: gix::Reference| {
        let name = std::str::from_utf8(reference.name().as_bstr());
        if let (Ok(name), Some(id)) = (name, reference.try_id()) {
            found.insert(name.to_owned(), id.to_string());
        }
        found.len() <= MAX_REFERENCES
    };
    if let Some(names) = only {
        for name in names {
            if let Some(reference) = repo.try_find_reference(name.as_str()).map_err(GitError::unreadable)? {
                add(reference);
            }
        }
        return Ok(found);
    }
    let platform = repo.references().map_err(GitError::unreadable)?;
    for reference in platform.all().map_err(GitError::unreadable)? {
        if !add(reference.map_err(GitError::unreadable)?) {
            return Err(GitError::Unreadable(format!("more than {MAX_REFERENCES} references")));
        }
    }
    Ok(found)
}

/// Opens for reading, without a look at the environment or at other configuration.
pub fn open(repository: &Path) -> Result<gix::Repository, GitError> {
    let options = gix::open::Options::isolated().open_path_as_is(true).with(gix::sec::Trust::Full);
    gix::open_opts(repository, options).map_err(GitError::unreadable)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn git_takes_what_is_created_here_for_a_repository() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        let path = disk.create("id").unwrap();
        assert!(disk.create("id").is_err(), "an id is used once");
        let out = std::process::Command::new("git")
            .arg("--git-dir")
            .arg(&path)
            .args(["fsck", "--strict"])
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        assert!(references(&path, None).unwrap().is_empty());
        set_head(&path, "trunk").unwrap();
        assert_eq!(fs::read_to_string(path.join("HEAD")).unwrap(), "ref: refs/heads/trunk\n");
        assert_eq!(disk.list().unwrap(), ["id"]);
        disk.discard("id").unwrap();
        disk.discard("id").unwrap();
        disk.empty_trash().unwrap();
        assert!(disk.list().unwrap().is_empty());
    }

    #[test]
    fn what_a_killed_git_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = Disk::open(folder.path()).unwrap().create("id").unwrap();
        fs::create_dir(path.join("refs/heads/a")).unwrap();
        fs::create_dir(path.join("objects/tmp_objdir-incoming-x")).unwrap();
        fs::write(path.join("refs/heads/a/b.lock"), "").unwrap();
        fs::write(path.join("refs/heads/lost"), "").unwrap();
        fs::write(path.join("packed-refs.lock"), "").unwrap();
        assert_eq!(remove_stale(&path).unwrap(), 4);
        assert_eq!(remove_stale(&path).unwrap(), 0);
    }

    #[test]
    fn what_could_not_be_made_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        let left = |name: &str| fs::read_dir(folder.path().join(name)).unwrap().count();
        // There is nothing below it that it could be filled from.
        assert!(disk.create_over("absent", "push", &BTreeMap::new()).is_err());
        assert_eq!(left("pushes"), 0);
        let path = disk.create("one").unwrap();
        assert!(disk.create("one").is_err());
        assert!(path.join("HEAD").is_file(), "the one that was there stays");
        disk.create_over("one", "push", &BTreeMap::new()).unwrap();
        assert_eq!(left("pushes"), 1);
        // The last step of making one fails as a disk might.
        fs::rename(folder.path().join("repositories"), folder.path().join("elsewhere")).unwrap();
        assert!(disk.create_over("one", "another", &BTreeMap::new()).is_err());
        assert_eq!(left("pushes"), 1);
    }
}
