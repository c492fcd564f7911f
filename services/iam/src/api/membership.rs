//! Users in groups. Both documents change in one transaction.
//! Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_AddUserToGroup.html>.

use super::context::Context;
use super::page::Paging;
use super::{render, required};
use crate::documents::{GroupDoc, UserDoc};
use crate::limits::GROUPS_PER_USER;
use crate::problem::Problem;
use crate::service::IdentityService;
use towpath_api::{ApiError, Call};
use towpath_api_iam::*;
use towpath_store::Txn;

pub async fn add(
    service: &IdentityService,
    call: &Call,
    input: AddUserToGroupInput,
) -> Result<AddUserToGroupOutput, ApiError> {
    let group_name = required(input.group_name, "groupName")?;
    let user_name = required(input.user_name, "userName")?;
    let writer = service.writer().await;
    let group =
        service.authorized::<GroupDoc>(call, "iam:AddUserToGroup", &group_name, Context::default()).await?;
    let user = service.require::<UserDoc>(&user_name).await?;
    if user.groups.contains(&group.id) {
        return Ok(AddUserToGroupOutput {});
    }
    if user.groups.len() >= GROUPS_PER_USER {
        return Err(Problem::Quota { name: "GroupsPerUser", limit: GROUPS_PER_USER }.into());
    }
    let (mut new_group, mut new_user) = (group.doc.clone(), user.doc.clone());
    new_group.members.insert(user.id.clone());
    new_user.groups.insert(group.id.clone());
    let mut txn = Txn::new();
    txn.replace(&group, &new_group).replace(&user, &new_user);
    writer.commit(txn).await?;
    Ok(AddUserToGroupOutput {})
}

pub async fn remove(
    service: &IdentityService,
    call: &Call,
    input: RemoveUserFromGroupInput,
) -> Result<RemoveUserFromGroupOutput, ApiError> {
    let group_name = required(input.group_name, "groupName")?;
    let user_name = required(input.user_name, "userName")?;
    let writer = service.writer().await;
    let group = service
        .authorized::<GroupDoc>(call, "iam:RemoveUserFromGroup", &group_name, Context::default())
        .await?;
    let user = service.require::<UserDoc>(&user_name).await?;
    let (mut new_group, mut new_user) = (group.doc.clone(), user.doc.clone());
    if new_group.members.remove(&user.id) | new_user.groups.remove(&group.id) {
        let mut txn = Txn::new();
        txn.replace(&group, &new_group).replace(&user, &new_user);
        writer.commit(txn).await?;
    }
    Ok(RemoveUserFromGroupOutput {})
}

pub async fn list(
    service: &IdentityService,
    call: &Call,
    input: ListGroupsForUserInput,
) -> Result<ListGroupsForUserOutput, ApiError> {
    let name = required(input.user_name, "userName")?;
    let user =
        service.authorized::<UserDoc>(call, "iam:ListGroupsForUser", &name, Context::default()).await?;
    let mut groups = Vec::new();
    for id in &user.groups {
        groups.extend(service.by_id::<GroupDoc>(id).await?);
    }
    let paging = Paging::new(input.marker, input.max_items);
    let (groups, marker) = paging.of(groups, |group| group.name.to_lowercase());
    Ok(ListGroupsForUserOutput {
        groups: Some(groups.iter().map(|group| render::group(service.account(), group)).collect()),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}
