//! What differs between two commits.
//! <https://docs.aws.amazon.com/codecommit/latest/APIReference/API_GetDifferences.html>.

use super::{limit, page};
use crate::error::Error;
use crate::git::objects::{Entry, Mode, Objects};
use crate::git::tree;
use crate::names;
use crate::service::CodeCommitService;
use gix::ObjectId;
use towpath_api::Call;
use towpath_api_codecommit::*;

const PAGE: usize = 400;

pub async fn get_differences(
    service: &CodeCommitService,
    call: &Call,
    input: GetDifferencesInput,
) -> Result<GetDifferencesOutput, Error> {
    let name = input.repository_name.as_deref();
    let repository = service.repository(call, "codecommit:GetDifferences", name, &[]).await?;
    let limit = limit(input.max_results, PAGE)?;
    let path = |text: Option<String>| match text {
        Some(text) => names::folder_path(Some(&text)).map(|path| Some(path.to_owned())),
        None => Ok(None),
    };
    let (before_path, after_path) = (path(input.before_path)?, path(input.after_path)?);
    let specifier =
        input.after_commit_specifier.filter(|text| !text.is_empty()).ok_or(Error::CommitRequired)?;
    let after = service.commit_at(&repository, Some(&specifier)).await?;
    let before = match input.before_commit_specifier.filter(|text| !text.is_empty()) {
        Some(specifier) => Some(service.commit_at(&repository, Some(&specifier)).await?),
        None => None,
    };
    let next_token = input.next_token;
    let work = move |objects: &Objects| {
        let old = before.map(|commit| at(objects, commit.tree, before_path.as_deref())).transpose()?;
        let new = at(objects, after.tree, after_path.as_deref())?;
        let (old_base, new_base) = (before_path.unwrap_or_default(), after_path.unwrap_or_default());
        let found = tree::compare(objects, "", old, Some(new))?;
        let found = found.into_iter().map(|found| (found.path.clone(), found)).collect();
        let (found, next_token) = page(found, false, next_token.as_deref(), limit)?;
        let differences = found.into_iter().map(|found| render(found, &old_base, &new_base)).collect();
        Ok(GetDifferencesOutput { differences: Some(differences), next_token })
    };
    service.read(&repository, work).await
}

/// What is at a path; a path that was asked for must be there.
fn at(objects: &Objects, tree: ObjectId, path: Option<&str>) -> Result<Entry, Error> {
    let Some(path) = path else { return Ok(Entry { mode: Mode::Tree, id: tree }) };
    objects.lookup(tree, path)?.ok_or_else(|| Error::PathDoesNotExist(path.to_owned()))
}

fn render(found: tree::Difference, old_base: &str, new_base: &str) -> Difference {
    let blob = |entry: Entry, base: &str| BlobMetadata {
        blob_id: Some(entry.id.to_string()),
        path: Some(
            [base, &found.path].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"),
        ),
        mode: Some(entry.mode.octal().to_owned()),
    };
    let change = match (found.before, found.after) {
        (None, _) => "A",
        (_, None) => "D",
        _ => "M",
    };
    Difference {
        before_blob: found.before.map(|entry| blob(entry, old_base)),
        after_blob: found.after.map(|entry| blob(entry, new_base)),
        change_type: Some(change.to_owned()),
    }
}
