//! The service's handle: its parts, how a repository is found, and who may do what with it.

use crate::error::Error;
use crate::git::process::Limits;
use crate::git::repository::Disk;
use crate::git::{Git, GitError};
use crate::http::fetch::Capabilities;
use crate::names;
use crate::shared::Shared;
use crate::store::{self, Repository};
use crate::upkeep::Upkeep;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use towpath_api::{ApiError, Call, Identity};
use towpath_store::blobs::Blobs;
use towpath_store::{Store, Versioned};

/// How the service is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// This service's own folder; made when it is missing.
    pub data: PathBuf,
    /// `http://127.0.0.1:4566`: what clone addresses begin with.
    pub public_url: String,
    /// The region of git requests, whose clients sign for one but do not name it.
    pub region: String,
    pub limits: Limits,
}

impl Config {
    pub fn new(data: impl Into<PathBuf>, public_url: impl Into<String>, region: impl Into<String>) -> Config {
        Config {
            data: data.into(),
            public_url: public_url.into(),
            region: region.into(),
            limits: Limits::default(),
        }
    }
}

/// CodeCommit: repositories over git and over AWS's API.
pub struct CodeCommitService {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) identity: Arc<dyn Identity>,
    pub(crate) disk: Disk,
    pub(crate) git: Git,
    /// What this node shares with others; none for a server alone.
    pub(crate) shared: Option<Shared>,
    pub(crate) upkeep: Upkeep,
    pub(crate) capabilities: Mutex<Option<Capabilities>>,
}

impl CodeCommitService {
    /// Opens the folder and brings disk and documents together, so that the first request already finds
    /// what the last server left recorded.
    pub async fn open(config: Config, store: Store, identity: Arc<dyn Identity>) -> Result<Arc<Self>, Error> {
        Self::over(config, store, identity, None).await
    }

    /// The same for one of several nodes, which share `blobs` as they share the store.
    pub async fn join(
        config: Config,
        store: Store,
        identity: Arc<dyn Identity>,
        blobs: &Blobs,
    ) -> Result<Arc<Self>, Error> {
        Self::over(config, store, identity, Some(Shared::new(blobs)?)).await
    }

    async fn over(
        config: Config,
        store: Store,
        identity: Arc<dyn Identity>,
        shared: Option<Shared>,
    ) -> Result<Arc<Self>, Error> {
        let data =
            std::path::absolute(&config.data).map_err(GitError::io(config.data.display().to_string()))?;
        let disk = Disk::open(&data)?;
        let git = Git::new(&data, config.limits.clone())?;
        let upkeep = Upkeep::new();
        let capabilities = Mutex::default();
        let service = CodeCommitService { config, store, identity, disk, git, shared, upkeep, capabilities };
        service.recover().await?;
        Ok(Arc::new(service))
    }

    /// The address that `git clone` takes.
    pub fn clone_url(&self, name: &str) -> String {
        format!("{}/v1/repos/{name}", self.config.public_url.trim_end_matches('/'))
    }

    /// Finds a repository by its name for a caller who may do `action` with it. Whether it exists is
    /// told only to those who may.
    pub(crate) async fn repository(
        &self,
        call: &Call,
        action: &str,
        name: Option<&str>,
        context: &[(&str, &str)],
    ) -> Result<Versioned<Repository>, Error> {
        let name = names::repository_name(name)?;
        let found = store::by_name(&self.store, &call.account, &call.region, name).await?;
        authorize(call, action, name, found.as_deref(), context)?;
        found.ok_or_else(|| Error::RepositoryDoesNotExist(name.to_owned()))
    }

    /// The same for a change of one branch, which policies protect by `codecommit:References`.
    pub(crate) async fn repository_for_branch(
        &self,
        call: &Call,
        action: &str,
        name: Option<&str>,
        branch: Option<&str>,
    ) -> Result<(Versioned<Repository>, String), Error> {
        let branch = names::branch_name(branch);
        let reference = branch.as_ref().map(|branch| store::branch_ref(branch)).unwrap_or_default();
        let context = [("codecommit:References", reference.as_str())];
        let context = if branch.is_ok() { &context[..] } else { &[] };
        let repository = self.repository(call, action, name, context).await?;
        Ok((repository, branch?.to_owned()))
    }
}

/// Asks the caller's policies about one repository, with its tags as `aws:ResourceTag/…`.
pub(crate) fn authorize(
    call: &Call,
    action: &str,
    name: &str,
    repository: Option<&Repository>,
    context: &[(&str, &str)],
) -> Result<(), ApiError> {
    let tags: Vec<(String, &str)> = repository
        .iter()
        .flat_map(|repository| &repository.tags)
        .map(|(tag, value)| (format!("aws:ResourceTag/{tag}"), value.as_str()))
        .collect();
    let mut all = context.to_vec();
    all.extend(tags.iter().map(|(tag, value)| (tag.as_str(), *value)));
    call.authorize(action, &call.arn("codecommit", name), &all)
}
