//! A caller, a question, and documents in few words.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;
use towpath_api::{Caller, Timestamp};
use towpath_policy::{Decision, Environment, Facts, Kind, Policy, PolicySet, Question, Who, decide};

pub const ACCOUNT: &str = "111122223333";

pub fn alice() -> Caller {
    Caller::User {
        arn: format!("arn:aws:iam::{ACCOUNT}:user/dev/alice"),
        name: "alice".into(),
        id: "AIDAALICEALICEALICE1".into(),
    }
}

pub fn session() -> Caller {
    Caller::Session {
        arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/deployer/ci"),
        role_arn: format!("arn:aws:iam::{ACCOUNT}:role/deployer"),
        role_id: "AROADEPLOYERDEPLOYER".into(),
        session_name: "ci".into(),
    }
}

pub fn facts() -> Facts {
    Facts { tags: vec![("Team".into(), "blue".into())], token_issued_at: None }
}

pub fn environment() -> Environment<'static> {
    Environment {
        account: ACCOUNT,
        region: "us-east-1",
        at: Timestamp::parse_iso8601("2026-11-20T10:11:12Z").unwrap(),
        source_ip: Some("203.0.113.7".parse().unwrap()),
        secure: true,
    }
}

pub fn question<'a>(
    caller: &'a Caller,
    facts: &'a Facts,
    action: &'a str,
    resource: &'a str,
    context: &'a [(&'a str, &'a str)],
) -> Question<'a> {
    Question { action, resource, context, who: Who::Caller(caller), environment: environment(), facts }
}

pub fn identity(statements: &str) -> Arc<Policy> {
    let document = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    Arc::new(Policy::parse(Kind::Identity, &document).unwrap_or_else(|error| panic!("{error}: {document}")))
}

pub fn of_kind(kind: Kind, statements: &str) -> Policy {
    let document = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    Policy::parse(kind, &document).unwrap_or_else(|error| panic!("{error}: {document}"))
}

/// Whether one identity policy lets alice do it.
pub fn allows(statement: &str, action: &str, resource: &str, context: &[(&str, &str)]) -> bool {
    let set = PolicySet { identity: vec![identity(statement)], ..PolicySet::default() };
    let (caller, facts) = (alice(), facts());
    decide(&set, None, &question(&caller, &facts, action, resource, context)) == Decision::Allowed
}
