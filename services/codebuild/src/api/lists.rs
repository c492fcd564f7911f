//! Lists of builds and projects, with sort order and tokens.

use super::{name_of, project_arn, required};
use crate::CodeBuildService;
use crate::store::{BuildByProject, BuildByTime, ProjectDoc};
use towpath_api::{ApiError, Call, Timestamp, id};
use towpath_api_codebuild::errors::invalid_input_exception;
use towpath_api_codebuild::*;
use towpath_store::{Document, Order, Store, StoreError, key};

/// What AWS gives at a time.
const PAGE: usize = 100;
/// What listings that are sorted in memory read from the store at a time.
pub(super) const READ_AT_ONCE: usize = 1000;

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
pub(super) fn order(sort_order: Option<&str>) -> Order {
    if sort_order == Some("ASCENDING") { Order::Ascending } else { Order::Descending }
}

/// One page out of a list in memory, in the order of the items' keys; the token is the last one's, so that what
/// comes or goes between two pages takes nothing else with it.
pub(super) fn page_of<T>(
    mut items: Vec<(String, T)>,
    order: Order,
    token: Option<&str>,
    limit: usize,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let after = read_token(token, "")?;
    items.sort_by(|(one, _), (other, _)| match order {
        Order::Ascending => one.cmp(other),
        Order::Descending => other.cmp(one),
    });
    items.retain(|(key, _)| match (&after, order) {
        (None, _) => true,
        (Some(after), Order::Ascending) => key > after,
        (Some(after), Order::Descending) => key < after,
    });
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|(key, _)| key.clone());
    Ok((items.into_iter().map(|(_, item)| item).collect(), make_token(next)))
}

/// A key that sorts by time, and by name where times are the same.
pub(super) fn timed(at: Option<Timestamp>, name: &str) -> String {
    format!("{:020} {name}", at.map_or(0, Timestamp::as_millis))
}

/// All documents below a prefix.
pub(super) async fn all<D: Document>(store: &Store, prefix: &str) -> Result<Vec<D>, StoreError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.list::<D>(prefix, after.as_deref(), READ_AT_ONCE, Order::Ascending).await?;
        found.extend(page.items.into_iter().map(|doc| doc.into_doc()));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
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
    let order = match input.sort_order.as_deref() {
        Some("DESCENDING") => Order::Descending,
        _ => Order::Ascending,
    };
    let projects = all::<ProjectDoc>(&service.store, &prefix).await?.into_iter().map(|doc| {
        let key = match input.sort_by.as_deref() {
            Some("CREATED_TIME") => timed(doc.project.created, &doc.name),
            Some("LAST_MODIFIED_TIME") => timed(doc.project.last_modified, &doc.name),
            _ => doc.name.clone(),
        };
        (key, doc.name)
    });
    let (names, next_token) = page_of(projects.collect(), order, input.next_token.as_deref(), PAGE)?;
    Ok(ListProjectsOutput { projects: Some(names), next_token })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_comes_and_goes_between_pages_takes_nothing_with_it() {
        for order in [Order::Ascending, Order::Descending] {
            let mut left: Vec<u32> = (10..20).collect();
            let (mut told, mut token) = (Vec::new(), None);
            loop {
                let items = left.iter().map(|number| (number.to_string(), *number)).collect();
                let (page, next): (Vec<u32>, _) = page_of(items, order, token.as_deref(), 3).unwrap();
                assert!(page.len() <= 3);
                left.retain(|number| !page.contains(number));
                left.extend([5, 6, 7, 30, 31, 32].map(|new| new + told.len() as u32 % 3));
                left.sort_unstable();
                left.dedup();
                told.extend(page);
                match next {
                    Some(next) => token = Some(next),
                    None => break,
                }
                assert!(told.len() < 100, "it ends");
            }
            told.retain(|number| (10..20).contains(number));
            let mut wanted: Vec<u32> = (10..20).collect();
            if order == Order::Descending {
                wanted.reverse();
            }
            assert_eq!(told, wanted);
        }
    }
}
