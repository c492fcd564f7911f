//! What runs beside the requests: recovery at start, a look at every repository now and then, and
//! removing what was deleted.
//!
//! Crash: every step may be repeated; nothing here is needed for an acknowledged change to hold.

use crate::error::Error;
use crate::git::{GitError, repository};
use crate::reconcile::{Scope, blocking};
use crate::service::CodeCommitService;
use crate::store::{self, Repository};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;
use towpath_durable::Shutdown;
use towpath_store::{MAX_LIST, Order, Versioned};

/// A git of the last server may still finish when this one starts; so the second look comes soon.
const SECOND_LOOK: Duration = Duration::from_secs(15);
const BETWEEN_LOOKS: Duration = Duration::from_secs(600);
/// No push takes that long.
const OLD_QUARANTINE: Duration = Duration::from_secs(24 * 3600);
/// Packs in a repository before they are put together.
const MANY_PACKS: usize = 30;
/// Loose objects, estimated from one of 256 folders.
const MANY_LOOSE_IN_FOLDER: usize = 8;

impl CodeCommitService {
    /// Brings disk and documents together. Only before the first request is served: it takes every lock
    /// for stale and every unknown folder for abandoned.
    pub(crate) async fn recover(&self) -> Result<(), Error> {
        self.disk.forget_pushes()?;
        let repositories = self.all().await?;
        let known: BTreeSet<&str> = repositories.iter().map(|repository| repository.id.as_str()).collect();
        for id in self.disk.list()? {
            if !known.contains(id.as_str()) {
                tracing::info!(repository = id, "removing a folder that belongs to no repository");
                self.disk.discard(&id)?;
            }
        }
        for repository in &repositories {
            let path = self.disk.path(&repository.id);
            if self.shared.is_some() && !path.exists() {
                continue;
            }
            let stale = blocking(move || repository::remove_stale(&path)).await;
            match stale {
                Ok(0) => {}
                Ok(removed) => {
                    tracing::info!(removed, repository = repository.name, "removed what a killed git left")
                }
                Err(error) => {
                    tracing::error!(%error, repository = repository.name, "a repository is damaged")
                }
            }
            self.look_at(repository).await;
        }
        Ok(())
    }

    /// Runs until the shutdown.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        match &self.shared {
            None => self.look_now_and_then(shutdown).await,
            Some(shared) => {
                tokio::join!(self.look_now_and_then(shutdown.clone()), self.keep(shared, shutdown));
            }
        }
    }

    async fn look_now_and_then(&self, shutdown: Shutdown) {
        let mut pause = SECOND_LOOK;
        loop {
            let disk = self.disk.clone();
            if let Err(error) = blocking(move || disk.empty_trash()).await {
                tracing::warn!(%error, "deleted repositories could not be removed");
            }
            if !shutdown.sleep(pause).await {
                return;
            }
            pause = BETWEEN_LOOKS;
            match self.all().await {
                Ok(repositories) => {
                    for repository in &repositories {
                        if shutdown.is_shutdown() {
                            return;
                        }
                        self.look_at(repository).await;
                        self.tidy(repository).await;
                    }
                }
                Err(error) => tracing::error!(%error, "repositories could not be listed"),
            }
        }
    }

    async fn look_at(&self, repository: &Repository) {
        match self.reconcile(&repository.id, Scope::All, None).await {
            Ok(moved) if moved.is_empty() => {}
            Ok(moved) => {
                tracing::info!(
                    moved = moved.len(),
                    repository = repository.name,
                    "recorded moves that were not yet"
                );
            }
            Err(error) => {
                tracing::error!(%error, repository = repository.name, "a repository cannot be read")
            }
        }
    }

    /// Puts many small packs and loose objects together. Nothing is pruned: an object that nothing
    /// refers to may belong to a push under way.
    async fn tidy(&self, repository: &Repository) {
        let path = self.disk.path(&repository.id);
        if self.shared.is_some() && !path.exists() {
            return;
        }
        let counted = path.clone();
        let count = |folder: std::path::PathBuf, ending: &'static str| {
            std::fs::read_dir(folder).map_or(0, |entries| {
                entries
                    .flatten()
                    .filter(|entry| entry.file_name().to_string_lossy().ends_with(ending))
                    .count()
            })
        };
        let needed = blocking(move || {
            repository::remove_quarantines(&counted, OLD_QUARANTINE)
                .map_err(GitError::io("looking for quarantines"))?;
            let packs = count(counted.join("objects/pack"), ".pack");
            let loose = count(counted.join("objects/17"), "");
            Ok::<_, Error>(packs > MANY_PACKS || loose > MANY_LOOSE_IN_FOLDER)
        });
        if !needed.await.unwrap_or(false) {
            return;
        }
        let all = [
            &["repack", "--geometric=2", "-d", "--quiet"][..],
            &["prune-packed", "--quiet"],
            &["pack-refs", "--all"],
        ];
        // A copy's references are one file already, and only [`crate::shared`] writes it.
        let steps = if self.shared.is_some() { &all[..2] } else { &all[..] };
        for arguments in steps {
            let mut words = vec![OsStr::new("--git-dir"), path.as_os_str()];
            words.extend(arguments.iter().map(OsStr::new));
            if let Err(error) = self.git.run(self.git.command(&words), 1 << 20).await {
                tracing::warn!(%error, repository = repository.name, "housekeeping failed");
                return;
            }
        }
    }

    async fn all(&self) -> Result<Vec<Repository>, Error> {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self
                .store
                .list::<store::Repository>("", after.as_deref(), MAX_LIST, Order::Ascending)
                .await?;
            found.extend(page.items.into_iter().map(Versioned::into_doc));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(found),
            }
        }
    }
}
