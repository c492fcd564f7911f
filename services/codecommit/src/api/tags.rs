//! Tags of repositories.
//! <https://docs.aws.amazon.com/codecommit/latest/APIReference/API_TagResource.html> and its siblings.

use super::repositories::update;
use crate::error::Error;
use crate::service::CodeCommitService;
use crate::store::Repository;
use std::collections::BTreeMap;
use towpath_api::{Arn, Call};
use towpath_api_codecommit::*;
use towpath_store::Versioned;

const MAX_TAGS: usize = 50;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

pub(super) fn check(tags: &BTreeMap<String, String>, already: usize) -> Result<(), Error> {
    for (key, value) in tags {
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(Error::SystemTag(key.clone()));
        }
        let long = !(1..=MAX_KEY).contains(&key.chars().count()) || value.chars().count() > MAX_VALUE;
        if long || key.chars().chain(value.chars()).any(char::is_control) {
            let text = "A tag's key has between 1 and 128 characters and its value up to 256, without control \
                        characters.";
            return Err(Error::InvalidTags(text.into()));
        }
    }
    if tags.len() + already > MAX_TAGS {
        return Err(Error::TooManyTags(MAX_TAGS));
    }
    Ok(())
}

/// The condition keys of a request that brings tags.
pub(super) fn request_context(tags: &BTreeMap<String, String>) -> Vec<(String, &str)> {
    let values = tags.iter().map(|(key, value)| (format!("aws:RequestTag/{key}"), value.as_str()));
    values.chain(tags.keys().map(|key| ("aws:TagKeys".to_owned(), key.as_str()))).collect()
}

async fn tagged(
    service: &CodeCommitService,
    call: &Call,
    action: &str,
    arn: Option<&str>,
    context: &[(&str, &str)],
) -> Result<Versioned<Repository>, Error> {
    let text = arn.filter(|arn| !arn.is_empty()).ok_or(Error::ArnRequired)?;
    let parsed = Arn::parse(text)
        .filter(|arn| arn.service == "codecommit" && call.arn("codecommit", arn.resource.as_str()) == text);
    let name = parsed.ok_or_else(|| Error::InvalidArn(crate::names::shown(text)))?.resource;
    service.repository(call, action, Some(&name), context).await
}

pub async fn tag_resource(
    service: &CodeCommitService,
    call: &Call,
    input: TagResourceInput,
) -> Result<TagResourceOutput, Error> {
    let tags = input.tags.filter(|tags| !tags.is_empty()).ok_or(Error::TagsRequired)?;
    let context = request_context(&tags);
    let context: Vec<(&str, &str)> = context.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let arn = input.resource_arn.as_deref();
    let found = tagged(service, call, "codecommit:TagResource", arn, &context).await?;
    check(&tags, found.tags.keys().filter(|key| !tags.contains_key(*key)).count())?;
    update(service, &found, |repository| repository.tags.extend(tags.clone())).await?;
    Ok(TagResourceOutput {})
}

pub async fn untag_resource(
    service: &CodeCommitService,
    call: &Call,
    input: UntagResourceInput,
) -> Result<UntagResourceOutput, Error> {
    let keys = input.tag_keys.filter(|keys| !keys.is_empty()).ok_or(Error::TagKeysRequired)?;
    let context: Vec<(&str, &str)> = keys.iter().map(|key| ("aws:TagKeys", key.as_str())).collect();
    let arn = input.resource_arn.as_deref();
    let found = tagged(service, call, "codecommit:UntagResource", arn, &context).await?;
    if keys.iter().any(|key| !(1..=MAX_KEY).contains(&key.chars().count())) {
        return Err(Error::InvalidTagKeys);
    }
    update(service, &found, |repository| repository.tags.retain(|key, _| !keys.contains(key))).await?;
    Ok(UntagResourceOutput {})
}

pub async fn list_tags_for_resource(
    service: &CodeCommitService,
    call: &Call,
    input: ListTagsForResourceInput,
) -> Result<ListTagsForResourceOutput, Error> {
    let arn = input.resource_arn.as_deref();
    let found = tagged(service, call, "codecommit:ListTagsForResource", arn, &[]).await?;
    // A repository's tags fit into one page, so no token was ever given.
    super::untoken(input.next_token.as_deref())?;
    Ok(ListTagsForResourceOutput { tags: Some(found.tags.clone()), next_token: None })
}
