//! Reading files and folders.
//! <https://docs.aws.amazon.com/codecommit/latest/APIReference/API_GetFile.html>,
//! <https://docs.aws.amazon.com/codecommit/latest/APIReference/API_GetFolder.html>,
//! <https://docs.aws.amazon.com/codecommit/latest/APIReference/API_GetBlob.html>.

use super::MAX_FILE_BYTES;
use crate::error::Error;
use crate::git::objects::{Entry, Mode, Objects, parse_id};
use crate::names::{self, shown};
use crate::service::CodeCommitService;
use gix::ObjectId;
use gix::objs::Kind;
use towpath_api::{Bytes, Call};
use towpath_api_codecommit::*;

/// A blob's content, when it is one and the API may return it.
fn content(objects: &Objects, id: ObjectId, name: &str, missing: Error) -> Result<Bytes, Error> {
    match objects.header(id)? {
        Some((Kind::Blob, size)) if size > MAX_FILE_BYTES => {
            return Err(Error::FileTooLarge(name.to_owned(), size));
        }
        Some((Kind::Blob, _)) => {}
        _ => return Err(missing),
    }
    objects.blob(id)?.map(Bytes::from).ok_or(missing)
}

pub async fn get_blob(
    service: &CodeCommitService,
    call: &Call,
    input: GetBlobInput,
) -> Result<GetBlobOutput, Error> {
    let name = input.repository_name.as_deref();
    let repository = service.repository(call, "codecommit:GetBlob", name, &[]).await?;
    let text = input.blob_id.filter(|text| !text.is_empty()).ok_or(Error::BlobIdRequired)?;
    let id = parse_id(&text).ok_or_else(|| Error::InvalidBlobId(shown(&text)))?;
    let work = move |objects: &Objects| content(objects, id, &text, Error::BlobIdDoesNotExist(text.clone()));
    Ok(GetBlobOutput { content: Some(service.read(&repository, work).await?) })
}

pub async fn get_file(
    service: &CodeCommitService,
    call: &Call,
    input: GetFileInput,
) -> Result<GetFileOutput, Error> {
    let name = input.repository_name.as_deref();
    let repository = service.repository(call, "codecommit:GetFile", name, &[]).await?;
    let path = names::file_path(input.file_path.as_deref())?.to_owned();
    let commit = service.commit_at(&repository, input.commit_specifier.as_deref()).await?;
    let work = move |objects: &Objects| {
        let missing = || Error::FileDoesNotExist(path.clone());
        let entry = objects.lookup(commit.tree, &path)?.ok_or_else(missing)?;
        let mode = entry.mode.api_name().ok_or_else(missing)?;
        let content = content(objects, entry.id, &path, missing())?;
        Ok(GetFileOutput {
            commit_id: Some(commit.id.to_string()),
            blob_id: Some(entry.id.to_string()),
            file_mode: Some(mode.to_owned()),
            file_size: i64::try_from(content.len()).ok(),
            file_content: Some(content),
            file_path: Some(path),
        })
    };
    service.read(&repository, work).await
}

pub async fn get_folder(
    service: &CodeCommitService,
    call: &Call,
    input: GetFolderInput,
) -> Result<GetFolderOutput, Error> {
    let name = input.repository_name.as_deref();
    let repository = service.repository(call, "codecommit:GetFolder", name, &[]).await?;
    let path = names::folder_path(input.folder_path.as_deref())?.to_owned();
    let commit = service.commit_at(&repository, input.commit_specifier.as_deref()).await?;
    let work = move |objects: &Objects| {
        let missing = || Error::FolderDoesNotExist(format!("/{path}"));
        let entry = objects.lookup(commit.tree, &path)?.filter(|entry| entry.mode == Mode::Tree);
        let tree = entry.ok_or_else(missing)?.id;
        let mut output = GetFolderOutput {
            commit_id: Some(commit.id.to_string()),
            folder_path: Some(path.clone()),
            tree_id: Some(tree.to_string()),
            sub_folders: Some(Vec::new()),
            files: Some(Vec::new()),
            symbolic_links: Some(Vec::new()),
            sub_modules: Some(Vec::new()),
        };
        for (name, entry) in objects.folder(tree)? {
            add(&mut output, &path, &String::from_utf8_lossy(&name), entry);
        }
        Ok(output)
    };
    service.read(&repository, work).await
}

/// Puts one entry of a folder into the list that is for its kind.
fn add(output: &mut GetFolderOutput, folder: &str, name: &str, Entry { mode, id }: Entry) {
    let absolute = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    let (absolute_path, relative_path, id) = (Some(absolute), Some(name.to_owned()), Some(id.to_string()));
    let file_mode = mode.api_name().map(str::to_owned);
    match mode {
        Mode::Tree => {
            let folder = Folder { absolute_path, relative_path, tree_id: id };
            output.sub_folders.get_or_insert_default().push(folder);
        }
        Mode::Submodule => {
            let module = SubModule { absolute_path, relative_path, commit_id: id };
            output.sub_modules.get_or_insert_default().push(module);
        }
        Mode::Symlink => {
            let link = SymbolicLink { absolute_path, relative_path, blob_id: id, file_mode };
            output.symbolic_links.get_or_insert_default().push(link);
        }
        Mode::Normal | Mode::Executable => {
            let file = File { absolute_path, relative_path, blob_id: id, file_mode };
            output.files.get_or_insert_default().push(file);
        }
    }
}
