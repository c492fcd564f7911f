//! The operations, one file per resource. Each authorizes first, on the resource's ARN whether or not it
//! exists, and renders last.

mod access_key;
mod boundary;
mod context;
mod credential;
mod group;
mod held;
mod membership;
mod page;
mod policy;
mod policy_version;
mod render;
mod role;
mod sts;
mod tag;
mod usage_of;
mod user;

use crate::service::IdentityService;
use std::time::Duration;
use towpath_api::{ApiError, Call, async_trait, id};
use towpath_api_iam::*;
use towpath_api_sts::{
    AssumeRoleInput, AssumeRoleOutput, GetAccessKeyInfoInput, GetAccessKeyInfoOutput, GetCallerIdentityInput,
    GetCallerIdentityOutput, GetSessionTokenInput, GetSessionTokenOutput, Sts,
};

/// A member that the model requires: the wire layer refuses its absence, callers in process meet this.
fn required<T>(member: Option<T>, name: &str) -> Result<T, ApiError> {
    member.ok_or_else(|| {
        ApiError::client(
            "ValidationError",
            format!(
                "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
            ),
        )
    })
}

/// How often an operation is decided again because another node changed something at the same moment.
const ROUNDS: u32 = 20;
/// [`crate::problem::Problem`]'s code for it. Nothing of the operation was written then.
const CONFLICT: &str = "ConcurrentModification";

/// Up to 20 ms, so that two nodes do not meet again and again.
async fn pause() {
    let [random] = id::random_bytes::<1>();
    tokio::time::sleep(Duration::from_micros(u64::from(random) * 80)).await;
}

macro_rules! operations {
    (impl $trait:ident { $($name:ident($input:ty) -> $output:ty = $($handler:ident)::+;)* }) => {
        #[async_trait]
        impl $trait for IdentityService {
            $(async fn $name(&self, call: &Call, input: $input) -> Result<$output, ApiError> {
                for _ in 1..ROUNDS {
                    match $($handler)::+(self, call, input.clone()).await {
                        Err(error) if error.code == CONFLICT => pause().await,
                        outcome => return outcome,
                    }
                }
                $($handler)::+(self, call, input).await
            })*
        }
    };
}

operations! {
    impl Sts {
        assume_role(AssumeRoleInput) -> AssumeRoleOutput = sts::assume_role;
        get_access_key_info(GetAccessKeyInfoInput) -> GetAccessKeyInfoOutput = sts::get_access_key_info;
        get_caller_identity(GetCallerIdentityInput) -> GetCallerIdentityOutput = sts::get_caller_identity;
        get_session_token(GetSessionTokenInput) -> GetSessionTokenOutput = sts::get_session_token;
    }
}

operations! {
    impl Iam {
        create_user(CreateUserInput) -> CreateUserOutput = user::create;
        get_user(GetUserInput) -> GetUserOutput = user::get;
        list_users(ListUsersInput) -> ListUsersOutput = user::list;
        update_user(UpdateUserInput) -> UpdateUserOutput = user::update;
        delete_user(DeleteUserInput) -> DeleteUserOutput = user::delete;

        create_group(CreateGroupInput) -> CreateGroupOutput = group::create;
        get_group(GetGroupInput) -> GetGroupOutput = group::get;
        list_groups(ListGroupsInput) -> ListGroupsOutput = group::list;
        update_group(UpdateGroupInput) -> UpdateGroupOutput = group::update;
        delete_group(DeleteGroupInput) -> DeleteGroupOutput = group::delete;
        add_user_to_group(AddUserToGroupInput) -> AddUserToGroupOutput = membership::add;
        remove_user_from_group(RemoveUserFromGroupInput) -> RemoveUserFromGroupOutput = membership::remove;
        list_groups_for_user(ListGroupsForUserInput) -> ListGroupsForUserOutput = membership::list;

        create_role(CreateRoleInput) -> CreateRoleOutput = role::create;
        get_role(GetRoleInput) -> GetRoleOutput = role::get;
        list_roles(ListRolesInput) -> ListRolesOutput = role::list;
        update_role(UpdateRoleInput) -> UpdateRoleOutput = role::update;
        update_role_description(UpdateRoleDescriptionInput) -> UpdateRoleDescriptionOutput = role::describe;
        update_assume_role_policy(UpdateAssumeRolePolicyInput) -> UpdateAssumeRolePolicyOutput = role::update_trust;
        delete_role(DeleteRoleInput) -> DeleteRoleOutput = role::delete;

        create_access_key(CreateAccessKeyInput) -> CreateAccessKeyOutput = access_key::create;
        list_access_keys(ListAccessKeysInput) -> ListAccessKeysOutput = access_key::list;
        update_access_key(UpdateAccessKeyInput) -> UpdateAccessKeyOutput = access_key::update;
        delete_access_key(DeleteAccessKeyInput) -> DeleteAccessKeyOutput = access_key::delete;
        get_access_key_last_used(GetAccessKeyLastUsedInput) -> GetAccessKeyLastUsedOutput = access_key::last_used;

        create_policy(CreatePolicyInput) -> CreatePolicyOutput = policy::create;
        get_policy(GetPolicyInput) -> GetPolicyOutput = policy::get;
        list_policies(ListPoliciesInput) -> ListPoliciesOutput = policy::list;
        delete_policy(DeletePolicyInput) -> DeletePolicyOutput = policy::delete;
        list_entities_for_policy(ListEntitiesForPolicyInput) -> ListEntitiesForPolicyOutput = usage_of::list;
        create_policy_version(CreatePolicyVersionInput) -> CreatePolicyVersionOutput = policy_version::create;
        get_policy_version(GetPolicyVersionInput) -> GetPolicyVersionOutput = policy_version::get;
        list_policy_versions(ListPolicyVersionsInput) -> ListPolicyVersionsOutput = policy_version::list;
        set_default_policy_version(SetDefaultPolicyVersionInput) -> SetDefaultPolicyVersionOutput = policy_version::set_default;
        delete_policy_version(DeletePolicyVersionInput) -> DeletePolicyVersionOutput = policy_version::delete;

        attach_user_policy(AttachUserPolicyInput) -> AttachUserPolicyOutput = held::user::attach;
        detach_user_policy(DetachUserPolicyInput) -> DetachUserPolicyOutput = held::user::detach;
        list_attached_user_policies(ListAttachedUserPoliciesInput) -> ListAttachedUserPoliciesOutput = held::user::attached;
        put_user_policy(PutUserPolicyInput) -> PutUserPolicyOutput = held::user::put;
        get_user_policy(GetUserPolicyInput) -> GetUserPolicyOutput = held::user::get;
        list_user_policies(ListUserPoliciesInput) -> ListUserPoliciesOutput = held::user::list;
        delete_user_policy(DeleteUserPolicyInput) -> DeleteUserPolicyOutput = held::user::delete;
        attach_group_policy(AttachGroupPolicyInput) -> AttachGroupPolicyOutput = held::group::attach;
        detach_group_policy(DetachGroupPolicyInput) -> DetachGroupPolicyOutput = held::group::detach;
        list_attached_group_policies(ListAttachedGroupPoliciesInput) -> ListAttachedGroupPoliciesOutput = held::group::attached;
        put_group_policy(PutGroupPolicyInput) -> PutGroupPolicyOutput = held::group::put;
        get_group_policy(GetGroupPolicyInput) -> GetGroupPolicyOutput = held::group::get;
        list_group_policies(ListGroupPoliciesInput) -> ListGroupPoliciesOutput = held::group::list;
        delete_group_policy(DeleteGroupPolicyInput) -> DeleteGroupPolicyOutput = held::group::delete;
        attach_role_policy(AttachRolePolicyInput) -> AttachRolePolicyOutput = held::role::attach;
        detach_role_policy(DetachRolePolicyInput) -> DetachRolePolicyOutput = held::role::detach;
        list_attached_role_policies(ListAttachedRolePoliciesInput) -> ListAttachedRolePoliciesOutput = held::role::attached;
        put_role_policy(PutRolePolicyInput) -> PutRolePolicyOutput = held::role::put;
        get_role_policy(GetRolePolicyInput) -> GetRolePolicyOutput = held::role::get;
        list_role_policies(ListRolePoliciesInput) -> ListRolePoliciesOutput = held::role::list;
        delete_role_policy(DeleteRolePolicyInput) -> DeleteRolePolicyOutput = held::role::delete;

        put_user_permissions_boundary(PutUserPermissionsBoundaryInput) -> PutUserPermissionsBoundaryOutput = boundary::put_user;
        delete_user_permissions_boundary(DeleteUserPermissionsBoundaryInput) -> DeleteUserPermissionsBoundaryOutput = boundary::delete_user;
        put_role_permissions_boundary(PutRolePermissionsBoundaryInput) -> PutRolePermissionsBoundaryOutput = boundary::put_role;
        delete_role_permissions_boundary(DeleteRolePermissionsBoundaryInput) -> DeleteRolePermissionsBoundaryOutput = boundary::delete_role;

        create_service_specific_credential(CreateServiceSpecificCredentialInput) -> CreateServiceSpecificCredentialOutput = credential::create;
        list_service_specific_credentials(ListServiceSpecificCredentialsInput) -> ListServiceSpecificCredentialsOutput = credential::list;
        update_service_specific_credential(UpdateServiceSpecificCredentialInput) -> UpdateServiceSpecificCredentialOutput = credential::update;
        reset_service_specific_credential(ResetServiceSpecificCredentialInput) -> ResetServiceSpecificCredentialOutput = credential::reset;
        delete_service_specific_credential(DeleteServiceSpecificCredentialInput) -> DeleteServiceSpecificCredentialOutput = credential::delete;

        tag_user(TagUserInput) -> TagUserOutput = tag::tag_user;
        untag_user(UntagUserInput) -> UntagUserOutput = tag::untag_user;
        list_user_tags(ListUserTagsInput) -> ListUserTagsOutput = tag::list_user;
        tag_role(TagRoleInput) -> TagRoleOutput = tag::tag_role;
        untag_role(UntagRoleInput) -> UntagRoleOutput = tag::untag_role;
        list_role_tags(ListRoleTagsInput) -> ListRoleTagsOutput = tag::list_role;
        tag_policy(TagPolicyInput) -> TagPolicyOutput = tag::tag_policy;
        untag_policy(UntagPolicyInput) -> UntagPolicyOutput = tag::untag_policy;
        list_policy_tags(ListPolicyTagsInput) -> ListPolicyTagsOutput = tag::list_policy;
    }
}
