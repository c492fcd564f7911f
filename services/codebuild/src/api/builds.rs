//! Reading, stopping and deleting builds.

use super::{name_of, project_arn, required};
use crate::state::{Input, Rejected};
use crate::store::{BUILDS_QUEUE, BuildByProject, BuildByTime, BuildDoc};
use crate::{CodeBuildService, view};
use towpath_api::{ApiError, Call};
use towpath_api_codebuild::*;
use towpath_store::{Document, Job, Txn};

fn project_of(build_id: &str) -> &str {
    build_id.rsplit_once(':').map_or(build_id, |(name, _)| name)
}

pub async fn get(
    service: &CodeBuildService,
    call: &Call,
    input: BatchGetBuildsInput,
) -> Result<BatchGetBuildsOutput, ApiError> {
    let mut builds = Vec::new();
    let mut missing = Vec::new();
    for asked in input.ids.unwrap_or_default() {
        let build_id = name_of(call, "build", &asked).unwrap_or_else(|| asked.clone());
        call.authorize("codebuild:BatchGetBuilds", &project_arn(call, project_of(&build_id)), &[])?;
        let build_key = BuildDoc::key_of(&call.account, &call.region, &build_id);
        match service.store.get::<BuildDoc>(&build_key).await? {
            Some(doc) => builds.push(view::build(&doc)),
            None => missing.push(asked),
        }
    }
    Ok(BatchGetBuildsOutput { builds: Some(builds), builds_not_found: Some(missing) })
}

/// Takes effect with the answer: the build is over, its worker is told and ends the sandbox. A build that is
/// over already, or whose results are being stored, stays as it is.
pub async fn stop(
    service: &CodeBuildService,
    call: &Call,
    input: StopBuildInput,
) -> Result<StopBuildOutput, ApiError> {
    let asked = required(input.id, "id")?;
    let build_id = name_of(call, "build", &asked).unwrap_or(asked);
    call.authorize("codebuild:StopBuild", &project_arn(call, project_of(&build_id)), &[])?;
    let doc = service.build(call, &build_id).await?;
    let stopped = service
        .advance(
            &doc.key(),
            |_| Input::Stop,
            |doc, txn| {
                // Wakes its worker, which finds it over.
                txn.enqueue(Job::new(BUILDS_QUEUE, doc.key(), service.store.now()));
            },
        )
        .await;
    let doc = match stopped {
        Ok(doc) => doc,
        Err(crate::AdvanceError::Rejected(Rejected::Finished | Rejected::OutOfTurn)) => {
            service.build(call, &build_id).await?
        }
        Err(crate::AdvanceError::Gone) => service.build(call, &build_id).await?,
        Err(crate::AdvanceError::Store(error)) => return Err(error.into()),
    };
    Ok(StopBuildOutput { build: Some(view::build(&doc)) })
}

pub async fn delete(
    service: &CodeBuildService,
    call: &Call,
    input: BatchDeleteBuildsInput,
) -> Result<BatchDeleteBuildsOutput, ApiError> {
    let mut deleted = Vec::new();
    let mut kept = Vec::new();
    for asked in input.ids.unwrap_or_default() {
        let build_id = name_of(call, "build", &asked).unwrap_or_else(|| asked.clone());
        call.authorize("codebuild:BatchDeleteBuilds", &project_arn(call, project_of(&build_id)), &[])?;
        let build_key = BuildDoc::key_of(&call.account, &call.region, &build_id);
        let refused = match service.store.get::<BuildDoc>(&build_key).await? {
            None => Some("BUILD_NOT_FOUND"),
            Some(doc) if doc.progress.status().is_none() => Some("BUILD_IN_PROGRESS"),
            Some(doc) => {
                let mut txn = Txn::new();
                txn.delete(&doc);
                if let Some(index) = service.store.get::<BuildByTime>(&doc.by_time().key()).await? {
                    txn.delete(&index);
                }
                if let Some(index) = service.store.get::<BuildByProject>(&doc.by_project().key()).await? {
                    txn.delete(&index);
                }
                service.store.commit(txn).await?;
                deleted.push(doc.arn());
                None
            }
        };
        if let Some(code) = refused {
            kept.push(BuildNotDeleted { id: Some(asked), status_code: Some(code.to_owned()) });
        }
    }
    Ok(BatchDeleteBuildsOutput { builds_deleted: Some(deleted), builds_not_deleted: Some(kept) })
}
