//! What runs beside the requests: recovery at start, a look at every repository now and then, upkeep, and
//! removing what was deleted.
//!
//! Crash: every step may be repeated; nothing here is needed for an acknowledged change to hold.

use crate::error::Error;
use crate::git::repository;
use crate::reconcile::{Scope, blocking};
use crate::service::CodeCommitService;
use crate::store::{self, Repository};
use crate::upkeep;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use towpath_durable::Shutdown;
use towpath_store::{MAX_LIST, Order, Versioned};

/// A git of the last server may still finish when this one starts; so the second look comes soon.
const SECOND_LOOK: Duration = Duration::from_secs(15);
const BETWEEN_LOOKS: Duration = Duration::from_secs(600);

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
            let stale = blocking(move || {
                upkeep::end_orphan(&path)?;
                repository::remove_stale(&path)
            })
            .await;
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
            None => {
                tokio::join!(self.look_now_and_then(shutdown.clone()), self.tend_when_asked(shutdown));
            }
            Some(shared) => {
                tokio::join!(
                    self.look_now_and_then(shutdown.clone()),
                    self.tend_when_asked(shutdown.clone()),
                    self.keep(shared, shutdown)
                );
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
                        self.tend(repository, &shutdown).await;
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
