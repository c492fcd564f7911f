//! TagResource, UntagResource, ListTagsForResource.
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_TagResource.html>.

use super::names::GroupRef;
use super::{required, retry};
use crate::LogsService;
use std::collections::BTreeMap;
use towpath_api::{ApiError, Call};
use towpath_api_logs::*;
use towpath_store::Txn;

const MAX_TAGS: usize = 50;

/// What the model cannot say of tags.
pub(super) fn check(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    match tags.keys().find(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        Some(key) => Err(errors::invalid_parameter_exception(format!(
            "The tag key {key} begins with aws:, which is reserved."
        ))),
        None if tags.len() > MAX_TAGS => Err(too_many()),
        None => Ok(()),
    }
}

fn too_many() -> ApiError {
    errors::too_many_tags_exception(format!("A resource can have at most {MAX_TAGS} tags."))
}

fn resource(call: &Call, arn: Option<String>, action: &str) -> Result<GroupRef, ApiError> {
    let arn = required(arn, "resourceArn")?;
    if !arn.starts_with("arn:") {
        return Err(errors::invalid_parameter_exception(format!("{arn} is not the ARN of a log group.")));
    }
    let group = GroupRef::identified(call, &arn)?;
    call.authorize(action, &group.arn(), &[])?;
    Ok(group)
}

pub(super) async fn tag(
    service: &LogsService,
    call: &Call,
    input: TagResourceInput,
) -> Result<TagResourceOutput, ApiError> {
    let name = resource(call, input.resource_arn, "logs:TagResource")?;
    let new = required(input.tags, "tags")?;
    check(&new)?;
    change(service, &name, |tags| tags.extend(new.clone())).await?;
    Ok(TagResourceOutput {})
}

pub(super) async fn untag(
    service: &LogsService,
    call: &Call,
    input: UntagResourceInput,
) -> Result<UntagResourceOutput, ApiError> {
    let name = resource(call, input.resource_arn, "logs:UntagResource")?;
    let keys = required(input.tag_keys, "tagKeys")?;
    change(service, &name, |tags| tags.retain(|key, _| !keys.contains(key))).await?;
    Ok(UntagResourceOutput {})
}

pub(super) async fn list(
    service: &LogsService,
    call: &Call,
    input: ListTagsForResourceInput,
) -> Result<ListTagsForResourceOutput, ApiError> {
    let name = resource(call, input.resource_arn, "logs:ListTagsForResource")?;
    let group = service.group(&name).await?;
    Ok(ListTagsForResourceOutput { tags: Some(group.into_doc().tags) })
}

async fn change(
    service: &LogsService,
    name: &GroupRef,
    edit: impl Fn(&mut BTreeMap<String, String>),
) -> Result<(), ApiError> {
    let mut round = 0;
    loop {
        round += 1;
        let old = service.group(name).await?;
        let mut group = old.doc.clone();
        edit(&mut group.tags);
        if group.tags.len() > MAX_TAGS {
            return Err(too_many());
        }
        let mut txn = Txn::new();
        txn.replace(&old, &group);
        match service.store.commit(txn).await {
            Err(error) if retry(&error, round) => {}
            result => return Ok(result?),
        }
    }
}
