//! Repositories of several nodes: the truth is what the nodes share, and a node's disk is a cache of it.
//!
//! **State.** Beside the documents of [`crate::store`], one document per repository ([`Packs`]) names the
//! packs that hold its objects, files of the object store, and counts the moves of its references: its
//! generation. Each node has a bare repository that follows ([`cache`]): before anything is read, its
//! generation is compared with the document's. A file in it says how far it has come.
//!
//! **A push** is taken in by git in a folder of its own that borrows the cache's objects, so the cache never
//! holds a reference that is not recorded. What is new becomes one pack of the object store; then references,
//! events and the new list of packs are one transaction ([`publish`]). Where another node recorded a move of
//! the same reference first, git's client is told, and nothing is left.
//!
//! **Invariants.** Every recorded reference is complete in the listed packs. The generation only grows. No
//! reference is ever recorded because of what a disk has, or lacks.
//!
//! **Crash.** Before the transaction nothing happened; the pack that nobody lists is removed after a day
//! ([`keep`]). After it everything is shared, and the node's own disk is not needed.

mod cache;
mod keep;
mod publish;

use crate::error::Error;
use crate::git::GitError;
use crate::reconcile::{Scope, blocking};
use crate::service::CodeCommitService;
use crate::store::Repository;
use cache::Snapshot;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use towpath_api::{Timestamp, id};
use towpath_store::blobs::{Blobs, FileName, Files};
use towpath_store::{Document, StoreError};

/// Repositories that wait for their packs to be put together.
const WAITING: usize = 256;

/// One pack in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    pub id: String,
    pub size_bytes: u64,
    pub sha256: String,
    /// The packs that this one was made of: a node that has them needs it not.
    #[serde(default)]
    pub covers: BTreeSet<String>,
}

/// A pack that is no longer listed, and since when: another node may still be reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    pub id: String,
    pub at: Timestamp,
}

/// What a repository's objects are kept in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packs {
    pub repository_id: String,
    /// Grows with every move of a reference.
    pub generation: u64,
    /// In the order in which they were made: a pack needs none that comes after it.
    pub packs: Vec<Pack>,
    #[serde(default)]
    pub retired: Vec<Retired>,
    /// Set when the repository was deleted.
    pub deleted_at: Option<Timestamp>,
    /// When files were last looked for that nobody lists. Writing it down makes a writer that was frozen
    /// since before then see that the list changed.
    pub swept_at: Option<Timestamp>,
}

impl Packs {
    pub fn new(repository_id: &str) -> Packs {
        Packs {
            repository_id: repository_id.to_owned(),
            generation: 1,
            packs: Vec::new(),
            retired: Vec::new(),
            deleted_at: None,
            swept_at: None,
        }
    }
}

impl Document for Packs {
    const KIND: &'static str = "codecommit/packs";

    fn key(&self) -> String {
        self.repository_id.clone()
    }
}

/// What the nodes share, and this node's order in reading it.
pub struct Shared {
    files: Files,
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    crowded: mpsc::Sender<String>,
    to_keep: Mutex<Option<mpsc::Receiver<String>>>,
}

impl Shared {
    pub fn new(blobs: &Blobs) -> Result<Shared, Error> {
        let (crowded, to_keep) = mpsc::channel(WAITING);
        Ok(Shared {
            files: blobs.files(name("codecommit".to_owned())?),
            locks: Mutex::default(),
            crowded,
            to_keep: Mutex::new(Some(to_keep)),
        })
    }

    /// One at a time brings a repository's cache forward.
    fn lock(&self, repository_id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        locks.entry(repository_id.to_owned()).or_default().clone()
    }
}

fn name(text: String) -> Result<FileName, Error> {
    Ok(FileName::try_from(text).map_err(GitError::unreadable)?)
}

fn pack_name(repository_id: &str, pack_id: &str) -> Result<FileName, Error> {
    name(format!("{repository_id}/{pack_id}.pack"))
}

/// Where git may take a push in.
pub(crate) struct Entry {
    path: PathBuf,
    apart: Option<Apart>,
}

/// A push's own repository, and what was recorded when it was made.
struct Apart {
    snapshot: Snapshot,
    folder: Folder,
}

/// Removed with everything in it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "what a push left could not be removed");
        }
    }
}

impl Entry {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the folder goes when the push is over.
    pub fn is_apart(&self) -> bool {
        self.apart.is_some()
    }
}

/// References that could not be recorded, with the reason; empty when all were.
pub(crate) type Overtaken = BTreeMap<String, String>;

impl CodeCommitService {
    /// A repository's folder with everything that is recorded now.
    pub(crate) async fn ready(&self, repository: &Repository) -> Result<PathBuf, Error> {
        if let Some(shared) = &self.shared {
            self.follow(shared, repository).await?;
        }
        Ok(self.disk.path(&repository.id))
    }

    /// Opens the door for a push.
    pub(crate) async fn enter(&self, repository_id: &str) -> Result<Entry, Error> {
        let Some(shared) = &self.shared else {
            return Ok(Entry { path: self.disk.path(repository_id), apart: None });
        };
        let snapshot = self.snapshot(repository_id).await?;
        self.bring(shared, &snapshot).await?;
        let (disk, targets) = (self.disk.clone(), snapshot.targets());
        let (id, name) = (repository_id.to_owned(), id::uuid());
        // Whoever gives up waiting leaves no folder.
        let folder = blocking(move || disk.create_over(&id, &name, &targets).map(Folder)).await?;
        let path = folder.0.clone();
        Ok(Entry { path, apart: Some(Apart { snapshot, folder }) })
    }

    /// Records what a push moved. Only then may it be acknowledged.
    pub(crate) async fn leave(
        &self,
        entry: Entry,
        repository_id: &str,
        names: &BTreeSet<String>,
        caller_arn: &str,
    ) -> Result<Overtaken, Error> {
        match (&self.shared, entry.apart) {
            (Some(shared), Some(apart)) => self.publish(shared, apart, names, caller_arn).await,
            _ => {
                self.reconcile(repository_id, Scope::Only(names), Some(caller_arn)).await?;
                Ok(Overtaken::new())
            }
        }
    }
}

/// What a repository without a list of packs is told.
fn not_shared(repository_id: &str) -> Error {
    StoreError::Invalid(format!(
        "the repository {repository_id} was made before nodes shared repositories; its content is on the disk \
         of the node that made it"
    ))
    .into()
}
