//! What runs beside the requests: many packs become one, and what nobody lists any more goes.
//!
//! Any node may do any of it at any time: each change is a compare-and-swap on the list of packs, and who
//! loses removes what it made. A file goes only long after it left the list, for another node may be reading.

use super::cache::Snapshot;
use super::{Folder, Pack, Packs, Retired, Shared, name, pack_name};
use crate::error::Error;
use crate::reconcile::blocking;
use crate::service::CodeCommitService;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};
use towpath_durable::Shutdown;
use towpath_store::{MAX_LIST, Order, StoreError, Txn, Versioned};

/// Packs in a list before they are put together.
pub(super) const MANY_PACKS: usize = 30;
const BETWEEN_LOOKS: Duration = Duration::from_secs(600);
/// A pack that left the list, or whose repository was deleted, may be in use by another node for that long.
const OLD_RETIRED_MS: i64 = 6 * 3600 * 1000;
/// A pack that no list has may belong to a push under way.
const OLD_UNLISTED: Duration = Duration::from_secs(24 * 3600);
const BETWEEN_SWEEPS_MS: i64 = 6 * 3600 * 1000;

impl CodeCommitService {
    /// Runs until the shutdown.
    pub(crate) async fn keep(&self, shared: &Shared, shutdown: Shutdown) {
        let to_keep = shared.to_keep.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(mut to_keep) = to_keep else { return };
        loop {
            tokio::select! {
                asked = to_keep.recv() => {
                    let Some(id) = asked else { return };
                    if let Err(error) = self.put_together(shared, &id).await {
                        tracing::warn!(%error, repository = id, "packs could not be put together");
                    }
                }
                goes_on = shutdown.sleep(BETWEEN_LOOKS) => {
                    if !goes_on {
                        return;
                    }
                    if let Err(error) = self.look_around(shared, &shutdown).await {
                        tracing::warn!(%error, "the shared packs could not be looked through");
                    }
                }
            }
        }
    }

    async fn look_around(&self, shared: &Shared, shutdown: &Shutdown) -> Result<(), Error> {
        let disk = self.disk.clone();
        blocking(move || disk.empty_trash()).await?;
        let mut after: Option<String> = None;
        loop {
            let page = self.store.list::<Packs>("", after.as_deref(), MAX_LIST, Order::Ascending).await?;
            for packs in page.items {
                if shutdown.is_shutdown() {
                    return Ok(());
                }
                let id = packs.repository_id.clone();
                let crowded = packs.deleted_at.is_none() && packs.packs.len() >= MANY_PACKS;
                match self.sweep(shared, packs).await {
                    Ok(()) | Err(Error::Store(StoreError::Conflict { .. })) => {}
                    Err(error) => tracing::warn!(%error, repository = id, "old packs could not be removed"),
                }
                if crowded && let Err(error) = self.put_together(shared, &id).await {
                    tracing::warn!(%error, repository = id, "packs could not be put together");
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Removes what is due of one repository: all of a deleted one, else what left the list long ago, and
    /// what never was in it.
    async fn sweep(&self, shared: &Shared, packs: Versioned<Packs>) -> Result<(), Error> {
        let now = self.store.now();
        let old = |at: towpath_api::Timestamp| now.as_millis() - at.as_millis() > OLD_RETIRED_MS;
        let folder = name(packs.repository_id.clone())?;
        if let Some(deleted_at) = packs.deleted_at {
            self.disk.discard(&packs.repository_id)?;
            if !old(deleted_at) {
                return Ok(());
            }
            let mut young = false;
            for file in shared.files.list(Some(&folder)).await? {
                // A push that was under way when the repository went may still add its pack.
                match is_old(file.modified_at) {
                    true => shared.files.delete(&name(file.name)?).await?,
                    false => young = true,
                }
            }
            if !young {
                let mut txn = Txn::new();
                txn.delete(&packs);
                self.store.commit(txn).await?;
            }
            return Ok(());
        }
        let swept = packs.swept_at.unwrap_or(towpath_api::Timestamp::EPOCH);
        if now.as_millis() - swept.as_millis() < BETWEEN_SWEEPS_MS {
            return Ok(());
        }
        let (due, kept): (Vec<Retired>, Vec<Retired>) =
            packs.retired.iter().cloned().partition(|retired| old(retired.at));
        let mut txn = Txn::new();
        txn.replace(&packs, &Packs { retired: kept.clone(), swept_at: Some(now), ..packs.doc.clone() });
        self.store.commit(txn).await?;
        for retired in due {
            shared.files.delete(&pack_name(&packs.repository_id, &retired.id)?).await?;
        }
        let listed: BTreeSet<String> = packs
            .packs
            .iter()
            .map(|pack| &pack.id)
            .chain(kept.iter().map(|retired| &retired.id))
            .map(|id| format!("{}/{id}.pack", packs.repository_id))
            .collect();
        for file in shared.files.list(Some(&folder)).await? {
            if !listed.contains(&file.name) && is_old(file.modified_at) {
                shared.files.delete(&name(file.name)?).await?;
            }
        }
        Ok(())
    }

    /// Makes one pack of all that are listed. Nothing is left out: an object that no reference leads to
    /// any more may still be asked for by its id.
    pub(super) async fn put_together(&self, shared: &Shared, repository_id: &str) -> Result<(), Error> {
        let snapshot = self.snapshot(repository_id).await?;
        if snapshot.packs.packs.len() < MANY_PACKS {
            return Ok(());
        }
        self.bring(shared, &snapshot).await?;
        let (disk, id) = (self.disk.clone(), repository_id.to_owned());
        let (name, none) = (towpath_api::id::uuid(), Default::default());
        let folder = blocking(move || disk.create_over(&id, &name, &none).map(Folder)).await?;
        let path = self.disk.path(repository_id);
        let what = ["--all", "--reflog", "--keep-unreachable"];
        let Some(made) = self.pack(&path, &folder.0, &what, String::new()).await? else { return Ok(()) };
        let file = pack_name(repository_id, &made.pack.id)?;
        shared.files.put(&file, &made.base.with_extension("pack")).await?;
        match self.replace_packs(&snapshot, made.pack).await {
            Ok(true) => Ok(()),
            Ok(false) => Ok(shared.files.delete(&file).await?),
            Err(error) => Err(error),
        }
    }

    /// `false`: another node was first.
    async fn replace_packs(&self, snapshot: &Snapshot, mut pack: Pack) -> Result<bool, Error> {
        let merged: BTreeSet<String> = snapshot.packs.packs.iter().map(|pack| pack.id.clone()).collect();
        pack.covers.clone_from(&merged);
        for _ in 0..MANY_PACKS {
            let current = self.packs(&snapshot.repository.id).await?;
            let listed: BTreeSet<&String> = current.packs.iter().map(|pack| &pack.id).collect();
            if !merged.iter().all(|id| listed.contains(id)) {
                return Ok(false);
            }
            let now = self.store.now();
            let mut next = current.doc.clone();
            next.packs.retain(|pack| !merged.contains(&pack.id));
            next.packs.insert(0, pack.clone());
            next.retired.extend(merged.iter().map(|id| Retired { id: id.clone(), at: now }));
            let mut txn = Txn::new();
            txn.replace(&current, &next);
            match self.store.commit(txn).await {
                Ok(()) => return Ok(true),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

fn is_old(modified_at: SystemTime) -> bool {
    modified_at.elapsed().is_ok_and(|age| age > OLD_UNLISTED)
}
