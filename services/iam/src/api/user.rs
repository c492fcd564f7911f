//! Users. Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateUser.html>.

use super::context::Context;
use super::page::Paging;
use super::{render, required, tag};
use crate::documents::{Entity, EntityKind, Held, IdDoc, Usage, UserDoc, entity_arn};
use crate::limits;
use crate::problem::Problem;
use crate::service::IdentityService;
use std::collections::BTreeSet;
use towpath_api::{ApiError, Call, Caller, id};
use towpath_api_iam::*;
use towpath_store::{Document, Txn};

pub async fn create(
    service: &IdentityService,
    call: &Call,
    input: CreateUserInput,
) -> Result<CreateUserOutput, ApiError> {
    let name = required(input.user_name, "userName")?;
    let path = input.path.unwrap_or_else(|| "/".to_owned());
    let tags = tag::stored(input.tags.unwrap_or_default());
    let boundary = input.permissions_boundary;
    let context = Context::default().boundary(boundary.as_deref()).request_tags(&tags);
    context.authorize(
        call,
        "iam:CreateUser",
        &entity_arn(service.account(), EntityKind::User, &path, &name),
    )?;
    tag::check(&tags)?;
    let writer = service.writer().await;
    if service.store.get::<UserDoc>(&name.to_lowercase()).await.map_err(Problem::from)?.is_some() {
        return Err(Problem::EntityExists { kind: EntityKind::User, name }.into());
    }
    service.check_quota::<UserDoc>("UsersPerAccount", limits::USERS).await?;
    let user = UserDoc {
        id: id::iam_id("AIDA", 21),
        created_at: service.store.now(),
        name,
        path,
        boundary,
        tags,
        held: Held::default(),
        groups: BTreeSet::new(),
        access_keys: BTreeSet::new(),
        credentials: BTreeSet::new(),
    };
    let mut txn = Txn::new();
    txn.create(&user).create(&IdDoc { id: user.id.clone(), kind: EntityKind::User, name: user.name.clone() });
    if let Some(arn) = user.boundary.as_deref() {
        service.use_policy(&mut txn, arn, Usage::Boundary, EntityKind::User, &user.id).await?;
    }
    writer.commit(txn).await?;
    Ok(CreateUserOutput { user: Some(render::user(service.account(), &user)) })
}

pub async fn get(
    service: &IdentityService,
    call: &Call,
    input: GetUserInput,
) -> Result<GetUserOutput, ApiError> {
    if input.user_name.is_none()
        && let Caller::Root { account } = &call.caller
    {
        let root = User {
            user_id: Some(account.clone()),
            arn: Some(call.caller.arn()),
            path: Some("/".to_owned()),
            create_date: Some(service.started_at),
            ..User::default()
        };
        return Ok(GetUserOutput { user: Some(root) });
    }
    let name = service.named_or_calling_user(call, input.user_name)?;
    let user = service.authorized::<UserDoc>(call, "iam:GetUser", &name, Context::default()).await?;
    Ok(GetUserOutput { user: Some(render::user(service.account(), &user)) })
}

pub async fn list(
    service: &IdentityService,
    call: &Call,
    input: ListUsersInput,
) -> Result<ListUsersOutput, ApiError> {
    call.authorize("iam:ListUsers", &entity_arn(service.account(), EntityKind::User, "/", ""), &[])?;
    let paging = Paging::new(input.marker, input.max_items);
    let (users, marker) = service.list_entities::<UserDoc>(&paging, input.path_prefix.as_deref()).await?;
    Ok(ListUsersOutput {
        users: Some(users.iter().map(|user| render::listed_user(service.account(), user)).collect()),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}

/// The caller needs the permission for the user as it is and as it will be named.
pub async fn update(
    service: &IdentityService,
    call: &Call,
    input: UpdateUserInput,
) -> Result<UpdateUserOutput, ApiError> {
    let name = required(input.user_name, "userName")?;
    let writer = service.writer().await;
    let old = service.authorized::<UserDoc>(call, "iam:UpdateUser", &name, Context::default()).await?;
    let mut new = old.doc.clone();
    new.name = input.new_user_name.unwrap_or(new.name);
    new.path = input.new_path.unwrap_or(new.path);
    call.authorize("iam:UpdateUser", &new.arn(service.account()), &[])?;
    let mut txn = Txn::new();
    service.rename(&mut txn, &old, &new).await?;
    writer.commit(txn).await?;
    Ok(UpdateUserOutput {})
}

pub async fn delete(
    service: &IdentityService,
    call: &Call,
    input: DeleteUserInput,
) -> Result<DeleteUserOutput, ApiError> {
    let name = required(input.user_name, "userName")?;
    let writer = service.writer().await;
    let user = service.authorized::<UserDoc>(call, "iam:DeleteUser", &name, Context::default()).await?;
    let obstacles = [
        (!user.access_keys.is_empty(), "delete access keys"),
        (!user.credentials.is_empty(), "delete service specific credentials"),
        (!user.held.attached.is_empty(), "detach all policies"),
        (!user.held.inline.is_empty(), "delete policies"),
        (!user.groups.is_empty(), "remove users from group"),
    ];
    if let Some((_, what)) = obstacles.into_iter().find(|(present, _)| *present) {
        return Err(Problem::EntityInUse(what).into());
    }
    let mut txn = Txn::new();
    service.remove(&mut txn, &user).await?;
    writer.commit(txn).await?;
    Ok(DeleteUserOutput {})
}

impl IdentityService {
    /// Moves an entity to another name or path; everything else refers to it by id.
    pub(super) async fn rename<E: Entity>(
        &self,
        txn: &mut Txn,
        old: &towpath_store::Versioned<E>,
        new: &E,
    ) -> Result<(), Problem> {
        if Document::key(&old.doc) == Document::key(new) {
            txn.replace(old, new);
        } else {
            if self.store.get::<E>(&Document::key(new)).await?.is_some() {
                return Err(Problem::EntityExists { kind: E::ENTITY, name: new.name().to_owned() });
            }
            txn.delete(old).create(new);
        }
        txn.put(&IdDoc { id: new.id().to_owned(), kind: E::ENTITY, name: new.name().to_owned() });
        Ok(())
    }

    /// Deletes an entity that nothing is attached to, with its boundary's use and its id.
    pub(super) async fn remove<E: Entity>(
        &self,
        txn: &mut Txn,
        entity: &towpath_store::Versioned<E>,
    ) -> Result<(), Problem> {
        txn.delete(entity);
        if let Some(index) = self.store.get::<IdDoc>(entity.id()).await? {
            txn.delete(&index);
        }
        if let Some(arn) = entity.boundary() {
            self.disuse_policy(txn, arn, Usage::Boundary, E::ENTITY, entity.id()).await?;
        }
        if let Some(last_use) = self.store.get::<crate::documents::LastUseDoc>(entity.id()).await? {
            txn.delete(&last_use);
        }
        Ok(())
    }
}
