//! Repositories.
//! <https://docs.aws.amazon.com/codecommit/latest/APIReference/API_CreateRepository.html> and its
//! siblings.

use super::{page, tags};
use crate::error::Error;
use crate::git::repository;
use crate::names;
use crate::reconcile::blocking;
use crate::service::{CodeCommitService, authorize};
use crate::shared::Packs;
use crate::store::{self, Name, Reference, Repository};
use towpath_api::{ApiError, Call, id};
use towpath_api_codecommit::*;
use towpath_store::{Change, Document, StoreError, Txn, Versioned};

const MAX_REPOSITORIES: usize = 1000;
const MAX_BATCH: usize = 100;
const PAGE: usize = 1000;
/// References that one transaction forgets.
const REFERENCES_AT_ONCE: usize = 5000;
/// Rounds against others who change the repository at the same time.
const MAX_ROUNDS: usize = 50;
const MAX_DESCRIPTION: usize = 1000;

fn description(text: Option<String>) -> Result<Option<String>, Error> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let control = |character: char| character.is_control() && !matches!(character, '\n' | '\r' | '\t');
    if text.chars().count() > MAX_DESCRIPTION || text.chars().any(control) {
        return Err(Error::InvalidDescription);
    }
    Ok(Some(text))
}

fn metadata(service: &CodeCommitService, repository: &Repository) -> RepositoryMetadata {
    RepositoryMetadata {
        account_id: Some(repository.account.clone()),
        repository_id: Some(repository.id.clone()),
        repository_name: Some(repository.name.clone()),
        repository_description: repository.description.clone(),
        default_branch: repository.default_branch.clone(),
        last_modified_date: Some(repository.modified_at),
        creation_date: Some(repository.created_at),
        clone_url_http: Some(service.clone_url(&repository.name)),
        arn: Some(repository.arn()),
        ..RepositoryMetadata::default()
    }
}

pub async fn create_repository(
    service: &CodeCommitService,
    call: &Call,
    input: CreateRepositoryInput,
) -> Result<CreateRepositoryOutput, Error> {
    let name = names::repository_name(input.repository_name.as_deref())?;
    let wanted_tags = input.tags.unwrap_or_default();
    let context = tags::request_context(&wanted_tags);
    let context: Vec<(&str, &str)> = context.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    authorize(call, "codecommit:CreateRepository", name, None, &context)?;
    if input.kms_key_id.is_some() {
        return Err(ApiError::not_implemented("codecommit:CreateRepository with kmsKeyId").into());
    }
    let description = description(input.repository_description)?;
    tags::check(&wanted_tags, 0)?;
    let count = store::names(&service.store, &call.account, &call.region).await?.len();
    if count >= MAX_REPOSITORIES {
        return Err(Error::RepositoryLimit(count));
    }
    let now = service.store.now();
    let repository = Repository {
        id: id::uuid(),
        account: call.account.clone(),
        region: call.region.clone(),
        name: name.to_owned(),
        description,
        default_branch: None,
        created_at: now,
        modified_at: now,
        tags: wanted_tags,
    };
    let mut txn = Txn::new();
    txn.create(&name_of(&repository));
    txn.create(&repository);
    match service.shared {
        Some(_) => drop(txn.create(&Packs::new(&repository.id))),
        None => {
            let (disk, folder) = (service.disk.clone(), repository.id.clone());
            blocking(move || disk.create(&folder)).await?;
        }
    }
    if let Err(error) = service.store.commit(txn).await {
        service.disk.discard(&repository.id)?;
        return Err(taken(error, name));
    }
    Ok(CreateRepositoryOutput { repository_metadata: Some(metadata(service, &repository)) })
}

fn name_of(repository: &Repository) -> Name {
    Name {
        account: repository.account.clone(),
        region: repository.region.clone(),
        name: repository.name.clone(),
        repository_id: repository.id.clone(),
    }
}

fn taken(error: StoreError, name: &str) -> Error {
    if error.is_conflict() { Error::RepositoryNameExists(name.to_owned()) } else { error.into() }
}

pub async fn get_repository(
    service: &CodeCommitService,
    call: &Call,
    input: GetRepositoryInput,
) -> Result<GetRepositoryOutput, Error> {
    let name = input.repository_name.as_deref();
    let found = service.repository(call, "codecommit:GetRepository", name, &[]).await?;
    Ok(GetRepositoryOutput { repository_metadata: Some(metadata(service, &found)) })
}

pub async fn batch_get_repositories(
    service: &CodeCommitService,
    call: &Call,
    input: BatchGetRepositoriesInput,
) -> Result<BatchGetRepositoriesOutput, Error> {
    let wanted =
        input.repository_names.filter(|names| !names.is_empty()).ok_or(Error::RepositoryNamesRequired)?;
    if wanted.len() > MAX_BATCH {
        return Err(Error::TooManyRepositoryNames(MAX_BATCH));
    }
    let (mut repositories, mut missing, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for name in wanted {
        match service.repository(call, "codecommit:BatchGetRepositories", Some(&name), &[]).await {
            Ok(found) => repositories.push(metadata(service, &found)),
            Err(error @ Error::RepositoryDoesNotExist(_)) => {
                failed.push(BatchGetRepositoriesError {
                    error_code: Some("RepositoryDoesNotExistException".into()),
                    error_message: Some(error.to_string()),
                    repository_name: Some(name.clone()),
                    repository_id: None,
                });
                missing.push(name);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(BatchGetRepositoriesOutput {
        repositories: Some(repositories),
        repositories_not_found: Some(missing),
        errors: Some(failed),
    })
}

pub async fn list_repositories(
    service: &CodeCommitService,
    call: &Call,
    input: ListRepositoriesInput,
) -> Result<ListRepositoriesOutput, Error> {
    call.authorize("codecommit:ListRepositories", "*", &[])?;
    let by_date = match input.sort_by.as_deref() {
        None | Some("repositoryName") => false,
        Some("lastModifiedDate") => true,
        Some(other) => return Err(Error::InvalidSortBy(names::shown(other))),
    };
    let descending = match input.order.as_deref() {
        None | Some("ascending") => false,
        Some("descending") => true,
        Some(other) => return Err(Error::InvalidOrder(names::shown(other))),
    };
    let mut found = Vec::new();
    for name in store::names(&service.store, &call.account, &call.region).await? {
        if !by_date {
            found.push((name.name.clone(), name));
        } else if let Some(repository) = store::by_id(&service.store, &name.repository_id).await? {
            found.push((format!("{:020} {}", repository.modified_at.as_millis(), name.name), name));
        }
    }
    let (found, next_token) = page(found, descending, input.next_token.as_deref(), PAGE)?;
    let pair = |name: Name| RepositoryNameIdPair {
        repository_name: Some(name.name),
        repository_id: Some(name.repository_id),
    };
    Ok(ListRepositoriesOutput { repositories: Some(found.into_iter().map(pair).collect()), next_token })
}

pub async fn update_repository_name(
    service: &CodeCommitService,
    call: &Call,
    input: UpdateRepositoryNameInput,
) -> Result<UpdateRepositoryNameOutput, Error> {
    let old_name = input.old_name.as_deref();
    let old = service.repository(call, "codecommit:UpdateRepositoryName", old_name, &[]).await?;
    let new_name = names::repository_name(input.new_name.as_deref())?;
    // Who renames takes the new name too: a policy for it must allow that.
    authorize(call, "codecommit:UpdateRepositoryName", new_name, Some(&old), &[])?;
    let new = Repository { name: new_name.to_owned(), modified_at: service.store.now(), ..old.doc.clone() };
    let Some(old_index) = service.store.get::<Name>(&name_of(&old).key()).await? else {
        return Err(Error::RepositoryDoesNotExist(old.name.clone()));
    };
    if new.name == old.name {
        return Err(Error::RepositoryNameExists(new.name));
    }
    let mut txn = Txn::new();
    txn.delete(&old_index);
    txn.create(&name_of(&new));
    txn.replace(&old, &new);
    service.store.commit(txn).await.map_err(|error| taken(error, new_name))?;
    Ok(UpdateRepositoryNameOutput {})
}

pub async fn update_repository_description(
    service: &CodeCommitService,
    call: &Call,
    input: UpdateRepositoryDescriptionInput,
) -> Result<UpdateRepositoryDescriptionOutput, Error> {
    let name = input.repository_name.as_deref();
    let found = service.repository(call, "codecommit:UpdateRepositoryDescription", name, &[]).await?;
    let description = description(input.repository_description)?;
    update(service, &found, |repository| repository.description = description.clone()).await?;
    Ok(UpdateRepositoryDescriptionOutput {})
}

pub async fn update_default_branch(
    service: &CodeCommitService,
    call: &Call,
    input: UpdateDefaultBranchInput,
) -> Result<UpdateDefaultBranchOutput, Error> {
    let name = input.repository_name.as_deref();
    let found = service.repository(call, "codecommit:UpdateDefaultBranch", name, &[]).await?;
    let branch = names::branch_name(input.default_branch_name.as_deref())?;
    let reference = store::reference(&service.store, &found.id, &store::branch_ref(branch)).await?;
    if reference.is_none() {
        return Err(Error::BranchDoesNotExist(branch.to_owned()));
    }
    update(service, &found, |repository| repository.default_branch = Some(branch.to_owned())).await?;
    // A node's copy points there before it is next read.
    if service.shared.is_none() {
        let (path, branch) = (service.disk.path(&found.id), branch.to_owned());
        blocking(move || repository::set_head(&path, &branch)).await?;
    }
    Ok(UpdateDefaultBranchOutput {})
}

/// Changes a repository's document, whoever else changes it too.
pub(super) async fn update(
    service: &CodeCommitService,
    found: &Repository,
    change: impl Fn(&mut Repository),
) -> Result<(), Error> {
    let now = service.store.now();
    service
        .store
        .update::<Repository, (), Error>(&found.id, |current, _| {
            let mut next =
                current.cloned().ok_or_else(|| Error::RepositoryDoesNotExist(found.name.clone()))?;
            change(&mut next);
            next.modified_at = now;
            Ok((Change::Put(next), ()))
        })
        .await
}

pub async fn delete_repository(
    service: &CodeCommitService,
    call: &Call,
    input: DeleteRepositoryInput,
) -> Result<DeleteRepositoryOutput, Error> {
    let name = input.repository_name.as_deref();
    let found = match service.repository(call, "codecommit:DeleteRepository", name, &[]).await {
        Err(Error::RepositoryDoesNotExist(_)) => return Ok(DeleteRepositoryOutput::default()),
        found => found?,
    };
    for _ in 0..MAX_ROUNDS {
        let mut txn = Txn::new();
        let index = service.store.get::<Name>(&name_of(&found).key()).await?;
        let (Some(index), Some(current)) = (index, store::by_id(&service.store, &found.id).await?) else {
            return Ok(DeleteRepositoryOutput::default());
        };
        txn.delete(&index);
        txn.delete(&current);
        if let Some(packs) = service.store.get::<Packs>(&found.id).await? {
            let (generation, deleted_at) = (packs.generation + 1, Some(service.store.now()));
            txn.replace(&packs, &Packs { generation, deleted_at, ..packs.doc.clone() });
        }
        let mut references = store::references(&service.store, &found.id).await?.into_values();
        for reference in references.by_ref().take(REFERENCES_AT_ONCE) {
            txn.delete(&reference);
        }
        match service.store.commit(txn).await {
            Err(error) if error.is_conflict() => continue,
            committed => committed?,
        }
        // Nobody finds the folder any more; a crash here leaves it to the next start.
        service.disk.discard(&found.id)?;
        forget(service, references.collect()).await?;
        return Ok(DeleteRepositoryOutput { repository_id: Some(found.id.clone()) });
    }
    Err(StoreError::Conflict { kind: Repository::KIND.into(), key: found.id.clone() }.into())
}

async fn forget(service: &CodeCommitService, references: Vec<Versioned<Reference>>) -> Result<(), Error> {
    for part in references.chunks(REFERENCES_AT_ONCE) {
        let mut txn = Txn::new();
        for reference in part {
            txn.delete(reference);
        }
        service.store.commit(txn).await?;
    }
    Ok(())
}
