//! Lists of builds and projects, with sort order and tokens.

use super::{name_of, project_arn, required};
use crate::CodeBuildService;
use crate::store::{BuildByProject, BuildByTime, ProjectDoc};
use towpath_api::{ApiError, Call, id};
use towpath_api_codebuild::errors::invalid_input_exception;
use towpath_api_codebuild::*;
use towpath_store::{Order, key};

/// What AWS gives at a time.
const PAGE: usize = 100;
/// Listings that are sorted in memory read at most this many.
pub(super) const MAX_SORTED: usize = 10_000;

/// The token is the last key seen, made opaque; one of another listing is refused.
pub(super) fn read_token(token: Option<&str>, prefix: &str) -> Result<Option<String>, ApiError> {
    let Some(token) = token else { return Ok(None) };
    let bytes = id::base64_decode(token);
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let after = text.filter(|text| text.starts_with(prefix));
    after.map(Some).ok_or_else(|| invalid_input_exception("Invalid next token"))
}

pub(super) fn make_token(after: Option<String>) -> Option<String> {
    after.map(|after| id::base64_encode(after.as_bytes()))
}

/// Newest first unless asked otherwise.
fn order(sort_order: Option<&str>) -> Order {
    if sort_order == Some("ASCENDING") { Order::Ascending } else { Order::Descending }
}

/// One page out of a list in memory; the token is the index of the next.
pub(super) fn page_of<T>(
    items: Vec<T>,
    token: Option<&str>,
    limit: usize,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let start = match token {
        None => 0,
        Some(token) => id::base64_decode(token)
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| text.strip_prefix("index:")?.parse::<usize>().ok())
            .ok_or_else(|| invalid_input_exception("Invalid next token"))?,
    };
    let end = start.saturating_add(limit);
    let next = (items.len() > end).then(|| id::base64_encode(format!("index:{end}").as_bytes()));
    Ok((items.into_iter().skip(start).take(limit).collect(), next))
}

pub async fn builds(
    service: &CodeBuildService,
    call: &Call,
    input: ListBuildsInput,
) -> Result<ListBuildsOutput, ApiError> {
    call.authorize("codebuild:ListBuilds", "*", &[])?;
    let prefix = key(&[&call.account, &call.region, ""]);
    let after = read_token(input.next_token.as_deref(), &prefix)?;
    let order = order(input.sort_order.as_deref());
    let page = service.store.list::<BuildByTime>(&prefix, after.as_deref(), PAGE, order).await?;
    let ids = page.items.iter().map(|index| index.id.clone()).collect();
    Ok(ListBuildsOutput { ids: Some(ids), next_token: make_token(page.next) })
}

pub async fn builds_for_project(
    service: &CodeBuildService,
    call: &Call,
    input: ListBuildsForProjectInput,
) -> Result<ListBuildsForProjectOutput, ApiError> {
    let asked = required(input.project_name, "projectName")?;
    let name = name_of(call, "project", &asked).unwrap_or(asked);
    call.authorize("codebuild:ListBuildsForProject", &project_arn(call, &name), &[])?;
    service.project(call, &name).await?;
    let prefix = key(&[&call.account, &call.region, &name, ""]);
    let after = read_token(input.next_token.as_deref(), &prefix)?;
    let order = order(input.sort_order.as_deref());
    let page = service.store.list::<BuildByProject>(&prefix, after.as_deref(), PAGE, order).await?;
    let ids = page.items.iter().map(|index| index.id.clone()).collect();
    Ok(ListBuildsForProjectOutput { ids: Some(ids), next_token: make_token(page.next) })
}

pub async fn projects(
    service: &CodeBuildService,
    call: &Call,
    input: ListProjectsInput,
) -> Result<ListProjectsOutput, ApiError> {
    call.authorize("codebuild:ListProjects", "*", &[])?;
    let prefix = key(&[&call.account, &call.region, ""]);
    let descending = input.sort_order.as_deref() == Some("DESCENDING");
    let page = service.store.list::<ProjectDoc>(&prefix, None, MAX_SORTED, Order::Ascending).await?;
    let mut projects: Vec<_> = page.items.into_iter().map(|doc| doc.into_doc()).collect();
    match input.sort_by.as_deref() {
        Some("CREATED_TIME") => projects.sort_by_key(|doc| doc.project.created),
        Some("LAST_MODIFIED_TIME") => projects.sort_by_key(|doc| doc.project.last_modified),
        _ => {}
    }
    if descending {
        projects.reverse();
    }
    let names: Vec<_> = projects.into_iter().map(|doc| doc.name).collect();
    let (names, next_token) = page_of(names, input.next_token.as_deref(), PAGE)?;
    Ok(ListProjectsOutput { projects: Some(names), next_token })
}
