//! Versions of managed policies. Of AWS's own policies only the default version is known.
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_managed-versioning.html>.

use super::context::Context;
use super::page::Paging;
use super::policy::check_document;
use super::render::url_encode;
use super::required;
use crate::documents::{ManagedDoc, PolicyVersion as StoredVersion};
use crate::limits::VERSIONS_PER_POLICY;
use crate::problem::Problem;
use crate::service::{IdentityService, ManagedPolicy};
use towpath_api::{ApiError, Call};
use towpath_api_iam::*;
use towpath_store::Txn;

/// `v3` → 3.
fn number(arn: &str, version: &str) -> Result<u32, Problem> {
    version
        .strip_prefix('v')
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| Problem::NoVersion { arn: arn.to_owned(), version: version.to_owned() })
}

fn render(number: u32, default: u32, version: &StoredVersion, with_document: bool) -> PolicyVersion {
    PolicyVersion {
        document: with_document.then(|| url_encode(&version.document)),
        version_id: Some(format!("v{number}")),
        is_default_version: Some(number == default),
        create_date: Some(version.created_at),
    }
}

/// The known versions of either kind of policy, newest first, and the default's number.
fn versions(policy: &ManagedPolicy) -> (Vec<(u32, StoredVersion)>, u32) {
    match policy {
        ManagedPolicy::Local(policy) => {
            let versions = policy.versions.iter().rev().map(|(number, version)| (*number, version.clone()));
            (versions.collect(), policy.default_version)
        }
        ManagedPolicy::Aws(policy) => {
            let version =
                StoredVersion { document: policy.document.to_owned(), created_at: policy.updated_at() };
            (vec![(policy.version, version)], policy.version)
        }
    }
}

pub async fn create(
    service: &IdentityService,
    call: &Call,
    input: CreatePolicyVersionInput,
) -> Result<CreatePolicyVersionOutput, ApiError> {
    let arn = required(input.policy_arn, "policyArn")?;
    let document = required(input.policy_document, "policyDocument")?;
    let writer = service.writer().await;
    let old =
        service.authorized_local_policy(call, "iam:CreatePolicyVersion", &arn, Context::default()).await?;
    check_document(&document)?;
    if old.versions.len() >= VERSIONS_PER_POLICY {
        return Err(Problem::VersionQuota.into());
    }
    let (mut new, now) = (old.doc.clone(), service.store.now());
    let number = new.next_version;
    let version = StoredVersion { document, created_at: now };
    new.versions.insert(number, version.clone());
    new.next_version += 1;
    new.updated_at = now;
    if input.set_as_default.unwrap_or(false) {
        new.default_version = number;
    }
    let mut txn = Txn::new();
    txn.replace(&old, &new);
    writer.commit(txn).await?;
    let rendered = render(number, new.default_version, &version, false);
    Ok(CreatePolicyVersionOutput { policy_version: Some(rendered) })
}

pub async fn get(
    service: &IdentityService,
    call: &Call,
    input: GetPolicyVersionInput,
) -> Result<GetPolicyVersionOutput, ApiError> {
    let arn = required(input.policy_arn, "policyArn")?;
    let version = required(input.version_id, "versionId")?;
    let policy = service.authorized_policy(call, "iam:GetPolicyVersion", &arn, Context::default()).await?;
    let number = number(&arn, &version)?;
    let (versions, default) = versions(&policy);
    let found = versions.into_iter().find(|(known, _)| *known == number);
    let (number, stored) = found.ok_or(Problem::NoVersion { arn, version })?;
    Ok(GetPolicyVersionOutput { policy_version: Some(render(number, default, &stored, true)) })
}

pub async fn list(
    service: &IdentityService,
    call: &Call,
    input: ListPolicyVersionsInput,
) -> Result<ListPolicyVersionsOutput, ApiError> {
    let arn = required(input.policy_arn, "policyArn")?;
    let policy = service.authorized_policy(call, "iam:ListPolicyVersions", &arn, Context::default()).await?;
    let (versions, default) = versions(&policy);
    let paging = Paging::new(input.marker, input.max_items);
    // Newest first.
    let (versions, marker) = paging.of(versions, |(number, _)| format!("{:010}", u32::MAX - number));
    let rendered = versions.iter().map(|(number, version)| render(*number, default, version, false));
    Ok(ListPolicyVersionsOutput {
        versions: Some(rendered.collect()),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}

pub async fn set_default(
    service: &IdentityService,
    call: &Call,
    input: SetDefaultPolicyVersionInput,
) -> Result<SetDefaultPolicyVersionOutput, ApiError> {
    let arn = required(input.policy_arn, "policyArn")?;
    let version = required(input.version_id, "versionId")?;
    let writer = service.writer().await;
    let old = service
        .authorized_local_policy(call, "iam:SetDefaultPolicyVersion", &arn, Context::default())
        .await?;
    let number = number(&arn, &version)?;
    if !old.versions.contains_key(&number) {
        return Err(Problem::NoVersion { arn, version }.into());
    }
    let mut txn = Txn::new();
    let updated_at = service.store.now();
    txn.replace(&old, &ManagedDoc { default_version: number, updated_at, ..old.doc.clone() });
    writer.commit(txn).await?;
    Ok(SetDefaultPolicyVersionOutput {})
}

pub async fn delete(
    service: &IdentityService,
    call: &Call,
    input: DeletePolicyVersionInput,
) -> Result<DeletePolicyVersionOutput, ApiError> {
    let arn = required(input.policy_arn, "policyArn")?;
    let version = required(input.version_id, "versionId")?;
    let writer = service.writer().await;
    let old =
        service.authorized_local_policy(call, "iam:DeletePolicyVersion", &arn, Context::default()).await?;
    let number = number(&arn, &version)?;
    let mut new = old.doc.clone();
    if new.versions.remove(&number).is_none() {
        return Err(Problem::NoVersion { arn, version }.into());
    }
    if number == new.default_version {
        return Err(Problem::DefaultVersion.into());
    }
    let mut txn = Txn::new();
    txn.replace(&old, &new);
    writer.commit(txn).await?;
    Ok(DeletePolicyVersionOutput {})
}
