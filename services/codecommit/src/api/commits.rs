//! Commits.
//! <https://docs.aws.amazon.com/codecommit/latest/APIReference/API_GetCommit.html>,
//! <https://docs.aws.amazon.com/codecommit/latest/APIReference/API_BatchGetCommits.html>.

use crate::error::Error;
use crate::git::objects::{self, git_date, parse_id};
use crate::names::shown;
use crate::service::CodeCommitService;
use towpath_api::Call;
use towpath_api::sources::Signature;
use towpath_api_codecommit::*;

const MAX_BATCH: usize = 100;

fn user(signature: &Signature) -> UserInfo {
    UserInfo {
        name: Some(signature.name.clone()),
        email: Some(signature.email.clone()),
        date: Some(git_date(signature)),
    }
}

fn render(commit: objects::Commit) -> Commit {
    Commit {
        commit_id: Some(commit.id.to_string()),
        tree_id: Some(commit.tree.to_string()),
        parents: Some(commit.parents.iter().map(ToString::to_string).collect()),
        message: Some(commit.message.clone()),
        author: Some(user(&commit.author)),
        committer: Some(user(&commit.committer)),
        additional_data: Some(String::new()),
    }
}

pub async fn get_commit(
    service: &CodeCommitService,
    call: &Call,
    input: GetCommitInput,
) -> Result<GetCommitOutput, Error> {
    let name = input.repository_name.as_deref();
    let repository = service.repository(call, "codecommit:GetCommit", name, &[]).await?;
    let text = input.commit_id.filter(|text| !text.is_empty()).ok_or(Error::CommitIdRequired)?;
    let id = parse_id(&text).ok_or_else(|| Error::InvalidCommitId(shown(&text)))?;
    let work = move |objects: &objects::Objects| objects.commit(id)?.ok_or(Error::CommitIdDoesNotExist(text));
    let commit = service.read(&repository, work).await?;
    Ok(GetCommitOutput { commit: Some(render(commit)) })
}

pub async fn batch_get_commits(
    service: &CodeCommitService,
    call: &Call,
    input: BatchGetCommitsInput,
) -> Result<BatchGetCommitsOutput, Error> {
    let name = input.repository_name.as_deref();
    let repository = service.repository(call, "codecommit:BatchGetCommits", name, &[]).await?;
    let ids = input.commit_ids.filter(|ids| !ids.is_empty()).ok_or(Error::CommitIdsRequired)?;
    if ids.len() > MAX_BATCH {
        return Err(Error::TooManyCommitIds(MAX_BATCH));
    }
    let work = move |objects: &objects::Objects| {
        let (mut commits, mut errors) = (Vec::new(), Vec::new());
        for text in ids {
            let found = match parse_id(&text) {
                Some(id) => objects.commit(id)?,
                None => None,
            };
            match found {
                Some(commit) => commits.push(render(commit)),
                None => errors.push(BatchGetCommitsError {
                    error_code: Some("CommitIdDoesNotExistException".into()),
                    error_message: Some(Error::CommitIdDoesNotExist(shown(&text)).to_string()),
                    commit_id: Some(text),
                }),
            }
        }
        Ok(BatchGetCommitsOutput { commits: Some(commits), errors: Some(errors) })
    };
    service.read(&repository, work).await
}
