//! Permissions boundaries of users and roles.
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html>.

use super::context::Context;
use super::required;
use crate::documents::{Bounded, RoleDoc, Usage, UserDoc};
use crate::problem::Problem;
use crate::service::IdentityService;
use towpath_api::{ApiError, Call};
use towpath_api_iam::*;
use towpath_store::Txn;

/// Puts, replaces or (`None`) removes a boundary.
async fn set<E: Bounded>(
    service: &IdentityService,
    call: &Call,
    action: &str,
    name: String,
    arn: Option<String>,
) -> Result<(), ApiError> {
    let writer = service.writer().await;
    let current = service.find::<E>(&name).await?;
    let current = current.as_ref().and_then(|entity| entity.boundary());
    let context = Context::default().boundary(arn.as_deref().or(current));
    let old = service.authorized::<E>(call, action, &name, context).await?;
    if old.boundary() == arn.as_deref() {
        return match arn {
            Some(_) => Ok(()),
            None => Err(Problem::NoBoundary { kind: E::ENTITY, name }.into()),
        };
    }
    let mut txn = Txn::new();
    if let Some(arn) = &arn {
        service.use_policy(&mut txn, arn, Usage::Boundary, E::ENTITY, old.id()).await?;
    }
    if let Some(before) = old.boundary() {
        service.disuse_policy(&mut txn, before, Usage::Boundary, E::ENTITY, old.id()).await?;
    }
    let mut new = old.doc.clone();
    new.set_boundary(arn);
    txn.replace(&old, &new);
    Ok(writer.commit(txn).await?)
}

pub async fn put_user(
    service: &IdentityService,
    call: &Call,
    input: PutUserPermissionsBoundaryInput,
) -> Result<PutUserPermissionsBoundaryOutput, ApiError> {
    let name = required(input.user_name, "userName")?;
    let arn = required(input.permissions_boundary, "permissionsBoundary")?;
    set::<UserDoc>(service, call, "iam:PutUserPermissionsBoundary", name, Some(arn)).await?;
    Ok(PutUserPermissionsBoundaryOutput {})
}

pub async fn delete_user(
    service: &IdentityService,
    call: &Call,
    input: DeleteUserPermissionsBoundaryInput,
) -> Result<DeleteUserPermissionsBoundaryOutput, ApiError> {
    let name = required(input.user_name, "userName")?;
    set::<UserDoc>(service, call, "iam:DeleteUserPermissionsBoundary", name, None).await?;
    Ok(DeleteUserPermissionsBoundaryOutput {})
}

pub async fn put_role(
    service: &IdentityService,
    call: &Call,
    input: PutRolePermissionsBoundaryInput,
) -> Result<PutRolePermissionsBoundaryOutput, ApiError> {
    let name = required(input.role_name, "roleName")?;
    let arn = required(input.permissions_boundary, "permissionsBoundary")?;
    set::<RoleDoc>(service, call, "iam:PutRolePermissionsBoundary", name, Some(arn)).await?;
    Ok(PutRolePermissionsBoundaryOutput {})
}

pub async fn delete_role(
    service: &IdentityService,
    call: &Call,
    input: DeleteRolePermissionsBoundaryInput,
) -> Result<DeleteRolePermissionsBoundaryOutput, ApiError> {
    let name = required(input.role_name, "roleName")?;
    set::<RoleDoc>(service, call, "iam:DeleteRolePermissionsBoundary", name, None).await?;
    Ok(DeleteRolePermissionsBoundaryOutput {})
}
