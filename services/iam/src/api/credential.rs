//! Service-specific credentials: user name and password for git over HTTP. The password is shown once, when
//! it is made or reset, and kept as a salted hash.
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_service-specific-creds.html>.

use super::access_key::status;
use super::context::Context;
use super::page::Paging;
use super::required;
use crate::documents::{CredentialDoc, EntityKind, Status, UserDoc, credential_key, entity_arn};
use crate::limits::CREDENTIALS_PER_SERVICE;
use crate::problem::Problem;
use crate::service::IdentityService;
use towpath_api::{ApiError, Call, id};
use towpath_api_iam::*;
use towpath_store::{Document, Order, Txn, Versioned};

const SERVICE: &str = "codecommit.amazonaws.com";

/// 44 characters: more than 256 bits.
fn new_password() -> String {
    id::random_text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 44)
}

fn with_password(user: &UserDoc, stored: &CredentialDoc, password: String) -> ServiceSpecificCredential {
    ServiceSpecificCredential {
        create_date: Some(stored.created_at),
        service_name: Some(stored.service.clone()),
        service_user_name: Some(stored.service_user_name.clone()),
        service_password: Some(password),
        service_specific_credential_id: Some(stored.id.clone()),
        user_name: Some(user.name.clone()),
        status: Some(stored.status.as_str().to_owned()),
        ..ServiceSpecificCredential::default()
    }
}

impl IdentityService {
    async fn credentials_of(&self, user: &UserDoc) -> Result<Vec<Versioned<CredentialDoc>>, Problem> {
        let mut credentials = Vec::new();
        for key in &user.credentials {
            credentials.extend(self.store.get::<CredentialDoc>(key).await?);
        }
        Ok(credentials)
    }

    async fn credential_of(&self, user: &UserDoc, id: &str) -> Result<Versioned<CredentialDoc>, Problem> {
        let found = self.credentials_of(user).await?.into_iter().find(|credential| credential.id == id);
        found.ok_or_else(|| Problem::NoCredential(id.to_owned()))
    }

    /// `alice-at-000000000000`, or with `+1` when that is taken: also by a user who had the name before.
    async fn free_user_name(&self, service: &str, user: &str) -> Result<String, Problem> {
        for number in 0..=CREDENTIALS_PER_SERVICE + 1000 {
            let suffix = if number == 0 { String::new() } else { format!("+{number}") };
            let name = format!("{user}{suffix}-at-{}", self.account());
            if self.store.get::<CredentialDoc>(&credential_key(service, &name)).await?.is_none() {
                return Ok(name);
            }
        }
        Err(Problem::InvalidInput(format!("No service user name is left for {user}.")))
    }
}

pub async fn create(
    service: &IdentityService,
    call: &Call,
    input: CreateServiceSpecificCredentialInput,
) -> Result<CreateServiceSpecificCredentialOutput, ApiError> {
    let name = required(input.user_name, "userName")?;
    let service_name = required(input.service_name, "serviceName")?;
    let writer = service.writer().await;
    let context = Context::default().with("iam:ServiceSpecificCredentialServiceName", &service_name);
    let user =
        service.authorized::<UserDoc>(call, "iam:CreateServiceSpecificCredential", &name, context).await?;
    if service_name != SERVICE {
        return Err(Problem::ServiceNotSupported(service_name).into());
    }
    if input.credential_age_days.is_some() {
        return Err(ApiError::not_implemented("iam:CreateServiceSpecificCredential with CredentialAgeDays"));
    }
    if service.credentials_of(&user).await?.len() >= CREDENTIALS_PER_SERVICE {
        let limit = CREDENTIALS_PER_SERVICE;
        return Err(Problem::Quota { name: "ServiceSpecificCredentialsPerUser", limit }.into());
    }
    let password = new_password();
    let stored = CredentialDoc {
        id: id::iam_id("ACCA", 21),
        service_user_name: service.free_user_name(&service_name, &user.name).await?,
        service: service_name,
        user_id: user.id.clone(),
        password: service.vault.hash_password(&password),
        status: Status::Active,
        created_at: service.store.now(),
    };
    let mut changed = user.doc.clone();
    changed.credentials.insert(Document::key(&stored));
    let mut txn = Txn::new();
    txn.create(&stored).replace(&user, &changed);
    writer.commit(txn).await?;
    let credential = with_password(&changed, &stored, password);
    Ok(CreateServiceSpecificCredentialOutput { service_specific_credential: Some(credential) })
}

pub async fn list(
    service: &IdentityService,
    call: &Call,
    input: ListServiceSpecificCredentialsInput,
) -> Result<ListServiceSpecificCredentialsOutput, ApiError> {
    const ACTION: &str = "iam:ListServiceSpecificCredentials";
    let mut credentials: Vec<(String, CredentialDoc)> = Vec::new();
    if input.all_users.unwrap_or(false) {
        call.authorize(ACTION, &entity_arn(service.account(), EntityKind::User, "/", "*"), &[])?;
        let page = service.store.list::<CredentialDoc>("", None, usize::MAX, Order::Ascending).await;
        for stored in page.map_err(Problem::from)?.items {
            if let Some(user) = service.by_id::<UserDoc>(&stored.user_id).await? {
                credentials.push((user.name.clone(), stored.into_doc()));
            }
        }
    } else {
        let name = service.named_or_calling_user(call, input.user_name)?;
        let user = service.authorized::<UserDoc>(call, ACTION, &name, Context::default()).await?;
        for stored in service.credentials_of(&user).await? {
            credentials.push((user.name.clone(), stored.into_doc()));
        }
    }
    if let Some(wanted) = &input.service_name {
        credentials.retain(|(_, credential)| credential.service == *wanted);
    }
    let paging = Paging::new(input.marker, input.max_items);
    let (credentials, marker) = paging.of(credentials, |(_, credential)| Document::key(credential));
    let rendered = credentials.into_iter().map(|(user_name, stored)| ServiceSpecificCredentialMetadata {
        user_name: Some(user_name),
        status: Some(stored.status.as_str().to_owned()),
        service_user_name: Some(stored.service_user_name),
        create_date: Some(stored.created_at),
        service_specific_credential_id: Some(stored.id),
        service_name: Some(stored.service),
        ..ServiceSpecificCredentialMetadata::default()
    });
    Ok(ListServiceSpecificCredentialsOutput {
        service_specific_credentials: Some(rendered.collect()),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}

pub async fn update(
    service: &IdentityService,
    call: &Call,
    input: UpdateServiceSpecificCredentialInput,
) -> Result<UpdateServiceSpecificCredentialOutput, ApiError> {
    let name = service.named_or_calling_user(call, input.user_name)?;
    let id = required(input.service_specific_credential_id, "serviceSpecificCredentialId")?;
    let writer = service.writer().await;
    let action = "iam:UpdateServiceSpecificCredential";
    let user = service.authorized::<UserDoc>(call, action, &name, Context::default()).await?;
    let status = status(input.status)?;
    let old = service.credential_of(&user, &id).await?;
    let mut txn = Txn::new();
    txn.replace(&old, &CredentialDoc { status, ..old.doc.clone() });
    writer.commit(txn).await?;
    Ok(UpdateServiceSpecificCredentialOutput {})
}

pub async fn reset(
    service: &IdentityService,
    call: &Call,
    input: ResetServiceSpecificCredentialInput,
) -> Result<ResetServiceSpecificCredentialOutput, ApiError> {
    let name = service.named_or_calling_user(call, input.user_name)?;
    let id = required(input.service_specific_credential_id, "serviceSpecificCredentialId")?;
    let writer = service.writer().await;
    let action = "iam:ResetServiceSpecificCredential";
    let user = service.authorized::<UserDoc>(call, action, &name, Context::default()).await?;
    let old = service.credential_of(&user, &id).await?;
    let password = new_password();
    let new = CredentialDoc { password: service.vault.hash_password(&password), ..old.doc.clone() };
    let mut txn = Txn::new();
    txn.replace(&old, &new);
    writer.commit(txn).await?;
    let credential = with_password(&user, &new, password);
    Ok(ResetServiceSpecificCredentialOutput { service_specific_credential: Some(credential) })
}

pub async fn delete(
    service: &IdentityService,
    call: &Call,
    input: DeleteServiceSpecificCredentialInput,
) -> Result<DeleteServiceSpecificCredentialOutput, ApiError> {
    let name = service.named_or_calling_user(call, input.user_name)?;
    let id = required(input.service_specific_credential_id, "serviceSpecificCredentialId")?;
    let writer = service.writer().await;
    let action = "iam:DeleteServiceSpecificCredential";
    let user = service.authorized::<UserDoc>(call, action, &name, Context::default()).await?;
    let stored = service.credential_of(&user, &id).await?;
    let mut changed = user.doc.clone();
    changed.credentials.remove(&Document::key(&stored.doc));
    let mut txn = Txn::new();
    txn.delete(&stored).replace(&user, &changed);
    writer.commit(txn).await?;
    Ok(DeleteServiceSpecificCredentialOutput {})
}
