//! From documents to the API's shapes.

use crate::aws_managed::AwsManaged;
use crate::documents::{Entity, GroupDoc, LastUseDoc, ManagedDoc, RoleDoc, Tag as StoredTag, UserDoc};
use towpath_api_iam::{AttachedPermissionsBoundary, Group, Policy, Role, RoleLastUsed, Tag, User};

/// Percent-encodes everything but RFC 3986's unreserved characters, as IAM gives policy documents.
pub fn url_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

pub fn tags(tags: &[StoredTag]) -> Vec<Tag> {
    tags.iter().map(|tag| Tag { key: Some(tag.key.clone()), value: Some(tag.value.clone()) }).collect()
}

fn some_tags(stored: &[StoredTag]) -> Option<Vec<Tag>> {
    (!stored.is_empty()).then(|| tags(stored))
}

fn boundary(arn: Option<&str>) -> Option<AttachedPermissionsBoundary> {
    arn.map(|arn| AttachedPermissionsBoundary {
        permissions_boundary_type: Some("Policy".to_owned()),
        permissions_boundary_arn: Some(arn.to_owned()),
    })
}

/// With tags and boundary, as single users are shown; listings leave them out.
pub fn user(account: &str, user: &UserDoc) -> User {
    User {
        tags: some_tags(&user.tags),
        permissions_boundary: boundary(user.boundary.as_deref()),
        ..listed_user(account, user)
    }
}

pub fn listed_user(account: &str, user: &UserDoc) -> User {
    User {
        path: Some(user.path.clone()),
        user_name: Some(user.name.clone()),
        user_id: Some(user.id.clone()),
        arn: Some(user.arn(account)),
        create_date: Some(user.created_at),
        ..User::default()
    }
}

pub fn group(account: &str, group: &GroupDoc) -> Group {
    Group {
        path: Some(group.path.clone()),
        group_name: Some(group.name.clone()),
        group_id: Some(group.id.clone()),
        arn: Some(group.arn(account)),
        create_date: Some(group.created_at),
    }
}

/// `trust` is the trust policy as it is to be shown.
pub fn listed_role(account: &str, role: &RoleDoc, trust: &str) -> Role {
    Role {
        path: Some(role.path.clone()),
        role_name: Some(role.name.clone()),
        role_id: Some(role.id.clone()),
        arn: Some(role.arn(account)),
        create_date: Some(role.created_at),
        assume_role_policy_document: Some(url_encode(trust)),
        description: role.description.clone(),
        max_session_duration: Some(role.max_session_seconds),
        ..Role::default()
    }
}

pub fn role(account: &str, role: &RoleDoc, trust: &str, last_use: Option<LastUseDoc>) -> Role {
    let last_used =
        last_use.map(|last| RoleLastUsed { last_used_date: Some(last.at), region: Some(last.region) });
    Role {
        tags: some_tags(&role.tags),
        permissions_boundary: boundary(role.boundary.as_deref()),
        role_last_used: Some(last_used.unwrap_or_default()),
        ..listed_role(account, role, trust)
    }
}

pub fn listed_policy(policy: &ManagedDoc) -> Policy {
    Policy {
        policy_name: Some(policy.name.clone()),
        policy_id: Some(policy.id.clone()),
        arn: Some(policy.arn.clone()),
        path: Some(policy.path.clone()),
        default_version_id: Some(format!("v{}", policy.default_version)),
        attachment_count: Some(i64::from(policy.attachments)),
        permissions_boundary_usage_count: Some(i64::from(policy.boundaries)),
        is_attachable: Some(true),
        create_date: Some(policy.created_at),
        update_date: Some(policy.updated_at),
        ..Policy::default()
    }
}

pub fn policy(policy: &ManagedDoc) -> Policy {
    Policy { description: policy.description.clone(), tags: some_tags(&policy.tags), ..listed_policy(policy) }
}

pub fn aws_policy(policy: &AwsManaged, attachments: i64, boundaries: i64) -> Policy {
    Policy {
        policy_name: Some(policy.name.to_owned()),
        policy_id: Some(policy.id()),
        arn: Some(policy.arn()),
        path: Some(policy.path.to_owned()),
        default_version_id: Some(format!("v{}", policy.version)),
        attachment_count: Some(attachments),
        permissions_boundary_usage_count: Some(boundaries),
        is_attachable: Some(true),
        create_date: Some(policy.created_at()),
        update_date: Some(policy.updated_at()),
        ..Policy::default()
    }
}
