//! [`towpath_api::Identity`]: what the wire layer, the git server and every service ask.

use crate::cache::{Entry, Proof};
use crate::documents::{AccessKeyDoc, CredentialDoc, RoleDoc, Status, UserDoc, credential_key};
use crate::problem::Problem;
use crate::service::IdentityService;
use crate::session::{SessionOf, check_expiry, invalid_token};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use towpath_api::{
    ApiError, Call, Caller, Credential, Gate, Identity, SessionCredentials, Timestamp, async_trait, id,
};
use towpath_policy::{Environment, Facts, Question, RootGate, Verdict, Who};
use towpath_store::Versioned;

impl IdentityService {
    fn root_credential(&self) -> Credential {
        Credential {
            access_key_id: self.root.access_key_id.clone(),
            secret_access_key: self.root.secret_access_key.clone(),
            caller: Caller::Root { account: self.account().to_owned() },
            gate: Arc::new(RootGate),
        }
    }

    /// A user's access key.
    async fn resolve_key(&self, access_key_id: &str) -> Result<Option<Credential>, Problem> {
        let stored = self.store.get::<AccessKeyDoc>(access_key_id).await?;
        let Some(key) = stored.filter(|key| key.status == Status::Active) else { return Ok(None) };
        let Some(user) = self.by_id::<UserDoc>(&key.user_id).await? else { return Ok(None) };
        let secret = self.vault.open_sealed(&key.id, &key.sealed_secret)?;
        Ok(Some(Credential {
            access_key_id: key.id.clone(),
            secret_access_key: String::from_utf8_lossy(&secret).into_owned(),
            caller: self.user_caller(&user),
            gate: Arc::new(self.user_gate(&user).await?),
        }))
    }

    async fn long_term(&self, access_key_id: &str) -> Result<Option<Credential>, ApiError> {
        if access_key_id == self.root.access_key_id {
            return Ok(Some(self.root_credential()));
        }
        let generation = self.generation().await?;
        if let Some(entry) = self.cache.get(access_key_id, generation) {
            return Ok(matches!(entry.proof, Proof::Signature).then(|| entry.credential.clone()));
        }
        let Some(credential) = self.resolve_key(access_key_id).await? else { return Ok(None) };
        let entry = Entry { generation, credential: credential.clone(), proof: Proof::Signature };
        self.cache.put(access_key_id.to_owned(), Arc::new(entry));
        Ok(Some(credential))
    }

    async fn temporary(&self, access_key_id: &str, token: &str) -> Result<Credential, ApiError> {
        let generation = self.generation().await?;
        if let Some(entry) = self.cache.get(access_key_id, generation)
            && let Proof::Token { token: expected, expires_at } = &entry.proof
            && bool::from(expected.as_bytes().ct_eq(token.as_bytes()))
        {
            check_expiry(*expires_at, self.store.wall())?;
            return Ok(entry.credential.clone());
        }
        let session = self.open_token(access_key_id, token)?;
        let credential = self.resolve_session(&session).await?.ok_or_else(invalid_token)?;
        let proof = Proof::Token { token: token.to_owned(), expires_at: session.expires_at };
        let entry = Entry { generation, credential: credential.clone(), proof };
        self.cache.put(access_key_id.to_owned(), Arc::new(entry));
        Ok(credential)
    }

    fn note_role(&self, credential: &Credential) {
        if let Caller::Session { role_id, .. } = &credential.caller {
            self.uses.note(role_id, "sts", &self.config.region, self.store.now());
        }
    }

    /// The role that `service` was given, if it is there and trusts the service.
    pub(crate) async fn trusted_role(
        &self,
        service: &str,
        role_arn: &str,
    ) -> Result<Versioned<RoleDoc>, ApiError> {
        let denied = |why: String| {
            ApiError::access_denied(format!(
                "{service} is not authorized to perform: sts:AssumeRole on resource: {role_arn} because {why}"
            ))
        };
        let Some(role) = self.by_arn::<RoleDoc>(role_arn).await? else {
            return Err(denied(format!(
                "there is no such role in account {}. Create the role, or name one that exists.",
                self.account()
            )));
        };
        let trust = self.trust_policy(&role)?;
        let facts = Facts::default();
        let question = Question {
            action: "sts:AssumeRole",
            resource: role_arn,
            context: &[("aws:SourceAccount", self.account())],
            who: Who::Service(service),
            environment: Environment {
                account: self.account(),
                region: &self.config.region,
                at: self.store.wall(),
                source_ip: None,
                secure: true,
            },
            facts: &facts,
        };
        match trust.verdict(&question) {
            Verdict::Allow(_) => Ok(role),
            Verdict::Deny => Err(denied("of an explicit deny in the role's trust policy.".to_owned())),
            Verdict::Silent => Err(denied(format!(
                "the role's trust policy does not allow it. Add a statement that allows sts:AssumeRole to \
                 the principal {{\"Service\": \"{service}\"}}."
            ))),
        }
    }
}

#[async_trait]
impl Identity for IdentityService {
    async fn credential(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
    ) -> Result<Option<Credential>, ApiError> {
        let credential = match (access_key_id.starts_with("ASIA"), session_token) {
            (true, Some(token)) => self.temporary(access_key_id, token).await?,
            (true, None) => return Err(invalid_token()),
            (false, Some(_)) => return Err(invalid_token()),
            (false, None) => match self.long_term(access_key_id).await? {
                Some(credential) => credential,
                None => return Ok(None),
            },
        };
        self.note_role(&credential);
        Ok(Some(credential))
    }

    fn note_use(&self, access_key_id: &str, service: &str, region: &str, at: Timestamp) {
        if access_key_id.starts_with("AKIA") {
            self.uses.note(access_key_id, service, region, at);
        }
    }

    async fn service_specific(
        &self,
        service: &str,
        user_name: &str,
        password: &str,
    ) -> Result<Option<Credential>, ApiError> {
        let name = credential_key(service, user_name);
        let generation = self.generation().await?;
        let entry = match self.cache.get(&name, generation) {
            Some(entry) => entry,
            None => {
                let stored = self.store.get::<CredentialDoc>(&name).await?;
                let Some(stored) = stored.filter(|stored| stored.status == Status::Active) else {
                    return Ok(None);
                };
                let Some(credential) = self.resolve_password(&stored).await? else { return Ok(None) };
                let proof = Proof::Password(stored.password.clone());
                let entry = Arc::new(Entry { generation, credential, proof });
                self.cache.put(name, entry.clone());
                entry
            }
        };
        Ok(match &entry.proof {
            Proof::Password(expected) if self.vault.verify_password(expected, password) => {
                Some(entry.credential.clone())
            }
            _ => None,
        })
    }

    async fn service_call(
        &self,
        service: &str,
        role_arn: &str,
        session_name: &str,
    ) -> Result<Call, ApiError> {
        let role = self.trusted_role(service, role_arn).await?;
        let now = self.store.wall();
        self.uses.note(&role.id, "sts", &self.config.region, now);
        let gate: Arc<dyn Gate> = Arc::new(self.role_gate(&role, None, now).await?);
        Ok(Call {
            request_id: id::uuid(),
            account: self.account().to_owned(),
            region: self.config.region.clone(),
            at: now,
            caller: self.role_caller(&role, session_name),
            source_ip: None,
            secure: true,
            gate,
        })
    }

    async fn service_credentials(
        &self,
        service: &str,
        role_arn: &str,
        session_name: &str,
        duration_seconds: u32,
    ) -> Result<SessionCredentials, ApiError> {
        let role = self.trusted_role(service, role_arn).await?;
        let of = SessionOf::Role { id: role.id.clone(), session_name: session_name.to_owned() };
        Ok(self.issue(of, i64::from(duration_seconds), None, Vec::new())?)
    }
}
