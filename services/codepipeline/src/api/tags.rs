//! Tags of pipelines and custom action types.

use crate::Pipelines;
use crate::error::Fault;
use crate::store::{CustomTypeDoc, PipelineDoc, PipelineId};
use std::collections::BTreeMap;
use towpath_api::{ApiError, Arn, Call};
use towpath_api_codepipeline::*;
use towpath_store::{Change, Document};

const MAX_TAGS: usize = 50;

type Tags = BTreeMap<String, String>;

/// `given` put over `known`.
pub fn read(given: &[Tag], known: &Tags) -> Result<Tags, ApiError> {
    let mut tags = known.clone();
    let mut seen = std::collections::BTreeSet::new();
    for tag in given {
        let key = tag.key.clone().unwrap_or_default();
        if key.to_ascii_lowercase().starts_with("aws:") {
            let message = format!("The tag key '{key}' begins with the reserved prefix aws:.");
            return Err(errors::invalid_tags_exception(message));
        }
        if !seen.insert(key.clone()) {
            return Err(errors::invalid_tags_exception(format!(
                "The tag key '{key}' is given more than once."
            )));
        }
        tags.insert(key, tag.value.clone().unwrap_or_default());
    }
    if tags.len() > MAX_TAGS {
        return Err(errors::too_many_tags_exception(format!("A resource can have at most {MAX_TAGS} tags.")));
    }
    Ok(tags)
}

pub fn render(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
}

/// What an ARN names.
enum Resource {
    Pipeline(PipelineId),
    Type(String),
}

fn resource(call: &Call, text: &str) -> Result<Resource, Fault> {
    let arn = Arn::parse(text).filter(|arn| arn.service == "codepipeline" && arn.partition == "aws");
    let Some(arn) = arn else {
        return Err(errors::invalid_arn_exception(format!("The ARN '{text}' is not valid.")).into());
    };
    let missing =
        || Fault::Api(errors::resource_not_found_exception(format!("The resource {text} does not exist.")));
    if arn.account != call.account || arn.region != call.region {
        return Err(missing());
    }
    if let Some(rest) = arn.resource.strip_prefix("actiontype:Custom/") {
        let mut parts = rest.splitn(3, '/').map(str::to_owned);
        let id = ActionTypeId {
            owner: Some("Custom".into()),
            category: parts.next(),
            provider: parts.next(),
            version: parts.next(),
        };
        return Ok(Resource::Type(CustomTypeDoc::key_of(&call.account, &call.region, &id)));
    }
    if arn.resource.contains(['/', ':']) {
        return Err(missing());
    }
    Ok(Resource::Pipeline(super::pipeline_id(call, Some(arn.resource))))
}

/// Document kinds that carry tags.
trait Tagged: Document + Clone {
    fn tags(&mut self) -> &mut Tags;
}

impl Tagged for PipelineDoc {
    fn tags(&mut self) -> &mut Tags {
        &mut self.tags
    }
}

impl Tagged for CustomTypeDoc {
    fn tags(&mut self) -> &mut Tags {
        &mut self.tags
    }
}

async fn change<D: Tagged>(
    service: &Pipelines,
    key: &str,
    arn: &str,
    change: impl Fn(&Tags) -> Result<Tags, ApiError>,
) -> Result<(), Fault> {
    service
        .flow
        .store
        .update::<D, (), Fault>(key, |current, _| {
            let Some(current) = current else {
                let message = format!("The resource {arn} does not exist.");
                return Err(errors::resource_not_found_exception(message).into());
            };
            let mut doc = current.clone();
            *doc.tags() = change(doc.tags())?;
            Ok((Change::Put(doc), ()))
        })
        .await
}

pub async fn tag_resource(
    service: &Pipelines,
    call: &Call,
    input: TagResourceInput,
) -> Result<TagResourceOutput, Fault> {
    let arn = input.resource_arn.unwrap_or_default();
    call.authorize("codepipeline:TagResource", &arn, &[])?;
    let tags = input.tags.unwrap_or_default();
    let put = |known: &Tags| read(&tags, known);
    match resource(call, &arn)? {
        Resource::Pipeline(id) => change::<PipelineDoc>(service, &id.key(), &arn, put).await?,
        Resource::Type(key) => change::<CustomTypeDoc>(service, &key, &arn, put).await?,
    }
    Ok(TagResourceOutput::default())
}

pub async fn untag_resource(
    service: &Pipelines,
    call: &Call,
    input: UntagResourceInput,
) -> Result<UntagResourceOutput, Fault> {
    let arn = input.resource_arn.unwrap_or_default();
    call.authorize("codepipeline:UntagResource", &arn, &[])?;
    let keys = input.tag_keys.unwrap_or_default();
    let remove = |known: &Tags| {
        let mut tags = known.clone();
        tags.retain(|key, _| !keys.contains(key));
        Ok(tags)
    };
    match resource(call, &arn)? {
        Resource::Pipeline(id) => change::<PipelineDoc>(service, &id.key(), &arn, remove).await?,
        Resource::Type(key) => change::<CustomTypeDoc>(service, &key, &arn, remove).await?,
    }
    Ok(UntagResourceOutput::default())
}

pub async fn list_tags_for_resource(
    service: &Pipelines,
    call: &Call,
    input: ListTagsForResourceInput,
) -> Result<ListTagsForResourceOutput, Fault> {
    let arn = input.resource_arn.unwrap_or_default();
    call.authorize("codepipeline:ListTagsForResource", &arn, &[])?;
    let store = &service.flow.store;
    let tags = match resource(call, &arn)? {
        Resource::Pipeline(id) => store.get::<PipelineDoc>(&id.key()).await?.map(|doc| doc.doc.tags),
        Resource::Type(key) => store.get::<CustomTypeDoc>(&key).await?.map(|doc| doc.doc.tags),
    };
    let tags = tags
        .ok_or_else(|| errors::resource_not_found_exception(format!("The resource {arn} does not exist.")))?;
    let after = super::lists::read_token(input.next_token.as_deref(), "")?;
    let limit = super::page_size(input.max_results, 100);
    let mut rest: Vec<Tag> =
        render(&tags).into_iter().filter(|tag| after.is_none() || tag.key > after).collect();
    let more = rest.len() > limit;
    rest.truncate(limit);
    let next_token = rest
        .last()
        .and_then(|tag| tag.key.as_ref())
        .filter(|_| more)
        .map(|key| towpath_api::id::base64_encode(key.as_bytes()));
    Ok(ListTagsForResourceOutput { tags: Some(rest), next_token })
}
