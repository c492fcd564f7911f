//! Listings of executions, newest first, over index documents: their cost is the page's, not the
//! history's.

use super::{page_size, pipeline_id};
use crate::Pipelines;
use crate::error::Fault;
use crate::render;
use crate::store::*;
use towpath_api::{ApiError, Call, id};
use towpath_api_codepipeline::*;
use towpath_store::{Order, key};

/// A token is the last key of the page, without the listing's prefix.
pub fn write_token(next: Option<String>, prefix: &str) -> Option<String> {
    let next = next?;
    Some(id::base64_encode(next.strip_prefix(prefix)?.as_bytes()))
}

pub fn read_token(token: Option<&str>, prefix: &str) -> Result<Option<String>, ApiError> {
    let Some(token) = token else { return Ok(None) };
    let text = id::base64_decode(token).and_then(|bytes| String::from_utf8(bytes).ok());
    match text {
        Some(text) if !text.is_empty() && !text.contains('\0') => Ok(Some(format!("{prefix}{text}"))),
        _ => Err(errors::invalid_next_token_exception("The next token was specified in an invalid format.")),
    }
}

pub async fn list_pipeline_executions(
    service: &Pipelines,
    call: &Call,
    input: ListPipelineExecutionsInput,
) -> Result<ListPipelineExecutionsOutput, Fault> {
    let id = pipeline_id(call, input.pipeline_name);
    call.authorize("codepipeline:ListPipelineExecutions", &id.arn(), &[])?;
    let pipeline = service.flow.pipeline(&id).await?;
    let limit = page_size(input.max_results, 100);
    let stage =
        input.filter.and_then(|filter| filter.succeeded_in_stage).and_then(|filter| filter.stage_name);
    let store = &service.flow.store;
    let token = input.next_token.as_deref();
    let (ids, next_token) = match stage {
        None => {
            let prefix = key(&[&pipeline.generation, ""]);
            let after = read_token(token, &prefix)?;
            let page =
                store.list::<ExecutionIndex>(&prefix, after.as_deref(), limit, Order::Descending).await?;
            let ids: Vec<String> = page.items.into_iter().map(|index| index.into_doc().execution).collect();
            (ids, write_token(page.next, &prefix))
        }
        Some(stage) => {
            let prefix = SucceededIndex::prefix(&pipeline.generation, pipeline.version, &stage);
            let after = read_token(token, &prefix)?;
            let page =
                store.list::<SucceededIndex>(&prefix, after.as_deref(), limit, Order::Descending).await?;
            let ids: Vec<String> = page.items.into_iter().map(|index| index.into_doc().execution).collect();
            (ids, write_token(page.next, &prefix))
        }
    };
    let mut summaries = Vec::with_capacity(ids.len());
    for execution in ids {
        match service.flow.execution(&pipeline, &execution).await {
            Ok(found) => summaries.push(render::summary(&found.execution)),
            // Forgotten since its entry was read.
            Err(Fault::NoExecution { .. }) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(ListPipelineExecutionsOutput { pipeline_execution_summaries: Some(summaries), next_token })
}

pub async fn list_action_executions(
    service: &Pipelines,
    call: &Call,
    input: ListActionExecutionsInput,
) -> Result<ListActionExecutionsOutput, Fault> {
    let id = pipeline_id(call, input.pipeline_name);
    call.authorize("codepipeline:ListActionExecutions", &id.arn(), &[])?;
    let pipeline = service.flow.pipeline(&id).await?;
    let limit = page_size(input.max_results, 100);
    let token = input.next_token.as_deref();
    let filter = input.filter.unwrap_or_default();
    let latest = filter.latest_in_pipeline_execution;
    let (ids, next_token) = match (filter.pipeline_execution_id, latest) {
        (Some(_), Some(_)) => {
            return Err(ApiError::validation(
                "Only one of pipelineExecutionId and latestInPipelineExecution can be given.",
            )
            .into());
        }
        (None, Some(latest)) => {
            let execution = latest.pipeline_execution_id.unwrap_or_default();
            latest_actions(service, &pipeline, &execution, token, limit).await?
        }
        (execution, None) => {
            if let Some(execution) = &execution {
                service.flow.execution(&pipeline, execution).await?;
            }
            let of = execution.unwrap_or_else(|| "all".into());
            let prefix = key(&[&pipeline.generation, &of, ""]);
            let after = read_token(token, &prefix)?;
            let store = &service.flow.store;
            let page = store.list::<ActionIndex>(&prefix, after.as_deref(), limit, Order::Descending).await?;
            let ids: Vec<String> = page.items.into_iter().map(|index| index.into_doc().action_id).collect();
            (ids, write_token(page.next, &prefix))
        }
    };
    let mut details = Vec::with_capacity(ids.len());
    for action in ids {
        let key = ActionDoc::key_of(&pipeline.generation, &action);
        let Some(doc) = service.flow.store.get::<ActionDoc>(&key).await? else { continue };
        let structure = service.flow.structure(&doc.generation, doc.version).await?;
        let declared = structure.stage(&doc.stage).and_then(|stage| stage.action(&doc.action));
        details.push(render::action_detail(&doc, declared));
    }
    Ok(ListActionExecutionsOutput { action_execution_details: Some(details), next_token })
}

/// The latest run of every action of one execution, newest first. At most 500; the token is the last one's stage
/// and action, for more begin while pages are read.
async fn latest_actions(
    service: &Pipelines,
    pipeline: &PipelineDoc,
    execution: &str,
    token: Option<&str>,
    limit: usize,
) -> Result<(Vec<String>, Option<String>), Fault> {
    let found = service.flow.execution(pipeline, execution).await?.execution;
    let structure = service.flow.structure(&pipeline.generation, found.version).await?;
    let mut runs = Vec::new();
    for stage in structure.stages.iter().rev() {
        let Some(run) = found.stages.get(&stage.name) else { continue };
        let mut actions: Vec<_> = stage.actions.iter().collect();
        actions.sort_by_key(|action| std::cmp::Reverse(action.run_order));
        let ran = |name: &String| Some((key(&[&stage.name, name]), run.actions.get(name)?.id.clone()));
        runs.extend(actions.iter().filter_map(|action| ran(&action.name)));
    }
    let from = match read_token(token, "")? {
        None => 0,
        Some(last) => {
            let position = runs.iter().position(|(place, _)| *place == last).ok_or_else(|| {
                errors::invalid_next_token_exception("The next token was specified in an invalid format.")
            })?;
            position + 1
        }
    };
    let more = runs.len() > from + limit;
    let page: Vec<_> = runs.into_iter().skip(from).take(limit).collect();
    let next = page.last().filter(|_| more).map(|(place, _)| id::base64_encode(place.as_bytes()));
    Ok((page.into_iter().map(|(_, id)| id).collect(), next))
}
