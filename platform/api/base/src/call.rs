//! An authenticated call: who asks, what for, and the gate that answers whether they may.

use crate::{ApiError, Timestamp};
use std::net::IpAddr;
use std::sync::Arc;

/// Who makes a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    Root {
        account: String,
    },
    User {
        arn: String,
        name: String,
        id: String,
    },
    /// A role's session: a person's or program's (`sts:AssumeRole`) or a service's own.
    Session {
        arn: String,
        role_arn: String,
        role_id: String,
        session_name: String,
    },
}

impl Caller {
    /// The ARN that GetCallerIdentity shows.
    pub fn arn(&self) -> String {
        match self {
            Caller::Root { account } => format!("arn:aws:iam::{account}:root"),
            Caller::User { arn, .. } | Caller::Session { arn, .. } => arn.clone(),
        }
    }

    /// `aws:userid`: `AIDA…`, or `AROA…:session`, or the account for root.
    pub fn user_id(&self) -> String {
        match self {
            Caller::Root { account } => account.clone(),
            Caller::User { id, .. } => id.clone(),
            Caller::Session { role_id, session_name, .. } => format!("{role_id}:{session_name}"),
        }
    }
}

/// One question to the policies.
#[derive(Clone, Copy, Debug)]
pub struct AuthzRequest<'a> {
    /// `codepipeline:StartPipelineExecution`.
    pub action: &'a str,
    /// An ARN, or `*` for operations that name no resource.
    pub resource: &'a str,
    /// Condition keys and values; a key may come several times.
    pub context: &'a [(&'a str, &'a str)],
}

/// The policies that hold for one caller, resolved when it was authenticated. Pure: it asks nobody.
pub trait Gate: Send + Sync {
    /// `Err` carries the end of AWS's sentence: "because no identity-based policy allows the … action", or
    /// "with an explicit deny in an identity-based policy".
    fn check(&self, request: &AuthzRequest, call: &Call) -> Result<(), String>;
}

/// One authenticated call of one operation. Cheap to clone.
#[derive(Clone)]
pub struct Call {
    pub request_id: String,
    pub account: String,
    pub region: String,
    /// When the request came in.
    pub at: Timestamp,
    pub caller: Caller,
    pub source_ip: Option<IpAddr>,
    /// Whether it came over TLS.
    pub secure: bool,
    pub gate: Arc<dyn Gate>,
}

impl Call {
    /// Asks the gate, and turns a denial into AWS's `AccessDeniedException` with AWS's sentence.
    pub fn authorize(&self, action: &str, resource: &str, context: &[(&str, &str)]) -> Result<(), ApiError> {
        self.gate.check(&AuthzRequest { action, resource, context }, self).map_err(|reason| {
            ApiError::access_denied(format!(
                "User: {} is not authorized to perform: {action} on resource: {resource} {reason}",
                self.caller.arn()
            ))
        })
    }

    /// `iam:PassRole`: whoever hands a role to a service must be allowed to.
    pub fn authorize_pass_role(&self, role_arn: &str, service: &str) -> Result<(), ApiError> {
        self.authorize("iam:PassRole", role_arn, &[("iam:PassedToService", service)])
    }

    /// An ARN of this account and region.
    pub fn arn(&self, service: &str, resource: impl Into<String>) -> String {
        crate::Arn::new(service, &self.region, &self.account, resource).to_string()
    }
}
