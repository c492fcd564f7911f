//! Branches.
//! <https://docs.aws.amazon.com/codecommit/latest/APIReference/API_CreateBranch.html> and its siblings.

use super::{token, untoken};
use crate::error::Error;
use crate::git::objects::parse_id;
use crate::git::pack::NewObjects;
use crate::names;
use crate::service::CodeCommitService;
use crate::store::{self, Reference};
use crate::write::{Refused, Write};
use gix::objs::Kind;
use towpath_api::Call;
use towpath_api_codecommit::*;
use towpath_store::{Order, key};

const PAGE: usize = 1000;

pub async fn create_branch(
    service: &CodeCommitService,
    call: &Call,
    input: CreateBranchInput,
) -> Result<CreateBranchOutput, Error> {
    let (name, branch) = (input.repository_name.as_deref(), input.branch_name.as_deref());
    let (repository, branch) =
        service.repository_for_branch(call, "codecommit:CreateBranch", name, branch).await?;
    let text = input.commit_id.filter(|text| !text.is_empty()).ok_or(Error::CommitIdRequired)?;
    let id = parse_id(&text).ok_or_else(|| Error::InvalidCommitId(names::shown(&text)))?;
    let missing = text.clone();
    service
        .read(&repository, move |objects| match objects.header(id)? {
            Some((Kind::Commit, _)) => Ok(()),
            _ => Err(Error::CommitDoesNotExist(missing)),
        })
        .await?;
    let reference = store::branch_ref(&branch);
    if store::reference(&service.store, &repository.id, &reference).await?.is_some() {
        return Err(Error::BranchNameExists(branch));
    }
    let write = Write {
        name: reference.clone(),
        old: None,
        new: Some(id.to_string()),
        objects: NewObjects::default(),
    };
    let written = service.write(call, &repository.id, write).await;
    match service.unless_deleted(&repository, written).await? {
        Ok(()) => Ok(CreateBranchOutput {}),
        Err(Refused(reason)) => match store::reference(&service.store, &repository.id, &reference).await? {
            Some(_) => Err(Error::BranchNameExists(branch)),
            // `a/b` cannot be where `a` is.
            None => {
                let error = Error::BranchNameConflicts(branch, reason);
                service.unless_deleted(&repository, Err(error)).await
            }
        },
    }
}

pub async fn get_branch(
    service: &CodeCommitService,
    call: &Call,
    input: GetBranchInput,
) -> Result<GetBranchOutput, Error> {
    let name = input.repository_name.as_deref();
    let repository = service.repository(call, "codecommit:GetBranch", name, &[]).await?;
    let branch = names::branch_name(input.branch_name.as_deref())?;
    let found = store::reference(&service.store, &repository.id, &store::branch_ref(branch)).await?;
    let found = found.ok_or_else(|| Error::BranchDoesNotExist(branch.to_owned()))?;
    let branch = BranchInfo { branch_name: Some(branch.to_owned()), commit_id: Some(found.target.clone()) };
    Ok(GetBranchOutput { branch: Some(branch) })
}

pub async fn list_branches(
    service: &CodeCommitService,
    call: &Call,
    input: ListBranchesInput,
) -> Result<ListBranchesOutput, Error> {
    let name = input.repository_name.as_deref();
    let repository = service.repository(call, "codecommit:ListBranches", name, &[]).await?;
    let prefix = key(&[&repository.id, "refs/heads/"]);
    let after = untoken(input.next_token.as_deref())?.map(|branch| format!("{prefix}{branch}"));
    let page = service.store.list::<Reference>(&prefix, after.as_deref(), PAGE, Order::Ascending).await?;
    let next_token = page.next.as_deref().and_then(|key| key.strip_prefix(&prefix)).map(token);
    let short = |reference: &Reference| reference.name.strip_prefix("refs/heads/").map(str::to_owned);
    let branches = page.items.iter().filter_map(|reference| short(reference)).collect();
    Ok(ListBranchesOutput { branches: Some(branches), next_token })
}

pub async fn delete_branch(
    service: &CodeCommitService,
    call: &Call,
    input: DeleteBranchInput,
) -> Result<DeleteBranchOutput, Error> {
    let (name, branch) = (input.repository_name.as_deref(), input.branch_name.as_deref());
    let (repository, branch) =
        service.repository_for_branch(call, "codecommit:DeleteBranch", name, branch).await?;
    if repository.default_branch.as_deref() == Some(&branch) {
        return Err(Error::DefaultBranch(branch));
    }
    let reference = store::branch_ref(&branch);
    // A branch that moves while it is deleted is deleted where it then is.
    for _ in 0..10 {
        let Some(found) = store::reference(&service.store, &repository.id, &reference).await? else {
            return Ok(DeleteBranchOutput::default());
        };
        let old = found.target.clone();
        let write = Write {
            name: reference.clone(),
            old: Some(old.clone()),
            new: None,
            objects: NewObjects::default(),
        };
        if service.write(call, &repository.id, write).await?.is_ok() {
            let deleted = BranchInfo { branch_name: Some(branch), commit_id: Some(old) };
            return Ok(DeleteBranchOutput { deleted_branch: Some(deleted) });
        }
    }
    Err(Error::DefaultBranch(branch))
}
