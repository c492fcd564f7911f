//! The API's operations, one file per resource. Each: parse, authorize, one step of the domain, render.

mod branches;
mod change;
mod commits;
mod differences;
mod files;
mod repositories;
mod tags;

use crate::error::Error;
use crate::git::objects::{Commit, Objects, parse_id};
use crate::names::shown;
use crate::reconcile::blocking;
use crate::service::CodeCommitService;
use crate::store::{self, Repository};
use gix::ObjectId;
use towpath_api::{ApiError, Call, async_trait, id};
use towpath_api_codecommit::{self as wire, CodeCommit};

/// The largest file that the API takes or returns:
/// <https://docs.aws.amazon.com/codecommit/latest/userguide/limits.html>.
const MAX_FILE_BYTES: u64 = 6 << 20;

impl CodeCommitService {
    /// The object that a commit specifier names by the record: HEAD, a branch, a tag, a full reference
    /// or a full id. Nothing given means the default branch.
    pub(crate) async fn specified(
        &self,
        repository: &Repository,
        specifier: Option<&str>,
    ) -> Result<ObjectId, Error> {
        let text = specifier.filter(|text| !text.is_empty()).unwrap_or("HEAD");
        if let Some(id) = parse_id(text) {
            return Ok(id);
        }
        let missing = || Error::CommitDoesNotExist(shown(text));
        let candidates = match (text, &repository.default_branch) {
            ("HEAD", Some(branch)) => vec![store::branch_ref(branch)],
            ("HEAD", None) => return Err(missing()),
            _ if text.starts_with("refs/") => vec![text.to_owned()],
            _ => vec![store::branch_ref(text), format!("refs/tags/{text}")],
        };
        if !candidates.iter().all(|name| crate::names::is_pushable(name)) {
            return Err(Error::InvalidCommit(shown(text)));
        }
        for name in candidates {
            if let Some(found) = store::reference(&self.store, &repository.id, &name).await? {
                return parse_id(&found.target).ok_or_else(missing);
            }
        }
        Err(missing())
    }

    /// The commit that a specifier names.
    pub(crate) async fn commit_at(
        &self,
        repository: &Repository,
        specifier: Option<&str>,
    ) -> Result<Commit, Error> {
        let id = self.specified(repository, specifier).await?;
        let name = shown(specifier.unwrap_or("HEAD"));
        self.read(repository, move |objects| objects.peel(id)?.ok_or(Error::CommitDoesNotExist(name))).await
    }

    /// Runs blocking work on a repository's objects.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        repository: &Repository,
        work: impl FnOnce(&Objects) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let path = self.ready(repository).await?;
        let outcome = blocking(move || work(&Objects::open(&path)?)).await;
        self.unless_deleted(repository, outcome).await
    }

    /// Work on a repository's folder fails in many ways once a deletion at the same time has taken it away, and git
    /// refuses what it is given for as many; the client is told the one reason.
    pub(crate) async fn unless_deleted<T>(
        &self,
        repository: &Repository,
        outcome: Result<T, Error>,
    ) -> Result<T, Error> {
        match outcome {
            Err(Error::Git(_) | Error::BranchNameConflicts(..) | Error::BranchDoesNotExist(_))
                if store::by_id(&self.store, &repository.id).await?.is_none() =>
            {
                Err(Error::RepositoryDoesNotExist(repository.name.clone()))
            }
            outcome => outcome,
        }
    }
}

/// A continuation token: where the next page begins, not readable at a glance so that nobody builds one.
fn token(text: &str) -> String {
    id::base64_encode(format!("v1:{text}").as_bytes())
}

fn untoken(token: Option<&str>) -> Result<Option<String>, Error> {
    let Some(token) = token else { return Ok(None) };
    let text = id::base64_decode(token).and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.as_deref().and_then(|text| text.strip_prefix("v1:")).map(str::to_owned);
    text.map(Some).ok_or(Error::InvalidToken)
}

/// One page of a list that is whole in memory, in the order of its keys; the token is the last one's, so that
/// what comes or goes between two pages takes nothing else with it.
fn page<T>(
    mut items: Vec<(String, T)>,
    descending: bool,
    next_token: Option<&str>,
    limit: usize,
) -> Result<(Vec<T>, Option<String>), Error> {
    let after = untoken(next_token)?;
    items.sort_by(|(left, _), (right, _)| if descending { right.cmp(left) } else { left.cmp(right) });
    items.retain(|(key, _)| {
        after.as_ref().is_none_or(|after| if descending { key < after } else { key > after })
    });
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|(key, _)| token(key));
    Ok((items.into_iter().map(|(_, item)| item).collect(), next))
}

/// `maxResults`, up to what one page holds.
fn limit(max_results: Option<i64>, most: usize) -> Result<usize, Error> {
    match max_results {
        None => Ok(most),
        Some(wanted) => match usize::try_from(wanted) {
            Ok(0) | Err(_) => Err(Error::InvalidMaxResults(wanted)),
            Ok(wanted) => Ok(wanted.min(most)),
        },
    }
}

/// The generated trait, each operation handed to its resource's file.
macro_rules! operations {
    ($($name:ident($input:ident) -> $output:ident;)*) => {
        #[async_trait]
        impl CodeCommit for CodeCommitService {
            $(async fn $name(&self, call: &Call, input: wire::$input) -> Result<wire::$output, ApiError> {
                by_name::$name(self, call, input).await.map_err(ApiError::from)
            })*
        }
    };
}

/// Every operation under one roof, so that the macro finds it by its name alone.
mod by_name {
    pub use super::branches::{create_branch, delete_branch, get_branch, list_branches};
    pub use super::change::{create_commit, delete_file, put_file};
    pub use super::commits::{batch_get_commits, get_commit};
    pub use super::differences::get_differences;
    pub use super::files::{get_blob, get_file, get_folder};
    pub use super::repositories::{
        batch_get_repositories, create_repository, delete_repository, get_repository, list_repositories,
        update_default_branch, update_repository_description, update_repository_name,
    };
    pub use super::tags::{list_tags_for_resource, tag_resource, untag_resource};
}

operations! {
    batch_get_commits(BatchGetCommitsInput) -> BatchGetCommitsOutput;
    batch_get_repositories(BatchGetRepositoriesInput) -> BatchGetRepositoriesOutput;
    create_branch(CreateBranchInput) -> CreateBranchOutput;
    create_commit(CreateCommitInput) -> CreateCommitOutput;
    create_repository(CreateRepositoryInput) -> CreateRepositoryOutput;
    delete_branch(DeleteBranchInput) -> DeleteBranchOutput;
    delete_file(DeleteFileInput) -> DeleteFileOutput;
    delete_repository(DeleteRepositoryInput) -> DeleteRepositoryOutput;
    get_blob(GetBlobInput) -> GetBlobOutput;
    get_branch(GetBranchInput) -> GetBranchOutput;
    get_commit(GetCommitInput) -> GetCommitOutput;
    get_differences(GetDifferencesInput) -> GetDifferencesOutput;
    get_file(GetFileInput) -> GetFileOutput;
    get_folder(GetFolderInput) -> GetFolderOutput;
    get_repository(GetRepositoryInput) -> GetRepositoryOutput;
    list_branches(ListBranchesInput) -> ListBranchesOutput;
    list_repositories(ListRepositoriesInput) -> ListRepositoriesOutput;
    list_tags_for_resource(ListTagsForResourceInput) -> ListTagsForResourceOutput;
    put_file(PutFileInput) -> PutFileOutput;
    tag_resource(TagResourceInput) -> TagResourceOutput;
    untag_resource(UntagResourceInput) -> UntagResourceOutput;
    update_default_branch(UpdateDefaultBranchInput) -> UpdateDefaultBranchOutput;
    update_repository_description(UpdateRepositoryDescriptionInput) -> UpdateRepositoryDescriptionOutput;
    update_repository_name(UpdateRepositoryNameInput) -> UpdateRepositoryNameOutput;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end() {
        for descending in [false, true] {
            let mut left: Vec<u32> = (10..17).collect();
            let (mut seen, mut next) = (Vec::new(), None::<String>);
            loop {
                let keyed = left.iter().map(|number| (number.to_string(), *number)).collect();
                let (items, token) = page(keyed, descending, next.as_deref(), 3).unwrap();
                left.retain(|number| !items.contains(number));
                seen.extend(items);
                match token {
                    Some(token) => next = Some(token),
                    None => break,
                }
            }
            seen.sort_unstable_by(|left, right| if descending { right.cmp(left) } else { left.cmp(right) });
            assert!(left.is_empty(), "{left:?} were left out");
            assert_eq!(seen.len(), 7);
        }
        for bad in ["", "x", "MQ=="] {
            assert!(page(vec![(String::new(), 1)], false, Some(bad), 3).is_err(), "{bad}");
        }
        assert!(limit(Some(0), 5).is_err() && limit(Some(-1), 5).is_err());
        assert_eq!(limit(Some(9), 5).unwrap(), 5);
    }
}
