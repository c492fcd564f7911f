//! The order of evaluation, and the reasons in AWS's words.
//! Sources: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html>,
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>.

use crate::context::Question;
use crate::parse::{Effect, Policy};
use crate::principal::Grant;
use std::fmt;
use std::sync::Arc;

/// What one policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Deny,
    /// How closely the policy names the caller; identity policies, which name nobody, count as `Account`.
    Allow(Grant),
    Silent,
}

/// Everything that holds for one principal, resource policies aside.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    pub identity: Vec<Arc<Policy>>,
    pub boundary: Option<Arc<Policy>>,
    /// `None` when the session was made without policies of its own.
    pub session: Option<Vec<Arc<Policy>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Identity,
    Boundary,
    Session,
    Resource,
    Trust,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    Explicit(Source),
    /// No policy of this kind allows the action.
    Implicit(Source, String),
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allowed,
    Denied(Denial),
}

impl Decision {
    pub fn is_allowed(&self) -> bool {
        *self == Decision::Allowed
    }
}

impl Policy {
    /// A deny wins; of several allows the one that names the caller most closely counts.
    pub fn verdict(&self, question: &Question) -> Verdict {
        let mut verdict = Verdict::Silent;
        for statement in &self.statements {
            let Some(grant) = statement.applies(question) else { continue };
            match (statement.effect, verdict) {
                (Effect::Deny, _) => return Verdict::Deny,
                (Effect::Allow, Verdict::Allow(earlier)) => verdict = Verdict::Allow(grant.max(earlier)),
                (Effect::Allow, _) => verdict = Verdict::Allow(grant),
            }
        }
        verdict
    }
}

fn combined<'a>(policies: impl IntoIterator<Item = &'a Arc<Policy>>, question: &Question) -> Verdict {
    let mut verdict = Verdict::Silent;
    for policy in policies {
        match policy.verdict(question) {
            Verdict::Deny => return Verdict::Deny,
            Verdict::Allow(grant) => verdict = Verdict::Allow(grant),
            Verdict::Silent => {}
        }
    }
    verdict
}

/// Explicit denials first, then boundary, session policies, and identity or resource policies. `resource`
/// is the policy of the thing that is asked for, where it has one, in the same account.
pub fn decide(set: &PolicySet, resource: Option<&Policy>, question: &Question) -> Decision {
    let identity = combined(&set.identity, question);
    let boundary = set.boundary.as_ref().map(|policy| policy.verdict(question));
    let session = set.session.as_ref().map(|policies| combined(policies, question));
    let resource = resource.map_or(Verdict::Silent, |policy| policy.verdict(question));

    let explicit = [
        (Source::Identity, Some(identity)),
        (Source::Resource, Some(resource)),
        (Source::Boundary, boundary),
        (Source::Session, session),
    ];
    if let Some((source, _)) = explicit.into_iter().find(|(_, verdict)| *verdict == Some(Verdict::Deny)) {
        return Decision::Denied(Denial::Explicit(source));
    }
    if resource == Verdict::Allow(Grant::Direct) {
        return Decision::Allowed;
    }
    let implicit = |source| Decision::Denied(Denial::Implicit(source, question.action.to_owned()));
    if boundary == Some(Verdict::Silent) {
        return implicit(Source::Boundary);
    }
    if session == Some(Verdict::Silent) {
        return implicit(Source::Session);
    }
    match (identity, resource) {
        (Verdict::Allow(_), _) | (_, Verdict::Allow(Grant::Role)) => Decision::Allowed,
        _ => implicit(Source::Identity),
    }
}

const EXPLICIT: &str = "with an explicit deny in";

impl Source {
    fn explicit(self) -> &'static str {
        match self {
            Source::Identity => "an identity-based policy",
            Source::Boundary => "a permissions boundary",
            Source::Session => "a session policy",
            Source::Resource => "a resource-based policy",
            Source::Trust => "the role trust policy",
        }
    }

    fn implicit(self) -> &'static str {
        match self {
            Source::Identity => "identity-based policy",
            Source::Boundary => "permissions boundary",
            Source::Session => "session policy",
            Source::Resource => "resource-based policy",
            Source::Trust => "role trust policy",
        }
    }
}

impl Denial {
    /// Reads back what [`towpath_api::Gate::check`] answered: a caller may need to know which kind of
    /// policy denied, and the gate's answer is a sentence.
    pub fn from_reason(reason: &str, action: &str) -> Option<Self> {
        let sources = [Source::Identity, Source::Boundary, Source::Session, Source::Resource, Source::Trust];
        sources
            .into_iter()
            .flat_map(|source| [Denial::Explicit(source), Denial::Implicit(source, action.to_owned())])
            .find(|denial| denial.to_string() == reason)
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Denial::Explicit(source) => write!(formatter, "{EXPLICIT} {}", source.explicit()),
            Denial::Implicit(source, action) => {
                write!(formatter, "because no {} allows the {action} action", source.implicit())
            }
        }
    }
}
