//! Access keys. The secret is shown once and kept sealed.
//! Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateAccessKey.html>.

use super::context::Context;
use super::page::Paging;
use super::required;
use crate::config::new_secret;
use crate::documents::{AccessKeyDoc, Entity, LastUseDoc, Status, UserDoc};
use crate::limits::ACCESS_KEYS_PER_USER;
use crate::problem::Problem;
use crate::service::IdentityService;
use towpath_api::{ApiError, Call, id};
use towpath_api_iam::*;
use towpath_store::{Txn, Versioned};

/// The status that a caller may set.
pub fn status(text: Option<String>) -> Result<Status, ApiError> {
    match required(text, "status")?.as_str() {
        "Active" => Ok(Status::Active),
        "Inactive" => Ok(Status::Inactive),
        other => {
            Err(Problem::InvalidInput(format!("Status must be Active or Inactive, not {other}.")).into())
        }
    }
}

pub async fn create(
    service: &IdentityService,
    call: &Call,
    input: CreateAccessKeyInput,
) -> Result<CreateAccessKeyOutput, ApiError> {
    let name = service.named_or_calling_user(call, input.user_name)?;
    let writer = service.writer().await;
    let user = service.authorized::<UserDoc>(call, "iam:CreateAccessKey", &name, Context::default()).await?;
    if user.access_keys.len() >= ACCESS_KEYS_PER_USER {
        return Err(Problem::Quota { name: "AccessKeysPerUser", limit: ACCESS_KEYS_PER_USER }.into());
    }
    let (id, secret) = (id::iam_id("AKIA", 20), new_secret());
    let key = AccessKeyDoc {
        sealed_secret: service.vault.seal(&id, secret.as_bytes()).map_err(Problem::from)?,
        id,
        user_id: user.id.clone(),
        status: Status::Active,
        created_at: service.store.now(),
    };
    let mut changed = user.doc.clone();
    changed.access_keys.insert(key.id.clone());
    let mut txn = Txn::new();
    txn.create(&key).replace(&user, &changed);
    writer.commit(txn).await?;
    let access_key = AccessKey {
        user_name: Some(changed.name),
        access_key_id: Some(key.id),
        status: Some(key.status.as_str().to_owned()),
        secret_access_key: Some(secret),
        create_date: Some(key.created_at),
    };
    Ok(CreateAccessKeyOutput { access_key: Some(access_key) })
}

pub async fn list(
    service: &IdentityService,
    call: &Call,
    input: ListAccessKeysInput,
) -> Result<ListAccessKeysOutput, ApiError> {
    let name = service.named_or_calling_user(call, input.user_name)?;
    let user = service.authorized::<UserDoc>(call, "iam:ListAccessKeys", &name, Context::default()).await?;
    let mut keys = Vec::new();
    for id in &user.access_keys {
        keys.extend(service.store.get::<AccessKeyDoc>(id).await.map_err(Problem::from)?);
    }
    let paging = Paging::new(input.marker, input.max_items);
    let (keys, marker) = paging.of(keys, |key| key.id.clone());
    let metadata = keys.iter().map(|key| AccessKeyMetadata {
        user_name: Some(user.name.clone()),
        access_key_id: Some(key.id.clone()),
        status: Some(key.status.as_str().to_owned()),
        create_date: Some(key.created_at),
    });
    Ok(ListAccessKeysOutput {
        access_key_metadata: Some(metadata.collect()),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}

/// The user's own key, not just any.
async fn key_of(
    service: &IdentityService,
    user: &UserDoc,
    id: &str,
) -> Result<Versioned<AccessKeyDoc>, Problem> {
    let found = match user.access_keys.contains(id) {
        true => service.store.get::<AccessKeyDoc>(id).await?,
        false => None,
    };
    found.ok_or_else(|| Problem::NoAccessKey(id.to_owned()))
}

pub async fn update(
    service: &IdentityService,
    call: &Call,
    input: UpdateAccessKeyInput,
) -> Result<UpdateAccessKeyOutput, ApiError> {
    let name = service.named_or_calling_user(call, input.user_name)?;
    let id = required(input.access_key_id, "accessKeyId")?;
    let writer = service.writer().await;
    let user = service.authorized::<UserDoc>(call, "iam:UpdateAccessKey", &name, Context::default()).await?;
    let status = status(input.status)?;
    let key = key_of(service, &user, &id).await?;
    let mut txn = Txn::new();
    txn.replace(&key, &AccessKeyDoc { status, ..key.doc.clone() });
    writer.commit(txn).await?;
    Ok(UpdateAccessKeyOutput {})
}

pub async fn delete(
    service: &IdentityService,
    call: &Call,
    input: DeleteAccessKeyInput,
) -> Result<DeleteAccessKeyOutput, ApiError> {
    let name = service.named_or_calling_user(call, input.user_name)?;
    let id = required(input.access_key_id, "accessKeyId")?;
    let writer = service.writer().await;
    let user = service.authorized::<UserDoc>(call, "iam:DeleteAccessKey", &name, Context::default()).await?;
    let key = key_of(service, &user, &id).await?;
    let mut changed = user.doc.clone();
    changed.access_keys.remove(&id);
    let mut txn = Txn::new();
    txn.delete(&key).replace(&user, &changed);
    if let Some(last_use) = service.store.get::<LastUseDoc>(&id).await.map_err(Problem::from)? {
        txn.delete(&last_use);
    }
    writer.commit(txn).await?;
    Ok(DeleteAccessKeyOutput {})
}

/// A key that was never used, or not since it was last written down, has no date and `N/A` for the rest.
pub async fn last_used(
    service: &IdentityService,
    call: &Call,
    input: GetAccessKeyLastUsedInput,
) -> Result<GetAccessKeyLastUsedOutput, ApiError> {
    let id = required(input.access_key_id, "accessKeyId")?;
    let key = service.store.get::<AccessKeyDoc>(&id).await.map_err(Problem::from)?;
    let user = match &key {
        Some(key) => service.by_id::<UserDoc>(&key.user_id).await?,
        None => None,
    };
    let resource = user.as_ref().map_or_else(|| "*".to_owned(), |user| user.arn(service.account()));
    call.authorize("iam:GetAccessKeyLastUsed", &resource, &[])?;
    let user = user.ok_or(Problem::NoAccessKey(id.clone()))?;
    let last = service.last_use(&id).await?;
    let not_available = || "N/A".to_owned();
    Ok(GetAccessKeyLastUsedOutput {
        user_name: Some(user.into_doc().name),
        access_key_last_used: Some(AccessKeyLastUsed {
            last_used_date: last.as_ref().map(|last| last.at),
            service_name: Some(last.as_ref().map_or_else(not_available, |last| last.service.clone())),
            region: Some(last.as_ref().map_or_else(not_available, |last| last.region.clone())),
        }),
    })
}
