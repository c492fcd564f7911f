//! Which references moved, and what is said about it. Pure.
//! Event shapes: <https://docs.aws.amazon.com/codecommit/latest/userguide/monitoring-events.html>.

use crate::store::Repository;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub const EVENT_SOURCE: &str = "aws.codecommit";
pub const EVENT_TYPE: &str = "CodeCommit Repository State Change";

/// One reference that is not where it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub name: String,
    pub old: Option<String>,
    pub new: Option<String>,
}

/// What moved between the recorded references and those on the disk, in the order of their names.
pub fn moved(recorded: &BTreeMap<String, String>, actual: &BTreeMap<String, String>) -> Vec<Moved> {
    let names: BTreeSet<&String> = recorded.keys().chain(actual.keys()).collect();
    names
        .into_iter()
        .map(|name| Moved {
            name: name.clone(),
            old: recorded.get(name).cloned(),
            new: actual.get(name).cloned(),
        })
        .filter(|moved| moved.old != moved.new)
        .collect()
}

/// The default branch that a repository gets with its first branches: `main`, then `master`, then the
/// first by name.
pub fn first_default_branch(moved: &[Moved]) -> Option<String> {
    let created: Vec<&str> = moved
        .iter()
        .filter(|moved| moved.new.is_some())
        .filter_map(|moved| moved.name.strip_prefix("refs/heads/"))
        .collect();
    let known = ["main", "master"].into_iter().find(|name| created.contains(name));
    known.or_else(|| created.first().copied()).map(str::to_owned)
}

/// One move of a reference as an event tells it: ids of commits, where an annotated tag counts as the
/// commit that it points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    pub name: &'a str,
    pub old_commit: Option<&'a str>,
    pub new_commit: Option<&'a str>,
    pub caller_arn: Option<&'a str>,
}

/// The event's detail; `None` for references that are neither branch nor tag.
pub fn detail(repository: &Repository, told: &Told) -> Option<Value> {
    let (kind, short) = match told.name.strip_prefix("refs/heads/") {
        Some(short) => ("branch", short),
        None => ("tag", told.name.strip_prefix("refs/tags/")?),
    };
    let event = match (told.old_commit, told.new_commit) {
        (None, Some(_)) => "referenceCreated",
        (Some(_), Some(_)) => "referenceUpdated",
        (Some(_), None) => "referenceDeleted",
        (None, None) => return None,
    };
    let mut detail = json!({
        "event": event,
        "repositoryName": repository.name,
        "repositoryId": repository.id,
        "referenceType": kind,
        "referenceName": short,
        "referenceFullName": told.name,
    });
    let optional =
        [("commitId", told.new_commit), ("oldCommitId", told.old_commit), ("callerUserArn", told.caller_arn)];
    for (member, value) in optional {
        if let Some(value) = value {
            detail[member] = value.into();
        }
    }
    Some(detail)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use towpath_api::Timestamp;

    fn refs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, id)| (name.to_string(), id.to_string())).collect()
    }

    #[test]
    fn moves_are_what_differs() {
        let recorded = refs(&[("refs/heads/gone", "1"), ("refs/heads/main", "1"), ("refs/heads/same", "1")]);
        let actual = refs(&[("refs/heads/main", "2"), ("refs/heads/new", "3"), ("refs/heads/same", "1")]);
        let found = moved(&recorded, &actual);
        let shown: Vec<_> =
            found.iter().map(|m| (m.name.as_str(), m.old.as_deref(), m.new.as_deref())).collect();
        assert_eq!(
            shown,
            [
                ("refs/heads/gone", Some("1"), None),
                ("refs/heads/main", Some("1"), Some("2")),
                ("refs/heads/new", None, Some("3")),
            ]
        );
        assert!(moved(&actual, &actual).is_empty());
    }

    #[test]
    fn the_first_default_branch() {
        let first = |names: &[&str]| {
            let actual = refs(&names.iter().map(|name| (*name, "1")).collect::<Vec<_>>());
            first_default_branch(&moved(&BTreeMap::new(), &actual))
        };
        assert_eq!(first(&["refs/heads/a", "refs/heads/main", "refs/heads/master"]).as_deref(), Some("main"));
        assert_eq!(first(&["refs/heads/dev", "refs/heads/x", "refs/tags/a"]).as_deref(), Some("dev"));
        assert_eq!(first(&["refs/tags/v1"]), None);
    }

    #[test]
    fn events_have_the_documented_shape() {
        let repository = Repository {
            id: "12345678-1234-5678-abcd-12345678abcd".into(),
            account: "123456789012".into(),
            region: "us-east-2".into(),
            name: "MyDemoRepo".into(),
            description: None,
            default_branch: None,
            created_at: Timestamp::EPOCH,
            modified_at: Timestamp::EPOCH,
            tags: BTreeMap::new(),
        };
        let told = |name, old_commit, new_commit| {
            detail(&repository, &Told { name, old_commit, new_commit, caller_arn: Some("arn:ann") })
        };
        assert_eq!(
            told("refs/heads/feature/x", Some("a"), Some("b")).unwrap(),
            json!({
                "event": "referenceUpdated",
                "repositoryName": "MyDemoRepo",
                "repositoryId": "12345678-1234-5678-abcd-12345678abcd",
                "referenceType": "branch",
                "referenceName": "feature/x",
                "referenceFullName": "refs/heads/feature/x",
                "commitId": "b",
                "oldCommitId": "a",
                "callerUserArn": "arn:ann",
            })
        );
        let created = told("refs/tags/v1", None, Some("b")).unwrap();
        assert_eq!(
            (&created["event"], &created["referenceType"]),
            (&json!("referenceCreated"), &json!("tag"))
        );
        assert!(created.get("oldCommitId").is_none());
        let deleted = told("refs/heads/x", Some("a"), None).unwrap();
        assert_eq!(deleted["event"], "referenceDeleted");
        assert!(deleted.get("commitId").is_none());
        assert_eq!(told("refs/notes/commits", None, Some("b")), None);
    }
}
