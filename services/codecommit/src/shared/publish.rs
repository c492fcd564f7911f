//! A push becomes what all nodes see: one pack, one transaction.

use super::cache::{Made, Snapshot, digest};
use super::keep::MANY_PACKS;
use super::{Apart, Overtaken, Pack, Packs, Shared, pack_name};
use crate::error::Error;
use crate::git::GitError;
use crate::reconcile::{Seen, blocking, compare};
use crate::service::CodeCommitService;
use crate::state::{self, Moved};
use crate::store::Reference;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};
use towpath_api::id;
use towpath_store::{StoreError, Versioned};

/// Rounds against others who push other references at the same time.
const MAX_ROUNDS: usize = 50;
/// Packs that a list may have; they are put together long before.
const MAX_PACKS: usize = 2000;
/// How long after its pack was made a push may be recorded: far below the age at which packs that nobody
/// lists are removed.
const MAX_PUBLISH: Duration = Duration::from_secs(6 * 3600);

impl CodeCommitService {
    pub(super) async fn publish(
        &self,
        shared: &Shared,
        apart: Apart,
        names: &BTreeSet<String>,
        caller_arn: &str,
    ) -> Result<Overtaken, Error> {
        let Apart { snapshot, folder } = apart;
        let mut before = snapshot.targets();
        before.retain(|name, _| names.contains(name));
        let (path, only, caller) = (folder.0.clone(), names.clone(), caller_arn.to_owned());
        let seen = blocking(move || compare(&path, &before, Some(&only), Some(&caller))).await?;
        if seen.more {
            return Err(GitError::Unreadable("a push moved too many references".into()).into());
        }
        if seen.moves.is_empty() {
            return Ok(Overtaken::new());
        }
        let began = Instant::now();
        let made = self.make_pack(&folder.0, &snapshot, &seen.moves).await?;
        if let Some(made) = &made {
            let file = pack_name(&snapshot.repository.id, &made.pack.id)?;
            shared.files.put(&file, &made.base.with_extension("pack")).await?;
        }
        let pack = made.as_ref().map(|made| &made.pack);
        let recorded = self.record_shared(&snapshot, &seen, pack, began).await;
        match (&recorded, &made) {
            (Ok(overtaken), Some(made)) if overtaken.is_empty() => {
                if let Err(error) = self.adopt(shared, &snapshot, made).await {
                    tracing::warn!(%error, "a pack could not be kept; it will be downloaded");
                }
            }
            // A transaction that failed for another reason than a conflict may yet have been carried out.
            (Ok(_), Some(made)) => {
                shared.files.delete(&pack_name(&snapshot.repository.id, &made.pack.id)?).await?;
            }
            _ => {}
        }
        if snapshot.packs.packs.len() >= MANY_PACKS {
            // Where the queue is full, the next push asks again.
            let _full = shared.crowded.try_send(snapshot.repository.id.clone());
        }
        recorded
    }

    /// What the new references have and the recorded ones have not; `None` when that is nothing.
    async fn make_pack(
        &self,
        folder: &Path,
        snapshot: &Snapshot,
        moves: &[Moved],
    ) -> Result<Option<Made>, Error> {
        let mut revisions: BTreeSet<String> = moves.iter().filter_map(|moved| moved.new.clone()).collect();
        if revisions.is_empty() {
            return Ok(None);
        }
        revisions.extend(snapshot.references.values().map(|reference| format!("^{}", reference.target)));
        let input: String = revisions.iter().map(|revision| format!("{revision}\n")).collect();
        self.pack(folder, folder, &["--revs"], input).await
    }

    /// Runs `git pack-objects`, with the pack in `target`.
    pub(super) async fn pack(
        &self,
        repository: &Path,
        target: &Path,
        what: &[&str],
        input: String,
    ) -> Result<Option<Made>, Error> {
        let base = target.join("made");
        let mut words = vec![OsStr::new("--git-dir"), repository.as_os_str(), OsStr::new("pack-objects")];
        words.extend(["--quiet", "--non-empty", "--delta-base-offset"].map(OsStr::new));
        words.extend(what.iter().map(OsStr::new));
        words.push(base.as_os_str());
        let said = self.git.run_with(self.git.command(&words), input.as_bytes(), 4096).await?;
        let hash = String::from_utf8_lossy(&said).trim().to_owned();
        if hash.is_empty() {
            return Ok(None);
        }
        let base = target.join(format!("made-{hash}"));
        let file = base.with_extension("pack");
        let (size_bytes, sha256) = blocking(move || digest(&file)).await?;
        let pack = Pack { id: id::uuid(), size_bytes, sha256, covers: BTreeSet::new() };
        Ok(Some(Made { base, hash, pack }))
    }

    async fn record_shared(
        &self,
        first: &Snapshot,
        seen: &Seen,
        pack: Option<&Pack>,
        began: Instant,
    ) -> Result<Overtaken, Error> {
        let mut later: Option<Snapshot> = None;
        for _ in 0..MAX_ROUNDS {
            let now = later.as_ref().unwrap_or(first);
            let lost = overtaken(&seen.moves, &now.references);
            if !lost.is_empty() {
                return Ok(lost);
            }
            if now.packs.packs.len() >= MAX_PACKS {
                return Err(GitError::Unreadable("the repository has too many packs".into()).into());
            }
            if began.elapsed() > MAX_PUBLISH {
                return Err(GitError::Unreadable("the push took too long to record".into()).into());
            }
            let default_branch = now.repository.default_branch.clone();
            let default_branch = default_branch.or_else(|| state::first_default_branch(&seen.moves));
            let steps = seen.steps.clone();
            let mut txn = self.record(&now.repository, &now.references, &seen.moves, steps, default_branch);
            let mut packs = now.packs.packs.clone();
            packs.extend(pack.cloned());
            let generation = now.packs.generation + 1;
            txn.replace(&now.packs, &Packs { generation, packs, ..now.packs.doc.clone() });
            match self.store.commit(txn).await {
                Ok(()) => return Ok(Overtaken::new()),
                Err(StoreError::Conflict { .. }) => {
                    later = Some(self.snapshot(&first.repository.id).await?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(GitError::Unreadable("the references keep moving".into()).into())
    }
}

/// Which of the moves no longer begin where they did, or end where another name now is. When one does, none
/// of the push is recorded.
fn overtaken(moves: &[Moved], recorded: &BTreeMap<String, Versioned<Reference>>) -> Overtaken {
    let mut lost = Overtaken::new();
    for moved in moves {
        let current = recorded.get(&moved.name).map(|reference| &reference.target);
        if current != moved.old.as_ref() {
            let reason = "the reference moved while you pushed; fetch first";
            lost.insert(moved.name.clone(), reason.to_owned());
        } else if moved.old.is_none() && moved.new.is_some() {
            let deleted = |name: &str| moves.iter().any(|other| other.name == name && other.new.is_none());
            let below = format!("{}/", moved.name);
            let above = moved.name.match_indices('/').map(|(at, _)| &moved.name[..at]);
            let mut above = above.filter(|name| recorded.contains_key(*name));
            let mut beneath = recorded.range(below.clone()..).map(|(name, _)| name.as_str());
            let beneath = beneath.by_ref().take_while(|name| name.starts_with(&below));
            if let Some(name) =
                above.find(|name| !deleted(name)).or_else(|| beneath.into_iter().find(|name| !deleted(name)))
            {
                lost.insert(moved.name.clone(), format!("{name} exists; fetch first"));
            }
        }
    }
    if !lost.is_empty() {
        for moved in moves {
            let reason = "another reference of this push moved meanwhile; fetch first";
            lost.entry(moved.name.clone()).or_insert_with(|| reason.to_owned());
        }
    }
    lost
}
