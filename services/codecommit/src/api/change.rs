//! Changing files: PutFile, DeleteFile, CreateCommit. Each makes one commit on top of a branch.
//! <https://docs.aws.amazon.com/codecommit/latest/APIReference/API_PutFile.html>,
//! <https://docs.aws.amazon.com/codecommit/latest/APIReference/API_DeleteFile.html>,
//! <https://docs.aws.amazon.com/codecommit/latest/APIReference/API_CreateCommit.html>.

use super::MAX_FILE_BYTES;
use crate::commit::{self, Author, Change, Content, Made, Put, Touched};
use crate::error::Error;
use crate::git::objects::{Mode, parse_id};
use crate::names::{self, shown};
use crate::service::CodeCommitService;
use crate::store::{self, Repository};
use crate::write::{Refused, Write};
use std::collections::BTreeSet;
use towpath_api::{Bytes, Call, Caller};
use towpath_api_codecommit::*;
use towpath_store::{Order, key};

const MAX_NAME: usize = 1024;
const MAX_EMAIL: usize = 256;
const MAX_MESSAGE_BYTES: usize = 20 << 20;
/// Files in one CreateCommit.
const MAX_ENTRIES: usize = 100;

fn author(call: &Call, name: Option<String>, email: Option<String>) -> Result<Author, Error> {
    let name = name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| match &call.caller {
        Caller::Root { .. } => "root".to_owned(),
        Caller::User { name, .. } => name.clone(),
        Caller::Session { session_name, .. } => session_name.clone(),
    });
    if name.chars().count() > MAX_NAME {
        return Err(Error::NameTooLong);
    }
    let email = email.unwrap_or_default();
    if email.chars().count() > MAX_EMAIL || email.contains(['<', '>']) || email.chars().any(char::is_control)
    {
        return Err(Error::InvalidEmail);
    }
    // Git cannot hold these in a name.
    let plain: String = name.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>')).collect();
    Ok(Author { name: plain.trim().to_owned(), email: email.trim().to_owned() })
}

fn message(text: Option<String>, default: impl FnOnce() -> String) -> Result<String, Error> {
    let text = text.filter(|text| !text.is_empty()).unwrap_or_else(default);
    if text.len() > MAX_MESSAGE_BYTES {
        return Err(Error::MessageTooLong);
    }
    Ok(text.replace('\0', ""))
}

fn mode(name: Option<&str>) -> Result<Option<Mode>, Error> {
    name.map(|name| Mode::from_api_name(name).ok_or_else(|| Error::InvalidFileMode(shown(name)))).transpose()
}

fn file_content(path: &str, content: Bytes) -> Result<Bytes, Error> {
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::FileContentTooLarge(path.to_owned()));
    }
    Ok(content)
}

/// The tip that a change goes on top of; none for the first commit of an empty repository.
async fn parent(
    service: &CodeCommitService,
    repository: &Repository,
    branch: &str,
    given: Option<&str>,
) -> Result<Option<String>, Error> {
    let given = given.filter(|id| !id.is_empty());
    let found = store::reference(&service.store, &repository.id, &store::branch_ref(branch)).await?;
    let Some(tip) = found.map(|reference| reference.target.clone()) else {
        let tag = format!("refs/tags/{branch}");
        if store::reference(&service.store, &repository.id, &tag).await?.is_some() {
            return Err(Error::BranchNameIsTagName(branch.to_owned()));
        }
        let prefix = key(&[&repository.id, "refs/heads/"]);
        let any = service.store.list::<store::Reference>(&prefix, None, 1, Order::Ascending).await?;
        return match (any.items.is_empty(), given) {
            (false, _) => Err(Error::BranchDoesNotExist(branch.to_owned())),
            (true, Some(id)) => Err(Error::ParentDoesNotExist(shown(id))),
            (true, None) => Ok(None),
        };
    };
    let given = given.ok_or_else(|| Error::ParentRequired(branch.to_owned()))?;
    let id = parse_id(given).ok_or_else(|| Error::InvalidParentId(shown(given)))?;
    if Some(id) == parse_id(&tip) {
        return Ok(Some(tip));
    }
    let known = service.read(repository, move |objects| Ok(objects.commit(id)?)).await?;
    match known {
        None => Err(Error::ParentDoesNotExist(given.to_owned())),
        Some(_) => Err(Error::ParentOutdated(given.to_owned(), branch.to_owned(), tip)),
    }
}

/// Makes the commit and moves the branch to it.
async fn make(
    service: &CodeCommitService,
    call: &Call,
    repository: &Repository,
    branch: String,
    change: Change,
) -> Result<Made, Error> {
    let parent = change.parent.clone();
    let (made, objects) = service.read(repository, move |objects| commit::make(objects, change)).await?;
    let write = Write {
        name: store::branch_ref(&branch),
        old: parent.clone(),
        new: Some(made.commit_id.clone()),
        objects,
    };
    let name = write.name.clone();
    let written = service.write(call, &repository.id, write).await;
    match service.unless_deleted(repository, written).await? {
        Ok(()) => Ok(made),
        Err(Refused(reason)) => {
            let tip = store::reference(&service.store, &repository.id, &name).await?;
            let error = match (parent, tip.map(|tip| tip.target.clone())) {
                (Some(parent), Some(tip)) if parent != tip => Error::ParentOutdated(parent, branch, tip),
                (None, Some(_)) => Error::ParentRequired(branch),
                (Some(_), None) => Error::BranchDoesNotExist(branch),
                _ => Error::BranchNameConflicts(branch, reason),
            };
            service.unless_deleted(repository, Err(error)).await
        }
    }
}

pub async fn put_file(
    service: &CodeCommitService,
    call: &Call,
    input: PutFileInput,
) -> Result<PutFileOutput, Error> {
    let (name, branch) = (input.repository_name.as_deref(), input.branch_name.as_deref());
    let (repository, branch) =
        service.repository_for_branch(call, "codecommit:PutFile", name, branch).await?;
    let path = names::file_path(input.file_path.as_deref())?.to_owned();
    let content = file_content(&path, input.file_content.ok_or(Error::FileContentRequired)?)?;
    let mode = mode(input.file_mode.as_deref())?.unwrap_or(Mode::Normal);
    let author = author(call, input.name, input.email)?;
    let message = message(input.commit_message, || format!("Put {path}"))?;
    let parent = parent(service, &repository, &branch, input.parent_commit_id.as_deref()).await?;
    let put = Put { path: path.clone(), mode: Some(mode), content: Content::Bytes(content) };
    let change = Change { puts: vec![put], ..Change::new(parent, author, message, service.store.now()) };
    let made = make(service, call, &repository, branch, change).await.map_err(|error| match error {
        Error::NoChange => Error::SameFileContent(path),
        other => other,
    })?;
    let blob = made.added.into_iter().chain(made.updated).next().map(|touched| touched.entry.id.to_string());
    Ok(PutFileOutput { commit_id: Some(made.commit_id), tree_id: Some(made.tree_id), blob_id: blob })
}

pub async fn delete_file(
    service: &CodeCommitService,
    call: &Call,
    input: DeleteFileInput,
) -> Result<DeleteFileOutput, Error> {
    let (name, branch) = (input.repository_name.as_deref(), input.branch_name.as_deref());
    let (repository, branch) =
        service.repository_for_branch(call, "codecommit:DeleteFile", name, branch).await?;
    let path = names::file_path(input.file_path.as_deref())?.to_owned();
    let author = author(call, input.name, input.email)?;
    let message = message(input.commit_message, || format!("Delete {path}"))?;
    let parent = parent(service, &repository, &branch, input.parent_commit_id.as_deref()).await?;
    let parent = parent.ok_or_else(|| Error::BranchDoesNotExist(branch.clone()))?;
    let change = Change {
        deletes: vec![path.clone()],
        keep_empty_folders: input.keep_empty_folders.unwrap_or(false),
        ..Change::new(Some(parent), author, message, service.store.now())
    };
    let made = make(service, call, &repository, branch, change).await?;
    Ok(DeleteFileOutput {
        commit_id: Some(made.commit_id),
        tree_id: Some(made.tree_id),
        blob_id: made.deleted.first().map(|touched| touched.entry.id.to_string()),
        file_path: Some(path),
    })
}

fn put(entry: PutFileEntry) -> Result<Put, Error> {
    let path = names::file_path(entry.file_path.as_deref())?.to_owned();
    let mode = mode(entry.file_mode.as_deref())?;
    let content = match (entry.file_content, entry.source_file) {
        (Some(_), Some(_)) => return Err(Error::ContentAndSource(path)),
        (None, None) => return Err(Error::ContentOrSource(path)),
        (Some(content), None) => Content::Bytes(file_content(&path, content)?),
        (None, Some(source)) => Content::Source {
            path: names::file_path(source.file_path.as_deref())?.to_owned(),
            is_move: source.is_move.unwrap_or(false),
        },
    };
    Ok(Put { path, mode, content })
}

/// Every path once, and no source that the same request changes.
fn check_paths(change: &Change) -> Result<(), Error> {
    let mut puts = BTreeSet::new();
    for put in &change.puts {
        if !puts.insert(put.path.as_str()) {
            return Err(Error::PutFileConflict(put.path.clone()));
        }
    }
    let mut all = puts;
    for path in change.deletes.iter().chain(change.modes.iter().map(|(path, _)| path)) {
        if !all.insert(path) {
            return Err(Error::SamePath(path.clone()));
        }
    }
    let mut moved = BTreeSet::new();
    for put in &change.puts {
        let Content::Source { path, is_move } = &put.content else { continue };
        if all.contains(path.as_str()) || (*is_move && !moved.insert(path)) {
            return Err(Error::RestrictedSource(path.clone()));
        }
    }
    Ok(())
}

fn touched(list: Vec<Touched>) -> Option<Vec<FileMetadata>> {
    let render = |touched: Touched| FileMetadata {
        absolute_path: Some(touched.path),
        blob_id: Some(touched.entry.id.to_string()),
        file_mode: touched.entry.mode.api_name().map(str::to_owned),
    };
    Some(list.into_iter().map(render).collect())
}

pub async fn create_commit(
    service: &CodeCommitService,
    call: &Call,
    input: CreateCommitInput,
) -> Result<CreateCommitOutput, Error> {
    let (name, branch) = (input.repository_name.as_deref(), input.branch_name.as_deref());
    let (repository, branch) =
        service.repository_for_branch(call, "codecommit:CreateCommit", name, branch).await?;
    let puts = input.put_files.unwrap_or_default();
    let deletes = input.delete_files.unwrap_or_default();
    let modes = input.set_file_modes.unwrap_or_default();
    let count = puts.len() + deletes.len() + modes.len();
    if count == 0 {
        return Err(Error::FileEntryRequired);
    }
    if count > MAX_ENTRIES {
        return Err(Error::TooManyFileEntries(MAX_ENTRIES));
    }
    let path = |text: Option<String>| names::file_path(text.as_deref()).map(str::to_owned);
    let set_mode = |entry: SetFileModeEntry| {
        let path = path(entry.file_path)?;
        let mode = mode(entry.file_mode.as_deref())?.ok_or_else(|| Error::FileModeRequired(path.clone()))?;
        Ok::<_, Error>((path, mode))
    };
    let author = author(call, input.author_name, input.email)?;
    let message = message(input.commit_message, || format!("Change {count} files"))?;
    let mut change = Change {
        puts: puts.into_iter().map(put).collect::<Result<_, _>>()?,
        deletes: deletes.into_iter().map(|entry| path(entry.file_path)).collect::<Result<_, _>>()?,
        modes: modes.into_iter().map(set_mode).collect::<Result<_, _>>()?,
        keep_empty_folders: input.keep_empty_folders.unwrap_or(false),
        ..Change::new(None, author, message, service.store.now())
    };
    check_paths(&change)?;
    change.parent = parent(service, &repository, &branch, input.parent_commit_id.as_deref()).await?;
    let made = make(service, call, &repository, branch, change).await?;
    Ok(CreateCommitOutput {
        commit_id: Some(made.commit_id),
        tree_id: Some(made.tree_id),
        files_added: touched(made.added),
        files_updated: touched(made.updated),
        files_deleted: touched(made.deleted),
    })
}
