//! Which users, groups and roles use a managed policy, and the bookkeeping of it.
//! Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListEntitiesForPolicy.html>.

use super::context::Context;
use super::page::Paging;
use super::required;
use crate::documents::{AttachmentDoc, Entity, EntityKind, GroupDoc, ManagedDoc, RoleDoc, Usage, UserDoc};
use crate::problem::Problem;
use crate::service::{IdentityService, ManagedPolicy};
use towpath_api::{ApiError, Call};
use towpath_api_iam::*;
use towpath_store::{Document, Order, Txn, key};

impl IdentityService {
    /// Writes down that an entity uses a policy, which must exist. The policy's counters move with it, so
    /// that it cannot be deleted at the same time.
    pub(super) async fn use_policy(
        &self,
        txn: &mut Txn,
        arn: &str,
        usage: Usage,
        kind: EntityKind,
        entity_id: &str,
    ) -> Result<(), Problem> {
        match self.find_policy(arn).await? {
            Some(ManagedPolicy::Local(policy)) => {
                let mut counted = policy.doc.clone();
                *counter(&mut counted, usage) += 1;
                txn.replace(&policy, &counted);
            }
            Some(ManagedPolicy::Aws(_)) => {}
            None if usage == Usage::Boundary => return Err(Problem::BoundaryNotAttachable(arn.to_owned())),
            None => return Err(Problem::NotAttachable(arn.to_owned())),
        }
        let (policy_arn, entity_id) = (arn.to_owned(), entity_id.to_owned());
        txn.put(&AttachmentDoc { policy_arn, usage, kind, entity_id });
        Ok(())
    }

    pub(super) async fn disuse_policy(
        &self,
        txn: &mut Txn,
        arn: &str,
        usage: Usage,
        kind: EntityKind,
        entity_id: &str,
    ) -> Result<(), Problem> {
        if let Some(ManagedPolicy::Local(policy)) = self.find_policy(arn).await? {
            let mut counted = policy.doc.clone();
            let count = counter(&mut counted, usage);
            *count = count.saturating_sub(1);
            txn.replace(&policy, &counted);
        }
        let (policy_arn, entity_id) = (arn.to_owned(), entity_id.to_owned());
        let attachment = AttachmentDoc { policy_arn, usage, kind, entity_id };
        if let Some(stored) = self.store.get::<AttachmentDoc>(&Document::key(&attachment)).await? {
            txn.delete(&stored);
        }
        Ok(())
    }

    async fn named<E: Entity>(&self, id: &str, prefix: &str) -> Result<Option<(String, String)>, Problem> {
        let entity = self.by_id::<E>(id).await?;
        let entity = entity.filter(|entity| entity.path().starts_with(prefix));
        Ok(entity.map(|entity| (entity.name().to_owned(), entity.id().to_owned())))
    }
}

fn counter(policy: &mut ManagedDoc, usage: Usage) -> &mut u32 {
    match usage {
        Usage::Permissions => &mut policy.attachments,
        Usage::Boundary => &mut policy.boundaries,
    }
}

fn wanted(input: &ListEntitiesForPolicyInput, attachment: &AttachmentDoc) -> bool {
    let of_kind = match input.entity_filter.as_deref() {
        Some("User") => attachment.kind == EntityKind::User,
        Some("Group") => attachment.kind == EntityKind::Group,
        Some("Role") => attachment.kind == EntityKind::Role,
        Some(_) => false,
        None => true,
    };
    let of_usage = match input.policy_usage_filter.as_deref() {
        Some("PermissionsPolicy") => attachment.usage == Usage::Permissions,
        Some("PermissionsBoundary") => attachment.usage == Usage::Boundary,
        _ => true,
    };
    of_kind && of_usage
}

pub async fn list(
    service: &IdentityService,
    call: &Call,
    input: ListEntitiesForPolicyInput,
) -> Result<ListEntitiesForPolicyOutput, ApiError> {
    let arn = required(input.policy_arn.clone(), "policyArn")?;
    service.authorized_policy(call, "iam:ListEntitiesForPolicy", &arn, Context::default()).await?;
    let mut attachments: Vec<AttachmentDoc> = Vec::new();
    let mut after = None;
    loop {
        let page = service
            .store
            .list::<AttachmentDoc>(&key(&[&arn, ""]), after.as_deref(), 1000, Order::Ascending)
            .await;
        let page = page.map_err(Problem::from)?;
        attachments.extend(page.items.into_iter().map(|attachment| attachment.into_doc()));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    attachments.retain(|attachment| wanted(&input, attachment));
    // An entity that has the policy both ways is listed once.
    attachments.sort_by(|a, b| (a.kind, &a.entity_id).cmp(&(b.kind, &b.entity_id)));
    attachments.dedup_by(|a, b| (a.kind, &a.entity_id) == (b.kind, &b.entity_id));
    let paging = Paging::new(input.marker, input.max_items);
    let (attachments, marker) =
        paging.of(attachments, |attachment| key(&[attachment.kind.as_str(), &attachment.entity_id]));
    let prefix = input.path_prefix.unwrap_or_else(|| "/".to_owned());
    let (mut users, mut groups, mut roles) = (Vec::new(), Vec::new(), Vec::new());
    for AttachmentDoc { kind, entity_id: id, .. } in attachments {
        match kind {
            EntityKind::User => users.extend(
                service
                    .named::<UserDoc>(&id, &prefix)
                    .await?
                    .map(|(name, id)| PolicyUser { user_name: Some(name), user_id: Some(id) }),
            ),
            EntityKind::Group => groups.extend(
                service
                    .named::<GroupDoc>(&id, &prefix)
                    .await?
                    .map(|(name, id)| PolicyGroup { group_name: Some(name), group_id: Some(id) }),
            ),
            EntityKind::Role => roles.extend(
                service
                    .named::<RoleDoc>(&id, &prefix)
                    .await?
                    .map(|(name, id)| PolicyRole { role_name: Some(name), role_id: Some(id) }),
            ),
        }
    }
    Ok(ListEntitiesForPolicyOutput {
        policy_users: Some(users),
        policy_groups: Some(groups),
        policy_roles: Some(roles),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}
