//! A caller's policies behind [`towpath_api::Gate`].

use crate::context::{Environment, Facts, Question, Who};
use crate::decide::{Decision, PolicySet, decide};
use crate::parse::Policy;
use towpath_api::{AuthzRequest, Call, Gate};

/// The policies of a user or session as they were when the request was authenticated.
#[derive(Clone, Debug, Default)]
pub struct ResolvedGate {
    pub policies: PolicySet,
    pub facts: Facts,
    /// Credentials of `GetSessionToken` without MFA may call nothing of IAM, and of STS only `AssumeRole`
    /// and `GetCallerIdentity`:
    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html>.
    pub refuses_identity_operations: bool,
}

impl ResolvedGate {
    /// The same question with the policy of the resource that is asked for.
    pub fn decide(&self, request: &AuthzRequest, call: &Call, resource: Option<&Policy>) -> Decision {
        let question = Question {
            action: request.action,
            resource: request.resource,
            context: request.context,
            who: Who::Caller(&call.caller),
            environment: Environment::of(call),
            facts: &self.facts,
        };
        decide(&self.policies, resource, &question)
    }
}

impl Gate for ResolvedGate {
    fn check(&self, request: &AuthzRequest, call: &Call) -> Result<(), String> {
        let allowed_to_session = matches!(request.action, "sts:AssumeRole" | "sts:GetCallerIdentity");
        let of_identity = request.action.starts_with("iam:") || request.action.starts_with("sts:");
        if self.refuses_identity_operations && of_identity && !allowed_to_session {
            return Err("because credentials from GetSessionToken without MFA cannot call it".to_owned());
        }
        match self.decide(request, call, None) {
            Decision::Allowed => Ok(()),
            Decision::Denied(denial) => Err(denial.to_string()),
        }
    }
}

/// The account's root user, whom no policy of the account limits.
#[derive(Clone, Copy, Debug)]
pub struct RootGate;

impl Gate for RootGate {
    fn check(&self, _: &AuthzRequest, _: &Call) -> Result<(), String> {
        Ok(())
    }
}
