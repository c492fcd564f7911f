//! Patterns and policies of strangers: read, and judged against strangers' texts.

#[path = "../../../services/codepipeline/src/triggers/filters.rs"]
#[allow(dead_code)]
mod filters;
#[path = "../../../services/logs/src/pattern/mod.rs"]
#[allow(dead_code)]
mod logs;

#[path = "../../../services/events/src/matcher.rs"]
mod matcher;
#[path = "../../../services/events/src/parse.rs"]
mod parse;
#[path = "../../../services/events/src/pattern.rs"]
mod pattern;

use crate::parts;
use crate::structure::{Patterns, PushFilter};
use std::sync::Arc;
use towpath_api::{Caller, Timestamp};
use towpath_policy::{Environment, Facts, Kind, Policy, PolicySet, Question, Who, decide};

/// A pattern and an event.
pub fn event(data: &[u8]) {
    let Some([pattern, event]) = parts::<2>(data) else { return };
    let Ok(pattern) = pattern::Pattern::parse(pattern) else { return };
    if let Ok(event) = serde_json::from_str(event) {
        let _ = pattern.matches(&event);
    }
}

/// A filter pattern and a line of a log.
pub fn log_filter(data: &[u8]) {
    let Some([pattern, line]) = parts::<2>(data) else { return };
    if let Ok(pattern) = logs::Pattern::parse(pattern) {
        let _ = pattern.matches(line);
    }
}

/// A glob and what it is tried on.
pub fn trigger_glob(data: &[u8]) {
    let Some([glob, text]) = parts::<2>(data) else { return };
    if glob.len() > 256 || text.len() > 1024 {
        return;
    }
    let patterns = |excludes: &[&str]| Patterns {
        includes: vec![glob.to_owned()],
        excludes: excludes.iter().map(|text| (*text).to_owned()).collect(),
    };
    let valid = filters::compile(glob).is_ok();
    assert!(valid || !filters::matches(&patterns(&[]), text), "what is no pattern matches");
    assert!(!filters::matches(&patterns(&[glob]), text), "an exclude wins");
    let filter = [PushFilter::Branches { branches: patterns(&[]), paths: Patterns::default() }];
    let _ = filters::judge(&filter, filters::Reference::Branch(text));
}

/// A document, an action, a resource, and the value of a condition key.
pub fn policy(data: &[u8]) {
    let Some([document, action, resource, value]) = parts::<4>(data) else { return };
    for kind in [Kind::Identity, Kind::Resource, Kind::Trust] {
        let Ok(policy) = Policy::parse(kind, document) else { continue };
        let caller = Caller::User {
            arn: "arn:aws:iam::111122223333:user/dev/alice".into(),
            name: "alice".into(),
            id: "AIDAALICEALICEALICE1".into(),
        };
        let facts = Facts { tags: vec![("Team".into(), value.into())], token_issued_at: None };
        let context = [("s3:prefix", value), ("aws:RequestTag/Team", value)];
        let environment = Environment {
            account: "111122223333",
            region: "us-east-1",
            at: Timestamp::from_millis(1_795_262_400_000),
            source_ip: value.parse().ok(),
            secure: false,
        };
        let question = Question {
            action,
            resource,
            context: &context,
            who: Who::Caller(&caller),
            environment,
            facts: &facts,
        };
        let set = match kind {
            Kind::Identity => PolicySet { identity: vec![Arc::new(policy.clone())], ..PolicySet::default() },
            _ => PolicySet::default(),
        };
        let decision = decide(&set, Some(&policy), &question);
        let mut shown = serde_json::from_str::<serde_json::Value>(document).unwrap_or_default();
        let silent = shown["Statement"].as_array_mut().is_some_and(|statements| statements.is_empty());
        assert!(!(silent && decision.is_allowed()), "a policy that says nothing allows");
    }
}
