//! The `Principal` element of trust and resource policies.
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>.

use crate::context::{Question, Who};
use crate::error::PolicyError;
use towpath_api::Caller;

/// How closely a statement names the caller. What a policy gives to a user or session by name is not
/// limited by implicit denials elsewhere; what it gives to an account must still be allowed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// The caller's account: its identity policies decide.
    Account,
    /// Everyone, or the session's role: boundaries and session policies still limit it.
    Role,
    /// The user, the session or the service itself.
    Direct,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalId {
    Everyone,
    Account(String),
    /// A user, role or session.
    Arn(String),
    /// `AIDA…` or `AROA…`: what is left of a user or role that was deleted.
    UniqueId(String),
    Service(String),
    Federated(String),
    CanonicalUser(String),
}

impl PrincipalId {
    pub fn parse(kind: &str, value: &str) -> Result<Self, PolicyError> {
        let invalid = || PolicyError::InvalidPrincipal { kind: kind.to_owned(), value: value.to_owned() };
        match kind {
            "AWS" => aws(value).ok_or_else(invalid),
            "Service" if is_host_name(value) => Ok(PrincipalId::Service(value.to_owned())),
            "Federated" if !value.is_empty() => Ok(PrincipalId::Federated(value.to_owned())),
            "CanonicalUser" if !value.is_empty() => Ok(PrincipalId::CanonicalUser(value.to_owned())),
            _ => Err(invalid()),
        }
    }

    fn grant(&self, question: &Question) -> Option<Grant> {
        let caller = match question.who {
            Who::Service(name) => {
                return matches!(self, PrincipalId::Service(service) if service == name)
                    .then_some(Grant::Direct);
            }
            Who::Caller(caller) => caller,
        };
        match self {
            PrincipalId::Everyone => Some(Grant::Role),
            PrincipalId::Account(account) => {
                (account == question.environment.account).then_some(Grant::Account)
            }
            PrincipalId::Arn(arn) => match caller {
                Caller::Session { role_arn, .. } if role_arn == arn => Some(Grant::Role),
                other => (other.arn() == *arn).then_some(Grant::Direct),
            },
            PrincipalId::UniqueId(unique) => match caller {
                Caller::User { id, .. } => (id == unique).then_some(Grant::Direct),
                Caller::Session { role_id, .. } => (role_id == unique).then_some(Grant::Role),
                Caller::Root { .. } => None,
            },
            PrincipalId::Service(_) | PrincipalId::Federated(_) | PrincipalId::CanonicalUser(_) => None,
        }
    }
}

fn aws(value: &str) -> Option<PrincipalId> {
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if value == "*" {
        return Some(PrincipalId::Everyone);
    }
    if is_account(value) {
        return Some(PrincipalId::Account(value.to_owned()));
    }
    if ["AIDA", "AROA"].iter().any(|prefix| value.starts_with(prefix)) {
        let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric());
        return (plain && (16..=128).contains(&value.len())).then(|| PrincipalId::UniqueId(value.to_owned()));
    }
    let arn = towpath_api::Arn::parse(value)?;
    if !is_account(&arn.account) || !arn.region.is_empty() || arn.resource.contains(['*', '?']) {
        return None;
    }
    let has = |kind: &str| arn.resource_of(kind).is_some_and(|name| !name.is_empty());
    match arn.service.as_str() {
        "iam" if arn.resource == "root" => Some(PrincipalId::Account(arn.account)),
        "iam" if has("user") || has("role") => Some(PrincipalId::Arn(value.to_owned())),
        "sts" if has("assumed-role") || has("federated-user") => Some(PrincipalId::Arn(value.to_owned())),
        _ => None,
    }
}

fn is_host_name(text: &str) -> bool {
    text.contains('.')
        && text.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

/// `Principal` or `NotPrincipal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principals {
    Listed(Vec<PrincipalId>),
    AllBut(Vec<PrincipalId>),
}

impl Principals {
    pub fn ids(&self) -> &[PrincipalId] {
        match self {
            Principals::Listed(ids) | Principals::AllBut(ids) => ids,
        }
    }

    pub fn grant(&self, question: &Question) -> Option<Grant> {
        let strongest = self.ids().iter().filter_map(|id| id.grant(question)).max();
        match self {
            Principals::Listed(_) => strongest,
            Principals::AllBut(_) => strongest.is_none().then_some(Grant::Role),
        }
    }
}
