//! A node's copy of a repository: how it follows what is recorded.

use super::{Pack, Packs, Shared, not_shared, pack_name};
use crate::error::Error;
use crate::git::{GitError, repository};
use crate::reconcile::blocking;
use crate::service::CodeCommitService;
use crate::store::{self, Reference, Repository};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use towpath_api::id;
use towpath_store::Versioned;

/// The file that says how far the copy has come.
const MARKER: &str = "shared-generation";
/// Readings until two of them agree.
const MAX_ROUNDS: usize = 100;

/// What was recorded at one moment.
pub struct Snapshot {
    pub packs: Versioned<Packs>,
    pub repository: Versioned<Repository>,
    pub references: BTreeMap<String, Versioned<Reference>>,
}

impl Snapshot {
    pub fn targets(&self) -> BTreeMap<String, String> {
        let pair = |(name, found): (&String, &Versioned<Reference>)| (name.clone(), found.target.clone());
        self.references.iter().map(pair).collect()
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Marker {
    generation: u64,
    packs: BTreeSet<String>,
}

impl Marker {
    /// `None` where there is no copy, or one that was never finished.
    fn read(path: &Path) -> Option<Marker> {
        serde_json::from_slice(&std::fs::read(path.join(MARKER)).ok()?).ok()
    }

    fn has(&self, pack: &Pack) -> bool {
        self.packs.contains(&pack.id) || (!pack.covers.is_empty() && pack.covers.is_subset(&self.packs))
    }
}

impl CodeCommitService {
    pub(super) async fn packs(&self, repository_id: &str) -> Result<Versioned<Packs>, Error> {
        let found = self.store.get::<Packs>(repository_id).await?;
        let found = found.ok_or_else(|| not_shared(repository_id))?;
        match found.deleted_at {
            None => Ok(found),
            Some(_) => Err(Error::RepositoryDoesNotExist(repository_id.to_owned())),
        }
    }

    /// References and packs that belong together: no move was recorded while they were read.
    pub(super) async fn snapshot(&self, repository_id: &str) -> Result<Snapshot, Error> {
        let mut packs = self.packs(repository_id).await?;
        for _ in 0..MAX_ROUNDS {
            let repository = store::by_id(&self.store, repository_id).await?;
            let repository =
                repository.ok_or_else(|| Error::RepositoryDoesNotExist(repository_id.to_owned()))?;
            let references = store::references(&self.store, repository_id).await?;
            let after = self.packs(repository_id).await?;
            if after.generation == packs.generation {
                return Ok(Snapshot { packs: after, repository, references });
            }
            packs = after;
        }
        Err(GitError::Unreadable("the references keep moving".into()).into())
    }

    /// Brings the copy to what is recorded, where it is not there already.
    pub(super) async fn follow(&self, shared: &Shared, repository: &Repository) -> Result<(), Error> {
        let packs = self.packs(&repository.id).await?;
        let path = self.disk.path(&repository.id);
        let head = repository.default_branch.as_ref().map(|branch| format!("ref: refs/heads/{branch}\n"));
        let current = blocking(move || {
            let at = Marker::read(&path).is_some_and(|marker| marker.generation >= packs.generation);
            let points = || std::fs::read_to_string(path.join("HEAD")).unwrap_or_default();
            Ok::<_, Error>(at && head.is_none_or(|head| head == points()))
        });
        if current.await? {
            return Ok(());
        }
        let snapshot = self.snapshot(&repository.id).await?;
        self.bring(shared, &snapshot).await
    }

    /// Brings the copy to a snapshot; never back.
    pub(super) async fn bring(&self, shared: &Shared, snapshot: &Snapshot) -> Result<(), Error> {
        let id = snapshot.repository.id.clone();
        let lock = shared.lock(&id);
        let _held = lock.lock().await;
        let (disk, path) = (self.disk.clone(), self.disk.path(&id));
        let marker = blocking(move || {
            if let Some(marker) = Marker::read(&path) {
                return Ok::<_, Error>(marker);
            }
            // Whatever is there was never whole.
            disk.discard(&id)?;
            disk.create(&id)?;
            Ok(Marker::default())
        })
        .await?;
        let id = &snapshot.repository.id;
        let forward = marker.generation < snapshot.packs.generation;
        if forward {
            for pack in snapshot.packs.packs.iter().filter(|pack| !marker.has(pack)) {
                self.download(shared, id, pack).await?;
            }
        }
        let (path, targets) = (self.disk.path(id), snapshot.targets());
        let next = Marker {
            generation: snapshot.packs.generation,
            packs: snapshot.packs.packs.iter().map(|pack| pack.id.clone()).collect(),
        };
        let branch = snapshot.repository.default_branch.clone();
        blocking(move || {
            if let Some(branch) = branch {
                repository::set_head(&path, &branch)?;
            }
            if forward {
                repository::set_references(&path, &targets)?;
                let text = serde_json::to_string(&next).map_err(GitError::unreadable)?;
                repository::replace_file(&path, MARKER, &text)?;
            }
            Ok::<_, Error>(())
        })
        .await
    }

    /// One pack into the copy: complete, what was recorded, and every object of it whole.
    async fn download(&self, shared: &Shared, repository_id: &str, pack: &Pack) -> Result<(), Error> {
        let folder = self.disk.path(repository_id).join("objects/pack");
        let base = folder.join(format!("tmp_shared_{}", id::uuid()));
        let (pack_file, index_file) = (base.with_extension("pack"), base.with_extension("idx"));
        let work = async {
            if !shared.files.get(&pack_name(repository_id, &pack.id)?, &pack_file).await? {
                let what = format!("the object store has lost the pack {} of {repository_id}", pack.id);
                return Err(GitError::Unreadable(what).into());
            }
            let (read, wanted) = (pack_file.clone(), (pack.size_bytes, pack.sha256.clone()));
            if blocking(move || digest(&read)).await? != wanted {
                let what = format!("the pack {} of {repository_id} is not what was stored", pack.id);
                return Err(GitError::Unreadable(what).into());
            }
            let path = self.disk.path(repository_id);
            let words =
                [OsStr::new("--git-dir"), path.as_os_str(), OsStr::new("index-pack"), OsStr::new("-o")];
            let mut words = words.to_vec();
            words.extend([index_file.as_os_str(), pack_file.as_os_str()]);
            let said = self.git.run(self.git.command(&words), 4096).await?;
            let hash = String::from_utf8_lossy(&said).trim().to_owned();
            install(&base, &folder, &hash).await
        };
        let done = work.await;
        if done.is_err() {
            for file in [pack_file.as_path(), index_file.as_path(), &base.with_extension("rev")] {
                // What is not there needs no removing.
                let _gone = std::fs::remove_file(file);
            }
        }
        done
    }

    /// A pack that was made here is put beside the copy's, which then need not be downloaded.
    pub(super) async fn adopt(&self, shared: &Shared, snapshot: &Snapshot, made: &Made) -> Result<(), Error> {
        let id = &snapshot.repository.id;
        let lock = shared.lock(id);
        let _held = lock.lock().await;
        let path = self.disk.path(id);
        install(&made.base, &path.join("objects/pack"), &made.hash).await?;
        let pack = made.pack.id.clone();
        blocking(move || {
            let Some(mut marker) = Marker::read(&path) else { return Ok(()) };
            marker.packs.insert(pack);
            let text = serde_json::to_string(&marker).map_err(GitError::unreadable)?;
            repository::replace_file(&path, MARKER, &text)
        })
        .await
    }
}

/// A pack that git wrote at `BASE.pack`, with its index.
pub(super) struct Made {
    pub base: PathBuf,
    pub hash: String,
    pub pack: Pack,
}

/// The pack first: git looks for indexes.
async fn install(base: &Path, folder: &Path, hash: &str) -> Result<(), Error> {
    if hash.len() != 40 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(GitError::Unreadable(format!("git named a pack {hash:?}")).into());
    }
    let (base, target) = (base.to_owned(), folder.join(format!("pack-{hash}")));
    let folder = folder.to_owned();
    let moved = move || -> io::Result<()> {
        for ending in ["pack", "rev", "idx"] {
            let from = base.with_extension(ending);
            if ending == "rev" && !from.exists() {
                continue;
            }
            File::open(&from)?.sync_all()?;
            std::fs::rename(&from, target.with_extension(ending))?;
        }
        File::open(&folder)?.sync_all()
    };
    blocking(move || moved().map_err(GitError::io("putting a pack into its repository"))).await
}

/// A file's size and SHA-256.
pub(super) fn digest(path: &Path) -> Result<(u64, String), GitError> {
    let read = || -> io::Result<(u64, String)> {
        let (mut file, mut hash, mut size_bytes) = (File::open(path)?, Sha256::new(), 0u64);
        let mut buffer = vec![0u8; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((size_bytes, id::hex(&hash.finalize()))),
                count => {
                    hash.update(&buffer[..count]);
                    size_bytes += count as u64;
                }
            }
        }
    };
    read().map_err(GitError::io(format!("reading {}", path.display())))
}
