//! Groups. Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateGroup.html>.

use super::context::Context;
use super::page::Paging;
use super::{render, required};
use crate::documents::{Entity, EntityKind, GroupDoc, Held, IdDoc, UserDoc, entity_arn};
use crate::limits;
use crate::problem::Problem;
use crate::service::IdentityService;
use std::collections::BTreeSet;
use towpath_api::{ApiError, Call, id};
use towpath_api_iam::*;
use towpath_store::Txn;

pub async fn create(
    service: &IdentityService,
    call: &Call,
    input: CreateGroupInput,
) -> Result<CreateGroupOutput, ApiError> {
    let name = required(input.group_name, "groupName")?;
    let path = input.path.unwrap_or_else(|| "/".to_owned());
    call.authorize("iam:CreateGroup", &entity_arn(service.account(), EntityKind::Group, &path, &name), &[])?;
    let writer = service.writer().await;
    if service.store.get::<GroupDoc>(&name.to_lowercase()).await.map_err(Problem::from)?.is_some() {
        return Err(Problem::EntityExists { kind: EntityKind::Group, name }.into());
    }
    service.check_quota::<GroupDoc>("GroupsPerAccount", limits::GROUPS).await?;
    let group = GroupDoc {
        id: id::iam_id("AGPA", 21),
        created_at: service.store.now(),
        name,
        path,
        held: Held::default(),
        members: BTreeSet::new(),
    };
    let mut txn = Txn::new();
    txn.create(&group).create(&IdDoc {
        id: group.id.clone(),
        kind: EntityKind::Group,
        name: group.name.clone(),
    });
    writer.commit(txn).await?;
    Ok(CreateGroupOutput { group: Some(render::group(service.account(), &group)) })
}

pub async fn get(
    service: &IdentityService,
    call: &Call,
    input: GetGroupInput,
) -> Result<GetGroupOutput, ApiError> {
    let name = required(input.group_name, "groupName")?;
    let group = service.authorized::<GroupDoc>(call, "iam:GetGroup", &name, Context::default()).await?;
    let mut members = Vec::new();
    for id in &group.members {
        members.extend(service.by_id::<UserDoc>(id).await?);
    }
    let paging = Paging::new(input.marker, input.max_items);
    let (members, marker) = paging.of(members, |user| user.name.to_lowercase());
    Ok(GetGroupOutput {
        group: Some(render::group(service.account(), &group)),
        users: Some(members.iter().map(|user| render::listed_user(service.account(), user)).collect()),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}

pub async fn list(
    service: &IdentityService,
    call: &Call,
    input: ListGroupsInput,
) -> Result<ListGroupsOutput, ApiError> {
    call.authorize("iam:ListGroups", &entity_arn(service.account(), EntityKind::Group, "/", ""), &[])?;
    let paging = Paging::new(input.marker, input.max_items);
    let (groups, marker) = service.list_entities::<GroupDoc>(&paging, input.path_prefix.as_deref()).await?;
    Ok(ListGroupsOutput {
        groups: Some(groups.iter().map(|group| render::group(service.account(), group)).collect()),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}

pub async fn update(
    service: &IdentityService,
    call: &Call,
    input: UpdateGroupInput,
) -> Result<UpdateGroupOutput, ApiError> {
    let name = required(input.group_name, "groupName")?;
    let writer = service.writer().await;
    let old = service.authorized::<GroupDoc>(call, "iam:UpdateGroup", &name, Context::default()).await?;
    let mut new = old.doc.clone();
    new.name = input.new_group_name.unwrap_or(new.name);
    new.path = input.new_path.unwrap_or(new.path);
    call.authorize("iam:UpdateGroup", &new.arn(service.account()), &[])?;
    let mut txn = Txn::new();
    service.rename(&mut txn, &old, &new).await?;
    writer.commit(txn).await?;
    Ok(UpdateGroupOutput {})
}

pub async fn delete(
    service: &IdentityService,
    call: &Call,
    input: DeleteGroupInput,
) -> Result<DeleteGroupOutput, ApiError> {
    let name = required(input.group_name, "groupName")?;
    let writer = service.writer().await;
    let group = service.authorized::<GroupDoc>(call, "iam:DeleteGroup", &name, Context::default()).await?;
    let obstacles = [
        (!group.members.is_empty(), "remove users from group"),
        (!group.held.attached.is_empty(), "detach all policies"),
        (!group.held.inline.is_empty(), "delete policies"),
    ];
    if let Some((_, what)) = obstacles.into_iter().find(|(present, _)| *present) {
        return Err(Problem::EntityInUse(what).into());
    }
    let mut txn = Txn::new();
    service.remove(&mut txn, &group).await?;
    writer.commit(txn).await?;
    Ok(DeleteGroupOutput {})
}
