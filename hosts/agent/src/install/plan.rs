//! What an install is to do, found out without changing anything.

use super::paths::{Ways, look};
use super::tracked::Tracked;
use crate::appspec::{Ace, AppSpec, FileExists, FileMapping};
use crate::work_error::WorkError;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use towpath_archive::{ArchiveError, Follow, FoundKind, Limits, Root};

const LIMITS: Limits = Limits {
    max_entries: 100_000,
    max_bytes: u64::MAX,
    max_ratio: u64::MAX,
    max_path_bytes: 4095,
    max_depth: 128,
};

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// From the bundle's top.
    File { path: PathBuf, mode: u32 },
    /// Copied as a link.
    Symlink { target: PathBuf },
}

/// Rights that the AppSpec asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rights {
    pub mode: Option<u32>,
    pub owner: Option<(String, u32)>,
    pub group: Option<(String, u32)>,
    pub acls: Vec<Ace>,
}

#[derive(Debug)]
pub struct Plan {
    pub archive: Root,
    archive_path: PathBuf,
    /// Made by this install or an earlier one; parents first.
    pub folders: Vec<PathBuf>,
    folder_set: HashSet<PathBuf>,
    pub files: BTreeMap<PathBuf, Source>,
    pub rights: HashMap<PathBuf, Rights>,
}

fn failed(error: ArchiveError) -> WorkError {
    WorkError::new(format!("The deployment failed because a source cannot be used: {error}"))
}

/// The state of a planning.
struct Planning<'a> {
    plan: Plan,
    tracked: &'a Tracked,
    behavior: FileExists,
    agent_root: &'a Path,
    ways: Ways,
    /// Tracked places where something of another kind comes; what was beneath them is gone then.
    replaced: HashSet<PathBuf>,
    conflicts: Vec<PathBuf>,
}

impl Plan {
    pub fn make(
        agent_root: &Path,
        archive: &Path,
        appspec: &AppSpec,
        behavior: FileExists,
        tracked: &Tracked,
    ) -> Result<Plan, WorkError> {
        let plan = Plan {
            archive: Root::open(archive).map_err(failed)?,
            archive_path: archive.to_owned(),
            folders: Vec::new(),
            folder_set: HashSet::new(),
            files: BTreeMap::new(),
            rights: HashMap::new(),
        };
        let mut planning = Planning {
            plan,
            tracked,
            behavior,
            agent_root,
            ways: Ways::default(),
            replaced: HashSet::new(),
            conflicts: Vec::new(),
        };
        for mapping in &appspec.files {
            planning.mapping(mapping)?;
        }
        if let Some(first) = planning.conflicts.first() {
            let more = match planning.conflicts.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            return Err(WorkError::new(format!(
                "The deployment failed because a specified file already exists at this location: {}{more}",
                first.display()
            )));
        }
        Ok(planning.plan)
    }

    pub fn makes_folder(&self, path: &Path) -> bool {
        self.folder_set.contains(path)
    }

    /// Everything of ours, in the order in which it is made.
    pub fn made(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().map(PathBuf::as_path).chain(self.files.keys().map(PathBuf::as_path))
    }

    /// As AWS's agent records an install.
    pub fn instructions(&self) -> Value {
        let mut list = Vec::new();
        for folder in &self.folders {
            list.push(json!({ "type": "mkdir", "directory": folder.to_string_lossy() }));
        }
        for (destination, source) in &self.files {
            let source = match source {
                Source::File { path, .. } => self.archive_path.join(path),
                Source::Symlink { target } => target.clone(),
            };
            let (source, destination) = (source.to_string_lossy(), destination.to_string_lossy());
            list.push(json!({ "type": "copy", "source": source, "destination": destination }));
        }
        let mut with_rights: Vec<_> = self.rights.iter().collect();
        with_rights.sort_by_key(|(path, _)| path.as_path());
        for (path, rights) in with_rights {
            let file = path.to_string_lossy();
            if let Some(mode) = rights.mode {
                list.push(json!({ "type": "chmod", "mode": format!("{mode:03o}"), "file": file }));
            }
            if !rights.acls.is_empty() {
                let acl: Vec<String> = rights.acls.iter().map(Ace::to_string).collect();
                list.push(json!({ "type": "setfacl", "acl": acl, "file": file }));
            }
            if rights.owner.is_some() || rights.group.is_some() {
                let name = |who: &Option<(String, u32)>| who.as_ref().map(|(name, _)| name.clone());
                let (owner, group) = (name(&rights.owner), name(&rights.group));
                list.push(json!({ "type": "chown", "owner": owner, "group": group, "file": file }));
            }
        }
        json!({ "instructions": list })
    }
}

impl Planning<'_> {
    fn mapping(&mut self, mapping: &FileMapping) -> Result<(), WorkError> {
        let source = Path::new(&mapping.source);
        let destination = Path::new(&mapping.destination);
        if let Ok(folder) = self.plan.archive.open_root(source, Follow::Beneath) {
            self.folder(destination)?;
            for found in folder.walk(Path::new(""), &LIMITS).map_err(failed)? {
                let place = destination.join(&found.path);
                match found.kind {
                    FoundKind::Folder { .. } => self.folder(&place)?,
                    FoundKind::File { mode, .. } => {
                        let path = source.join(&found.path);
                        self.file(place, Source::File { path, mode })?;
                    }
                    FoundKind::Symlink { target } => self.file(place, Source::Symlink { target })?,
                    FoundKind::Other => {
                        return Err(WorkError::new(format!(
                            "The deployment failed because {} in the revision is no file, folder or symlink",
                            source.join(&found.path).display()
                        )));
                    }
                }
            }
            return Ok(());
        }
        let file = self.plan.archive.open_file(source, Follow::Beneath).map_err(|error| {
            if error.is_refusal() {
                return failed(error);
            }
            WorkError::new(format!(
                "The deployment failed because the revision has no {} (files entry at line {} of the AppSpec file)",
                mapping.source, mapping.line
            ))
        })?;
        use std::os::unix::fs::PermissionsExt;
        let mode = file.metadata()?.permissions().mode() & 0o777;
        let name = source.file_name().unwrap_or_default();
        self.file(destination.join(name), Source::File { path: source.to_owned(), mode })
    }

    /// Refuses places that are the agent's own, and names that its records cannot hold.
    fn check(&mut self, path: &Path) -> Result<(), WorkError> {
        if path.as_os_str().as_bytes().iter().any(u8::is_ascii_control) {
            return Err(WorkError::new(format!(
                "The deployment failed because the name {path:?} contains a line break or another control character"
            )));
        }
        if path.starts_with(self.agent_root) {
            return Err(WorkError::new(format!(
                "The deployment failed because {} lies in the agent's own folder {}",
                path.display(),
                self.agent_root.display()
            )));
        }
        self.ways.check(path)
    }

    /// What will be there when the tracked things that give way are gone.
    fn found(&self, path: &Path) -> Result<Option<std::fs::Metadata>, WorkError> {
        if path.ancestors().any(|above| self.replaced.contains(above)) {
            return Ok(None);
        }
        look(path)
    }

    fn folder(&mut self, path: &Path) -> Result<(), WorkError> {
        if self.plan.folder_set.contains(path) {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|parent| *parent != path) {
            self.folder(parent)?;
        }
        self.check(path)?;
        if self.plan.files.contains_key(path) {
            return Err(WorkError::new(format!(
                "The deployment failed because the application specification file calls for both a file and a folder at {}",
                path.display()
            )));
        }
        let found = self.found(path)?;
        let tracked = self.tracked.has(path);
        match found {
            None => {}
            Some(found) if found.is_dir() && !tracked => return Ok(()),
            Some(found) if found.is_dir() => {}
            Some(_) if tracked => {
                self.replaced.insert(path.to_owned());
            }
            Some(found) if found.is_symlink() && path.is_dir() => return Ok(()),
            Some(_) => {
                return Err(WorkError::new(format!(
                    "The deployment failed because a folder is to be made where there is a file: {}",
                    path.display()
                )));
            }
        }
        self.plan.folder_set.insert(path.to_owned());
        self.plan.folders.push(path.to_owned());
        Ok(())
    }

    fn file(&mut self, path: PathBuf, source: Source) -> Result<(), WorkError> {
        if let Some(parent) = path.parent() {
            self.folder(parent)?;
        }
        self.check(&path)?;
        if self.plan.files.contains_key(&path) || self.plan.folder_set.contains(&path) {
            return Err(WorkError::new(format!(
                "The deployment failed because the application specification file specifies two source files for the same destination ({}). Remove one of the source file paths from the AppSpec file, and then try again.",
                path.display()
            )));
        }
        match self.found(&path)? {
            None => {}
            Some(found) if self.tracked.has(&path) && found.is_dir() => {
                self.replaced.insert(path.clone());
            }
            Some(_) if self.tracked.has(&path) => {}
            Some(found) => match self.behavior {
                FileExists::Retain => return Ok(()),
                FileExists::Disallow => {
                    self.conflicts.push(path);
                    return Ok(());
                }
                FileExists::Overwrite if found.is_dir() => {
                    return Err(WorkError::new(format!(
                        "The deployment failed because a file is to be written where there is a folder: {}",
                        path.display()
                    )));
                }
                FileExists::Overwrite => {}
            },
        }
        self.plan.files.insert(path, source);
        Ok(())
    }
}
