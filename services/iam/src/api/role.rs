//! Roles. Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html>.

use super::context::Context;
use super::page::Paging;
use super::{render, required, tag};
use crate::documents::{Entity, EntityKind, Held, IdDoc, RoleDoc, Usage, UserDoc, entity_arn};
use crate::limits;
use crate::problem::Problem;
use crate::service::IdentityService;
use std::collections::BTreeMap;
use towpath_api::{ApiError, Arn, Call, id};
use towpath_api_iam::*;
use towpath_policy::{Kind, Policy, PolicyError, PrincipalId, quota_size};
use towpath_store::Txn;

impl IdentityService {
    /// Checks a trust policy, and finds the unique ids of the users and roles that it names, which must
    /// exist: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>.
    async fn check_trust(&self, document: &str) -> Result<BTreeMap<String, String>, Problem> {
        let policy = Policy::parse(Kind::Trust, document)?;
        if quota_size(document) > limits::TRUST_POLICY_SIZE {
            return Err(Problem::Quota { name: "ACLSizePerRole", limit: limits::TRUST_POLICY_SIZE });
        }
        let mut ids = BTreeMap::new();
        let principals = policy.statements.iter().filter_map(|statement| statement.principals.as_ref());
        for principal in principals.flat_map(|principals| principals.ids()) {
            let arn = match principal {
                PrincipalId::Arn(arn) => arn,
                PrincipalId::Federated(name) => return Err(invalid("FEDERATED", name)),
                PrincipalId::CanonicalUser(name) => return Err(invalid("CANONICALUSER", name)),
                _ => continue,
            };
            let Some(parsed) = Arn::parse(arn) else { return Err(invalid("AWS", arn)) };
            if parsed.account != self.account() || parsed.service != "iam" {
                continue;
            }
            let id = if parsed.resource.starts_with("role/") {
                self.by_arn::<RoleDoc>(arn).await?.map(|role| role.into_doc().id)
            } else {
                self.by_arn::<UserDoc>(arn).await?.map(|user| user.into_doc().id)
            };
            ids.insert(arn.clone(), id.ok_or_else(|| invalid("AWS", arn))?);
        }
        Ok(ids)
    }
}

impl IdentityService {
    /// The trust policy as it holds now: a user or role that was renamed appears under its new ARN, one
    /// that was deleted as its unique id, which nobody else will ever have.
    async fn shown_trust(&self, role: &RoleDoc) -> Result<String, Problem> {
        let mut document = role.trust.clone();
        for (arn, id) in &role.trusted_ids {
            let user = self.by_id::<UserDoc>(id).await?.map(|user| user.arn(self.account()));
            let current = match user {
                Some(arn) => Some(arn),
                None => self.by_id::<RoleDoc>(id).await?.map(|role| role.arn(self.account())),
            };
            let current = current.as_ref().unwrap_or(id);
            if current != arn {
                document = document.replace(&format!("\"{arn}\""), &format!("\"{current}\""));
            }
        }
        Ok(document)
    }

    async fn rendered_role(&self, role: &RoleDoc) -> Result<Role, Problem> {
        let last_use = self.last_use(&role.id).await?;
        Ok(render::role(self.account(), role, &self.shown_trust(role).await?, last_use))
    }
}

fn invalid(kind: &str, value: &str) -> Problem {
    PolicyError::InvalidPrincipal { kind: kind.to_owned(), value: value.to_owned() }.into()
}

pub async fn create(
    service: &IdentityService,
    call: &Call,
    input: CreateRoleInput,
) -> Result<CreateRoleOutput, ApiError> {
    let name = required(input.role_name, "roleName")?;
    let trust = required(input.assume_role_policy_document, "assumeRolePolicyDocument")?;
    let path = input.path.unwrap_or_else(|| "/".to_owned());
    let tags = tag::stored(input.tags.unwrap_or_default());
    let context = Context::default().boundary(input.permissions_boundary.as_deref()).request_tags(&tags);
    context.authorize(
        call,
        "iam:CreateRole",
        &entity_arn(service.account(), EntityKind::Role, &path, &name),
    )?;
    tag::check(&tags)?;
    let writer = service.writer().await;
    let trusted_ids = service.check_trust(&trust).await?;
    if service.store.get::<RoleDoc>(&name.to_lowercase()).await.map_err(Problem::from)?.is_some() {
        return Err(Problem::EntityExists { kind: EntityKind::Role, name }.into());
    }
    service.check_quota::<RoleDoc>("RolesPerAccount", limits::ROLES).await?;
    let role = RoleDoc {
        id: id::iam_id("AROA", 21),
        created_at: service.store.now(),
        name,
        path,
        description: input.description,
        max_session_seconds: input.max_session_duration.unwrap_or(limits::SESSION_SECONDS_DEFAULT),
        trust,
        trusted_ids,
        boundary: input.permissions_boundary,
        tags,
        held: Held::default(),
    };
    let mut txn = Txn::new();
    txn.create(&role).create(&IdDoc { id: role.id.clone(), kind: EntityKind::Role, name: role.name.clone() });
    if let Some(arn) = role.boundary.as_deref() {
        service.use_policy(&mut txn, arn, Usage::Boundary, EntityKind::Role, &role.id).await?;
    }
    writer.commit(txn).await?;
    let rendered = render::role(service.account(), &role, &role.trust, None);
    Ok(CreateRoleOutput { role: Some(Role { role_last_used: None, ..rendered }) })
}

pub async fn get(
    service: &IdentityService,
    call: &Call,
    input: GetRoleInput,
) -> Result<GetRoleOutput, ApiError> {
    let name = required(input.role_name, "roleName")?;
    let role = service.authorized::<RoleDoc>(call, "iam:GetRole", &name, Context::default()).await?;
    Ok(GetRoleOutput { role: Some(service.rendered_role(&role).await?) })
}

pub async fn list(
    service: &IdentityService,
    call: &Call,
    input: ListRolesInput,
) -> Result<ListRolesOutput, ApiError> {
    call.authorize("iam:ListRoles", &entity_arn(service.account(), EntityKind::Role, "/", ""), &[])?;
    let paging = Paging::new(input.marker, input.max_items);
    let (roles, marker) = service.list_entities::<RoleDoc>(&paging, input.path_prefix.as_deref()).await?;
    let mut rendered = Vec::with_capacity(roles.len());
    for role in &roles {
        rendered.push(render::listed_role(service.account(), role, &service.shown_trust(role).await?));
    }
    Ok(ListRolesOutput { roles: Some(rendered), is_truncated: Some(marker.is_some()), marker })
}

/// Changes what `change` changes, under the role's lock.
async fn changed(
    service: &IdentityService,
    call: &Call,
    action: &str,
    name: &str,
    change: impl FnOnce(&mut RoleDoc),
) -> Result<RoleDoc, ApiError> {
    let writer = service.writer().await;
    let old = service.authorized::<RoleDoc>(call, action, name, Context::default()).await?;
    let mut new = old.doc.clone();
    change(&mut new);
    let mut txn = Txn::new();
    txn.replace(&old, &new);
    writer.commit(txn).await?;
    Ok(new)
}

/// What is absent is reset: an absent duration is an hour, an absent description is none, as in IAM.
pub async fn update(
    service: &IdentityService,
    call: &Call,
    input: UpdateRoleInput,
) -> Result<UpdateRoleOutput, ApiError> {
    let name = required(input.role_name, "roleName")?;
    changed(service, call, "iam:UpdateRole", &name, |role| {
        role.description = input.description;
        role.max_session_seconds = input.max_session_duration.unwrap_or(limits::SESSION_SECONDS_DEFAULT);
    })
    .await?;
    Ok(UpdateRoleOutput {})
}

pub async fn describe(
    service: &IdentityService,
    call: &Call,
    input: UpdateRoleDescriptionInput,
) -> Result<UpdateRoleDescriptionOutput, ApiError> {
    let name = required(input.role_name, "roleName")?;
    let description = required(input.description, "description")?;
    let role = changed(service, call, "iam:UpdateRoleDescription", &name, |role| {
        role.description = Some(description);
    })
    .await?;
    Ok(UpdateRoleDescriptionOutput { role: Some(service.rendered_role(&role).await?) })
}

pub async fn update_trust(
    service: &IdentityService,
    call: &Call,
    input: UpdateAssumeRolePolicyInput,
) -> Result<UpdateAssumeRolePolicyOutput, ApiError> {
    let name = required(input.role_name, "roleName")?;
    let trust = required(input.policy_document, "policyDocument")?;
    let writer = service.writer().await;
    let old =
        service.authorized::<RoleDoc>(call, "iam:UpdateAssumeRolePolicy", &name, Context::default()).await?;
    let trusted_ids = service.check_trust(&trust).await?;
    let mut txn = Txn::new();
    txn.replace(&old, &RoleDoc { trust, trusted_ids, ..old.doc.clone() });
    writer.commit(txn).await?;
    Ok(UpdateAssumeRolePolicyOutput {})
}

pub async fn delete(
    service: &IdentityService,
    call: &Call,
    input: DeleteRoleInput,
) -> Result<DeleteRoleOutput, ApiError> {
    let name = required(input.role_name, "roleName")?;
    let writer = service.writer().await;
    let role = service.authorized::<RoleDoc>(call, "iam:DeleteRole", &name, Context::default()).await?;
    if !role.held.attached.is_empty() {
        return Err(Problem::EntityInUse("detach all policies").into());
    }
    if !role.held.inline.is_empty() {
        return Err(Problem::EntityInUse("delete policies").into());
    }
    let mut txn = Txn::new();
    service.remove(&mut txn, &role).await?;
    writer.commit(txn).await?;
    Ok(DeleteRoleOutput {})
}
