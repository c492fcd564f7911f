//! Tags of users, roles and policies. Keys are unique without case.
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html>.

use super::context::Context;
use super::page::{Page, Paging};
use super::{render, required};
use crate::documents::{Bounded, ManagedDoc, RoleDoc, Tag as StoredTag, UserDoc};
use crate::limits::TAGS;
use crate::problem::Problem;
use crate::service::{IdentityService, ManagedPolicy};
use std::collections::HashSet;
use towpath_api::{ApiError, Call};
use towpath_api_iam::*;
use towpath_store::Txn;

pub fn stored(tags: Vec<Tag>) -> Vec<StoredTag> {
    let tag = |tag: Tag| StoredTag { key: tag.key.unwrap_or_default(), value: tag.value.unwrap_or_default() };
    tags.into_iter().map(tag).collect()
}

/// What a request may bring.
pub fn check(tags: &[StoredTag]) -> Result<(), Problem> {
    let mut seen = HashSet::new();
    for tag in tags {
        let key = tag.key.to_lowercase();
        if key.starts_with("aws:") {
            return Err(Problem::InvalidInput(
                "aws: prefixed tag key names are not allowed for external use.".to_owned(),
            ));
        }
        if !seen.insert(key) {
            return Err(Problem::InvalidInput(
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.".to_owned(),
            ));
        }
    }
    if tags.len() > TAGS { Err(Problem::TagQuota) } else { Ok(()) }
}

fn merge(tags: &mut Vec<StoredTag>, new: Vec<StoredTag>) -> Result<(), Problem> {
    for tag in new {
        tags.retain(|kept| kept.key.to_lowercase() != tag.key.to_lowercase());
        tags.push(tag);
    }
    if tags.len() > TAGS { Err(Problem::TagQuota) } else { Ok(()) }
}

fn remove(tags: &mut Vec<StoredTag>, keys: &[String]) {
    let keys: HashSet<String> = keys.iter().map(|key| key.to_lowercase()).collect();
    tags.retain(|tag| !keys.contains(&tag.key.to_lowercase()));
}

async fn tag<E: Bounded>(
    service: &IdentityService,
    call: &Call,
    action: &str,
    name: Option<String>,
    tags: Option<Vec<Tag>>,
) -> Result<(), ApiError> {
    let (name, tags) = (required(name, "name")?, stored(required(tags, "tags")?));
    let writer = service.writer_of(&name).await;
    let old = service.authorized::<E>(call, action, &name, Context::default().request_tags(&tags)).await?;
    check(&tags)?;
    let mut new = old.doc.clone();
    merge(new.tags_mut(), tags)?;
    let mut txn = Txn::new();
    txn.replace(&old, &new);
    Ok(writer.commit(txn).await?)
}

async fn untag<E: Bounded>(
    service: &IdentityService,
    call: &Call,
    action: &str,
    name: Option<String>,
    keys: Option<Vec<String>>,
) -> Result<(), ApiError> {
    let (name, keys) = (required(name, "name")?, required(keys, "tagKeys")?);
    let writer = service.writer_of(&name).await;
    let old = service.authorized::<E>(call, action, &name, Context::default().tag_keys(&keys)).await?;
    let mut new = old.doc.clone();
    remove(new.tags_mut(), &keys);
    let mut txn = Txn::new();
    txn.replace(&old, &new);
    Ok(writer.commit(txn).await?)
}

fn paged(tags: &[StoredTag], marker: Option<String>, max_items: Option<i64>) -> Result<Page<Tag>, Problem> {
    let paging = Paging::new(marker, max_items);
    let (tags, marker) = paging.of(tags.to_vec(), |tag| tag.key.clone());
    Ok((render::tags(&tags), marker))
}

pub async fn tag_user(
    service: &IdentityService,
    call: &Call,
    input: TagUserInput,
) -> Result<TagUserOutput, ApiError> {
    tag::<UserDoc>(service, call, "iam:TagUser", input.user_name, input.tags).await?;
    Ok(TagUserOutput {})
}

pub async fn untag_user(
    service: &IdentityService,
    call: &Call,
    input: UntagUserInput,
) -> Result<UntagUserOutput, ApiError> {
    untag::<UserDoc>(service, call, "iam:UntagUser", input.user_name, input.tag_keys).await?;
    Ok(UntagUserOutput {})
}

pub async fn list_user(
    service: &IdentityService,
    call: &Call,
    input: ListUserTagsInput,
) -> Result<ListUserTagsOutput, ApiError> {
    let name = required(input.user_name, "userName")?;
    let user = service.authorized::<UserDoc>(call, "iam:ListUserTags", &name, Context::default()).await?;
    let (tags, marker) = paged(&user.tags, input.marker, input.max_items)?;
    Ok(ListUserTagsOutput { tags: Some(tags), is_truncated: Some(marker.is_some()), marker })
}

pub async fn tag_role(
    service: &IdentityService,
    call: &Call,
    input: TagRoleInput,
) -> Result<TagRoleOutput, ApiError> {
    tag::<RoleDoc>(service, call, "iam:TagRole", input.role_name, input.tags).await?;
    Ok(TagRoleOutput {})
}

pub async fn untag_role(
    service: &IdentityService,
    call: &Call,
    input: UntagRoleInput,
) -> Result<UntagRoleOutput, ApiError> {
    untag::<RoleDoc>(service, call, "iam:UntagRole", input.role_name, input.tag_keys).await?;
    Ok(UntagRoleOutput {})
}

pub async fn list_role(
    service: &IdentityService,
    call: &Call,
    input: ListRoleTagsInput,
) -> Result<ListRoleTagsOutput, ApiError> {
    let name = required(input.role_name, "roleName")?;
    let role = service.authorized::<RoleDoc>(call, "iam:ListRoleTags", &name, Context::default()).await?;
    let (tags, marker) = paged(&role.tags, input.marker, input.max_items)?;
    Ok(ListRoleTagsOutput { tags: Some(tags), is_truncated: Some(marker.is_some()), marker })
}

pub async fn tag_policy(
    service: &IdentityService,
    call: &Call,
    input: TagPolicyInput,
) -> Result<TagPolicyOutput, ApiError> {
    let arn = required(input.policy_arn, "policyArn")?;
    let tags = stored(required(input.tags, "tags")?);
    let writer = service.writer().await;
    let context = Context::default().request_tags(&tags);
    let old = service.authorized_local_policy(call, "iam:TagPolicy", &arn, context).await?;
    check(&tags)?;
    let mut new: ManagedDoc = old.doc.clone();
    merge(&mut new.tags, tags)?;
    let mut txn = Txn::new();
    txn.replace(&old, &new);
    writer.commit(txn).await?;
    Ok(TagPolicyOutput {})
}

pub async fn untag_policy(
    service: &IdentityService,
    call: &Call,
    input: UntagPolicyInput,
) -> Result<UntagPolicyOutput, ApiError> {
    let arn = required(input.policy_arn, "policyArn")?;
    let keys = required(input.tag_keys, "tagKeys")?;
    let writer = service.writer().await;
    let context = Context::default().tag_keys(&keys);
    let old = service.authorized_local_policy(call, "iam:UntagPolicy", &arn, context).await?;
    let mut new: ManagedDoc = old.doc.clone();
    remove(&mut new.tags, &keys);
    let mut txn = Txn::new();
    txn.replace(&old, &new);
    writer.commit(txn).await?;
    Ok(UntagPolicyOutput {})
}

pub async fn list_policy(
    service: &IdentityService,
    call: &Call,
    input: ListPolicyTagsInput,
) -> Result<ListPolicyTagsOutput, ApiError> {
    let arn = required(input.policy_arn, "policyArn")?;
    let policy = service.authorized_policy(call, "iam:ListPolicyTags", &arn, Context::default()).await?;
    let tags = match &policy {
        ManagedPolicy::Local(policy) => policy.tags.as_slice(),
        ManagedPolicy::Aws(_) => &[],
    };
    let (tags, marker) = paged(tags, input.marker, input.max_items)?;
    Ok(ListPolicyTagsOutput { tags: Some(tags), is_truncated: Some(marker.is_some()), marker })
}
