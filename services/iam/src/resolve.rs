//! From a user or role to the policies that hold for it.

use crate::documents::{Bounded, CredentialDoc, Entity, GroupDoc, Held, RoleDoc, UserDoc};
use crate::problem::Problem;
use crate::service::IdentityService;
use crate::session::{Session, SessionOf};
use std::sync::Arc;
use towpath_api::{Caller, Credential, Gate, Timestamp};
use towpath_policy::{Facts, Kind, Policy, PolicySet, PrincipalId, Principals, ResolvedGate, RootGate};

impl IdentityService {
    fn parse(&self, document: &str) -> Result<Arc<Policy>, Problem> {
        Ok(Arc::new(Policy::parse(Kind::Identity, document)?))
    }

    async fn add_held(&self, held: &Held, policies: &mut Vec<Arc<Policy>>) -> Result<(), Problem> {
        for document in held.inline.values() {
            policies.push(self.parse(document)?);
        }
        for arn in &held.attached {
            if let Some(policy) = self.find_policy(arn).await? {
                policies.push(self.parse(policy.document())?);
            }
        }
        Ok(())
    }

    /// A boundary that cannot be found allows nothing.
    async fn boundary(&self, arn: Option<&str>) -> Result<Option<Arc<Policy>>, Problem> {
        let Some(arn) = arn else { return Ok(None) };
        match self.find_policy(arn).await? {
            Some(policy) => self.parse(policy.document()).map(Some),
            None => Ok(Some(Arc::new(Policy { statements: Vec::new() }))),
        }
    }

    async fn session_policies(&self, session: &Session) -> Result<Option<Vec<Arc<Policy>>>, Problem> {
        if session.policy.is_none() && session.policy_arns.is_empty() {
            return Ok(None);
        }
        let mut policies = Vec::new();
        if let Some(document) = &session.policy {
            policies.push(self.parse(document)?);
        }
        for arn in &session.policy_arns {
            if let Some(policy) = self.find_policy(arn).await? {
                policies.push(self.parse(policy.document())?);
            }
        }
        Ok(Some(policies))
    }

    async fn gate<E: Bounded>(
        &self,
        entity: &E,
        groups: Option<&UserDoc>,
        session: Option<&Session>,
        issued_at: Option<Timestamp>,
    ) -> Result<ResolvedGate, Problem> {
        let mut identity = Vec::new();
        self.add_held(entity.held(), &mut identity).await?;
        for id in groups.iter().flat_map(|user| &user.groups) {
            if let Some(group) = self.by_id::<GroupDoc>(id).await? {
                self.add_held(&group.held, &mut identity).await?;
            }
        }
        let session_policies = match session {
            Some(session) => self.session_policies(session).await?,
            None => None,
        };
        Ok(ResolvedGate {
            policies: PolicySet {
                identity,
                boundary: self.boundary(entity.boundary()).await?,
                session: session_policies,
            },
            facts: Facts {
                tags: entity.tags().iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
                token_issued_at: issued_at,
            },
            refuses_identity_operations: false,
        })
    }

    pub(crate) async fn user_gate(&self, user: &UserDoc) -> Result<ResolvedGate, Problem> {
        self.gate(user, Some(user), None, None).await
    }

    pub(crate) async fn role_gate(
        &self,
        role: &RoleDoc,
        session: Option<&Session>,
        issued_at: Timestamp,
    ) -> Result<ResolvedGate, Problem> {
        self.gate(role, None, session, Some(issued_at)).await
    }

    pub(crate) fn user_caller(&self, user: &UserDoc) -> Caller {
        Caller::User { arn: user.arn(self.account()), name: user.name.clone(), id: user.id.clone() }
    }

    pub(crate) fn role_caller(&self, role: &RoleDoc, session_name: &str) -> Caller {
        Caller::Session {
            arn: format!("arn:aws:sts::{}:assumed-role/{}/{session_name}", self.account(), role.name),
            role_arn: role.arn(self.account()),
            role_id: role.id.clone(),
            session_name: session_name.to_owned(),
        }
    }

    /// `None` when the user or role is gone.
    pub(crate) async fn resolve_session(&self, session: &Session) -> Result<Option<Credential>, Problem> {
        let (caller, gate): (Caller, Arc<dyn Gate>) = match &session.of {
            SessionOf::Root => (Caller::Root { account: self.account().to_owned() }, Arc::new(RootGate)),
            SessionOf::User { id } => {
                let Some(user) = self.by_id::<UserDoc>(id).await? else { return Ok(None) };
                let mut gate =
                    self.gate(&user.doc, Some(&user), Some(session), Some(session.issued_at)).await?;
                gate.refuses_identity_operations = true;
                (self.user_caller(&user), Arc::new(gate))
            }
            SessionOf::Role { id, session_name } => {
                let Some(role) = self.by_id::<RoleDoc>(id).await? else { return Ok(None) };
                let gate = self.role_gate(&role, Some(session), session.issued_at).await?;
                (self.role_caller(&role, session_name), Arc::new(gate))
            }
        };
        Ok(Some(Credential {
            access_key_id: session.access_key_id.clone(),
            secret_access_key: self.vault.session_secret(session.key, &session.access_key_id),
            caller,
            gate,
        }))
    }

    pub(crate) async fn resolve_password(
        &self,
        stored: &CredentialDoc,
    ) -> Result<Option<Credential>, Problem> {
        let Some(user) = self.by_id::<UserDoc>(&stored.user_id).await? else { return Ok(None) };
        Ok(Some(Credential {
            access_key_id: stored.id.clone(),
            secret_access_key: String::new(),
            caller: self.user_caller(&user),
            gate: Arc::new(self.user_gate(&user).await?),
        }))
    }

    /// A role's trust policy with the users and roles that it named when it was written.
    pub(crate) fn trust_policy(&self, role: &RoleDoc) -> Result<Policy, Problem> {
        let mut policy = Policy::parse(Kind::Trust, &role.trust)?;
        for statement in &mut policy.statements {
            let Some(Principals::Listed(ids) | Principals::AllBut(ids)) = &mut statement.principals else {
                continue;
            };
            for principal in ids {
                if let PrincipalId::Arn(arn) = principal
                    && let Some(id) = role.trusted_ids.get(arn)
                {
                    *principal = PrincipalId::UniqueId(id.clone());
                }
            }
        }
        Ok(policy)
    }
}
