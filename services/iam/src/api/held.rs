//! Attached and inline policies of users, groups and roles: seven operations for each of the three, which
//! differ only in names. Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_AttachUserPolicy.html>,
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutUserPolicy.html>.

use super::context::Context;
use super::page::{Page, Paging};
use super::render::url_encode;
use crate::documents::{Entity, EntityKind, Usage};
use crate::limits::ATTACHED_POLICIES;
use crate::problem::Problem;
use crate::service::IdentityService;
use towpath_api::{ApiError, Call};
use towpath_api_iam::AttachedPolicy;
use towpath_policy::{Kind, Policy, quota_size};
use towpath_store::Txn;

/// Whose policies an operation changes or shows.
struct Target<'a> {
    service: &'a IdentityService,
    call: &'a Call,
    action: &'static str,
    name: String,
}

impl Target<'_> {
    /// The boundary is a condition key of everything that changes permissions.
    async fn load<E: Entity>(&self, context: Context) -> Result<towpath_store::Versioned<E>, ApiError> {
        let boundary = self.service.find::<E>(&self.name).await?;
        let context = context.boundary(boundary.as_ref().and_then(|entity| entity.boundary()));
        self.service.authorized::<E>(self.call, self.action, &self.name, context).await
    }

    async fn attach<E: Entity>(&self, arn: String) -> Result<(), ApiError> {
        let writer = self.service.writer().await;
        let old = self.load::<E>(Context::default().with("iam:PolicyARN", &arn)).await?;
        if old.held().attached.contains(&arn) {
            return Ok(());
        }
        let mut txn = Txn::new();
        self.service.use_policy(&mut txn, &arn, Usage::Permissions, E::ENTITY, old.id()).await?;
        if old.held().attached.len() >= ATTACHED_POLICIES {
            let name = match E::ENTITY {
                EntityKind::User => "PoliciesPerUser",
                EntityKind::Group => "PoliciesPerGroup",
                EntityKind::Role => "PoliciesPerRole",
            };
            return Err(Problem::Quota { name, limit: ATTACHED_POLICIES }.into());
        }
        let mut new = old.doc.clone();
        new.held_mut().attached.insert(arn);
        txn.replace(&old, &new);
        Ok(writer.commit(txn).await?)
    }

    async fn detach<E: Entity>(&self, arn: String) -> Result<(), ApiError> {
        let writer = self.service.writer().await;
        let old = self.load::<E>(Context::default().with("iam:PolicyARN", &arn)).await?;
        let mut new = old.doc.clone();
        if !new.held_mut().attached.remove(&arn) {
            return Err(Problem::NoPolicy(arn).into());
        }
        let mut txn = Txn::new();
        self.service.disuse_policy(&mut txn, &arn, Usage::Permissions, E::ENTITY, old.id()).await?;
        txn.replace(&old, &new);
        Ok(writer.commit(txn).await?)
    }

    async fn attached<E: Entity>(
        &self,
        paging: Paging,
        prefix: Option<String>,
    ) -> Result<Page<AttachedPolicy>, ApiError> {
        let entity = self.load::<E>(Context::default()).await?;
        let prefix = prefix.unwrap_or_else(|| "/".to_owned());
        let mut policies = Vec::new();
        for arn in &entity.held().attached {
            if let Some(policy) = self.service.find_policy(arn).await?
                && policy.path().starts_with(&prefix)
            {
                policies.push(AttachedPolicy {
                    policy_name: Some(policy.name().to_owned()),
                    policy_arn: Some(policy.arn()),
                });
            }
        }
        Ok(paging.of(policies, |policy| policy.policy_arn.clone().unwrap_or_default()))
    }

    async fn put<E: Entity>(&self, policy_name: String, document: String) -> Result<(), ApiError> {
        let writer = self.service.writer().await;
        let old = self.load::<E>(Context::default()).await?;
        Policy::parse(Kind::Identity, &document).map_err(Problem::from)?;
        let mut new = old.doc.clone();
        new.held_mut().inline.insert(policy_name, document);
        let limit = match E::ENTITY {
            EntityKind::User => 2048,
            EntityKind::Group => 5120,
            EntityKind::Role => 10_240,
        };
        let size: usize = new.held().inline.values().map(|document| quota_size(document)).sum();
        if size > limit {
            return Err(Problem::InlineSize { kind: E::ENTITY, name: self.name.clone(), limit }.into());
        }
        let mut txn = Txn::new();
        txn.replace(&old, &new);
        Ok(writer.commit(txn).await?)
    }

    fn no_inline<E: Entity>(name: &str) -> ApiError {
        Problem::NoInlinePolicy { kind: E::ENTITY, name: name.to_owned() }.into()
    }

    /// The document, encoded.
    async fn get<E: Entity>(&self, policy_name: &str) -> Result<String, ApiError> {
        let entity = self.load::<E>(Context::default()).await?;
        let document = entity.held().inline.get(policy_name);
        document.map(|document| url_encode(document)).ok_or_else(|| Self::no_inline::<E>(policy_name))
    }

    async fn list<E: Entity>(&self, paging: Paging) -> Result<Page<String>, ApiError> {
        let entity = self.load::<E>(Context::default()).await?;
        Ok(paging.of(entity.held().inline.keys().cloned().collect(), String::clone))
    }

    async fn delete<E: Entity>(&self, policy_name: &str) -> Result<(), ApiError> {
        let writer = self.service.writer().await;
        let old = self.load::<E>(Context::default()).await?;
        let mut new = old.doc.clone();
        if new.held_mut().inline.remove(policy_name).is_none() {
            return Err(Self::no_inline::<E>(policy_name));
        }
        let mut txn = Txn::new();
        txn.replace(&old, &new);
        Ok(writer.commit(txn).await?)
    }
}

macro_rules! operations_of {
    (
        $module:ident: $document:ident, $name:ident, $wire_name:literal;
        $attach:ident, $detach:ident, $attached:ident, $put:ident, $get:ident, $list:ident, $delete:ident;
        $attach_in:ident -> $attach_out:ident, $detach_in:ident -> $detach_out:ident,
        $attached_in:ident -> $attached_out:ident, $put_in:ident -> $put_out:ident,
        $get_in:ident -> $get_out:ident, $list_in:ident -> $list_out:ident, $delete_in:ident -> $delete_out:ident
    ) => {
        pub mod $module {
            use super::{Paging, Target};
            use crate::api::required;
            use crate::documents::$document;
            use crate::service::IdentityService;
            use towpath_api::{ApiError, Call};
            use towpath_api_iam::*;

            type Service = IdentityService;

            pub async fn attach(
                service: &Service,
                call: &Call,
                input: $attach_in,
            ) -> Result<$attach_out, ApiError> {
                let action = concat!("iam:", stringify!($attach));
                let target = Target { service, call, action, name: required(input.$name, $wire_name)? };
                target.attach::<$document>(required(input.policy_arn, "policyArn")?).await?;
                Ok($attach_out {})
            }

            pub async fn detach(
                service: &Service,
                call: &Call,
                input: $detach_in,
            ) -> Result<$detach_out, ApiError> {
                let action = concat!("iam:", stringify!($detach));
                let target = Target { service, call, action, name: required(input.$name, $wire_name)? };
                target.detach::<$document>(required(input.policy_arn, "policyArn")?).await?;
                Ok($detach_out {})
            }

            pub async fn attached(
                service: &Service,
                call: &Call,
                input: $attached_in,
            ) -> Result<$attached_out, ApiError> {
                let action = concat!("iam:", stringify!($attached));
                let target = Target { service, call, action, name: required(input.$name, $wire_name)? };
                let paging = Paging::new(input.marker, input.max_items);
                let (policies, marker) = target.attached::<$document>(paging, input.path_prefix).await?;
                Ok($attached_out {
                    attached_policies: Some(policies),
                    is_truncated: Some(marker.is_some()),
                    marker,
                })
            }

            pub async fn put(service: &Service, call: &Call, input: $put_in) -> Result<$put_out, ApiError> {
                let action = concat!("iam:", stringify!($put));
                let target = Target { service, call, action, name: required(input.$name, $wire_name)? };
                let document = required(input.policy_document, "policyDocument")?;
                target.put::<$document>(required(input.policy_name, "policyName")?, document).await?;
                Ok($put_out {})
            }

            pub async fn get(service: &Service, call: &Call, input: $get_in) -> Result<$get_out, ApiError> {
                let action = concat!("iam:", stringify!($get));
                let target = Target { service, call, action, name: required(input.$name, $wire_name)? };
                let policy_name = required(input.policy_name, "policyName")?;
                let document = target.get::<$document>(&policy_name).await?;
                Ok($get_out {
                    $name: Some(target.name),
                    policy_name: Some(policy_name),
                    policy_document: Some(document),
                })
            }

            pub async fn list(
                service: &Service,
                call: &Call,
                input: $list_in,
            ) -> Result<$list_out, ApiError> {
                let action = concat!("iam:", stringify!($list));
                let target = Target { service, call, action, name: required(input.$name, $wire_name)? };
                let paging = Paging::new(input.marker, input.max_items);
                let (names, marker) = target.list::<$document>(paging).await?;
                Ok($list_out { policy_names: Some(names), is_truncated: Some(marker.is_some()), marker })
            }

            pub async fn delete(
                service: &Service,
                call: &Call,
                input: $delete_in,
            ) -> Result<$delete_out, ApiError> {
                let action = concat!("iam:", stringify!($delete));
                let target = Target { service, call, action, name: required(input.$name, $wire_name)? };
                target.delete::<$document>(&required(input.policy_name, "policyName")?).await?;
                Ok($delete_out {})
            }
        }
    };
}

operations_of! {
    user: UserDoc, user_name, "userName";
    AttachUserPolicy, DetachUserPolicy, ListAttachedUserPolicies, PutUserPolicy, GetUserPolicy, ListUserPolicies,
    DeleteUserPolicy;
    AttachUserPolicyInput -> AttachUserPolicyOutput, DetachUserPolicyInput -> DetachUserPolicyOutput,
    ListAttachedUserPoliciesInput -> ListAttachedUserPoliciesOutput, PutUserPolicyInput -> PutUserPolicyOutput,
    GetUserPolicyInput -> GetUserPolicyOutput, ListUserPoliciesInput -> ListUserPoliciesOutput,
    DeleteUserPolicyInput -> DeleteUserPolicyOutput
}

operations_of! {
    group: GroupDoc, group_name, "groupName";
    AttachGroupPolicy, DetachGroupPolicy, ListAttachedGroupPolicies, PutGroupPolicy, GetGroupPolicy,
    ListGroupPolicies, DeleteGroupPolicy;
    AttachGroupPolicyInput -> AttachGroupPolicyOutput, DetachGroupPolicyInput -> DetachGroupPolicyOutput,
    ListAttachedGroupPoliciesInput -> ListAttachedGroupPoliciesOutput, PutGroupPolicyInput -> PutGroupPolicyOutput,
    GetGroupPolicyInput -> GetGroupPolicyOutput, ListGroupPoliciesInput -> ListGroupPoliciesOutput,
    DeleteGroupPolicyInput -> DeleteGroupPolicyOutput
}

operations_of! {
    role: RoleDoc, role_name, "roleName";
    AttachRolePolicy, DetachRolePolicy, ListAttachedRolePolicies, PutRolePolicy, GetRolePolicy, ListRolePolicies,
    DeleteRolePolicy;
    AttachRolePolicyInput -> AttachRolePolicyOutput, DetachRolePolicyInput -> DetachRolePolicyOutput,
    ListAttachedRolePoliciesInput -> ListAttachedRolePoliciesOutput, PutRolePolicyInput -> PutRolePolicyOutput,
    GetRolePolicyInput -> GetRolePolicyOutput, ListRolePoliciesInput -> ListRolePoliciesOutput,
    DeleteRolePolicyInput -> DeleteRolePolicyOutput
}
