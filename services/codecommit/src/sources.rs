//! The port by which pipelines and builds read repositories.

use crate::error::Error;
use crate::git::export::ClonePlan;
use crate::git::objects::{Commit, Entry, Mode, Objects, parse_id};
use crate::git::tree;
use crate::names::{self, shown};
use crate::service::CodeCommitService;
use crate::store::{self, Repository};
use std::path::Path;
use towpath_api::sources::{ArchiveFormat, CloneDepth, CommitInfo, Revision, Sources};
use towpath_api::{ApiError, Call, async_trait};

impl CodeCommitService {
    async fn at_revision(&self, repository: &Repository, revision: &Revision) -> Result<Commit, Error> {
        let (reference, missing) = match revision {
            Revision::Commit(text) => {
                let id = parse_id(text).ok_or_else(|| Error::InvalidCommit(shown(text)))?;
                let missing = shown(text);
                let work =
                    move |objects: &Objects| objects.peel(id)?.ok_or(Error::CommitDoesNotExist(missing));
                return self.read(repository, work).await;
            }
            Revision::Branch(name) => {
                let name = names::branch_name(Some(name))?;
                (store::branch_ref(name), Error::BranchDoesNotExist(name.to_owned()))
            }
            Revision::Tag(name) => (format!("refs/tags/{name}"), Error::CommitDoesNotExist(shown(name))),
        };
        match store::reference(&self.store, &repository.id, &reference).await? {
            Some(_) => self.commit_at(repository, Some(&reference)).await,
            None => Err(missing),
        }
    }

    fn info(&self, repository: &Repository, commit: Commit) -> CommitInfo {
        CommitInfo {
            repository_id: repository.id.clone(),
            repository_name: repository.name.clone(),
            repository_arn: repository.arn(),
            clone_url_http: self.clone_url(&repository.name),
            commit_id: commit.id.to_string(),
            tree_id: commit.tree.to_string(),
            parents: commit.parents.iter().map(ToString::to_string).collect(),
            message: commit.message,
            author: commit.author,
            committer: commit.committer,
        }
    }

    async fn paths_between(
        &self,
        repository: &Repository,
        before: Option<&str>,
        after: &str,
    ) -> Result<Vec<String>, Error> {
        let after = self.at_revision(repository, &Revision::Commit(after.to_owned())).await?;
        let before = match before {
            Some(before) => Some(self.at_revision(repository, &Revision::Commit(before.to_owned())).await?),
            None => None,
        };
        let work = move |objects: &Objects| {
            let root = |commit: Commit| Entry { mode: Mode::Tree, id: commit.tree };
            let found = tree::compare(objects, "", before.map(root), Some(root(after)))?;
            Ok(found.into_iter().map(|difference| difference.path).collect())
        };
        self.read(repository, work).await
    }
}

#[async_trait]
impl Sources for CodeCommitService {
    async fn commit(
        &self,
        call: &Call,
        repository: &str,
        revision: &Revision,
    ) -> Result<CommitInfo, ApiError> {
        if matches!(revision, Revision::Branch(_)) {
            self.repository(call, "codecommit:GetBranch", Some(repository), &[]).await?;
        }
        let found = self.repository(call, "codecommit:GetCommit", Some(repository), &[]).await?;
        let commit = self.at_revision(&found, revision).await?;
        Ok(self.info(&found, commit))
    }

    async fn default_branch(&self, call: &Call, repository: &str) -> Result<Option<String>, ApiError> {
        let found = self.repository(call, "codecommit:GitPull", Some(repository), &[]).await?;
        Ok(found.default_branch.clone())
    }

    async fn changed_paths(
        &self,
        call: &Call,
        repository: &str,
        before: Option<&str>,
        after: &str,
    ) -> Result<Vec<String>, ApiError> {
        let found = self.repository(call, "codecommit:GetDifferences", Some(repository), &[]).await?;
        Ok(self.paths_between(&found, before, after).await?)
    }

    async fn archive(
        &self,
        call: &Call,
        repository: &str,
        revision: &Revision,
        format: ArchiveFormat,
        destination: &Path,
    ) -> Result<CommitInfo, ApiError> {
        let found = self.repository(call, "codecommit:UploadArchive", Some(repository), &[]).await?;
        let commit = self.at_revision(&found, revision).await?;
        let path = self.ready(&found).await?;
        self.git.archive(&path, &commit.id.to_string(), format, destination).await.map_err(Error::from)?;
        Ok(self.info(&found, commit))
    }

    async fn checkout(
        &self,
        call: &Call,
        repository: &str,
        revision: &Revision,
        destination: &Path,
    ) -> Result<CommitInfo, ApiError> {
        let found = self.repository(call, "codecommit:GitPull", Some(repository), &[]).await?;
        let commit = self.at_revision(&found, revision).await?;
        let path = self.ready(&found).await?;
        self.git.checkout(&path, &commit.id.to_string(), destination).await.map_err(Error::from)?;
        Ok(self.info(&found, commit))
    }

    async fn clone_to(
        &self,
        call: &Call,
        repository: &str,
        revision: &Revision,
        depth: CloneDepth,
        destination: &Path,
    ) -> Result<CommitInfo, ApiError> {
        let found = self.repository(call, "codecommit:GitPull", Some(repository), &[]).await?;
        let commit = self.at_revision(&found, revision).await?;
        let (path, id, origin) =
            (self.ready(&found).await?, commit.id.to_string(), self.clone_url(&found.name));
        let branch = match revision {
            Revision::Branch(branch) => Some(branch.as_str()),
            Revision::Tag(_) | Revision::Commit(_) => None,
        };
        let plan = ClonePlan { commit: &id, branch, depth, origin: &origin };
        self.git.clone_to(&path, &plan, destination).await.map_err(Error::from)?;
        Ok(self.info(&found, commit))
    }
}
