//! What must hold for every generated model.
#![allow(clippy::unwrap_used)]

use towpath_api::model::{Kind, Service};
use towpath_wire::validate::pattern;

static MODELS: &[&Service] = &[
    &towpath_api_codebuild::MODEL,
    &towpath_api_codecommit::MODEL,
    &towpath_api_codedeploy::MODEL,
    &towpath_api_codedeploycommand::MODEL,
    &towpath_api_codepipeline::MODEL,
    &towpath_api_iam::MODEL,
    &towpath_api_logs::MODEL,
    &towpath_api_sts::MODEL,
];

/// Patterns that are not checked, each with its reason. A new one must be looked at.
const UNCHECKED: &[&str] = &[];

#[test]
fn every_pattern_is_checked_or_listed() {
    let mut checked = 0;
    let mut failed = Vec::new();
    for shape in MODELS.iter().flat_map(|model| model.shapes) {
        if let Kind::String { pattern: Some(text), .. } = shape.kind {
            match pattern::compile(text) {
                Some(_) => checked += 1,
                None => failed.push(text),
            }
        }
    }
    failed.dedup();
    assert_eq!(failed, UNCHECKED);
    assert!(checked > 50, "only {checked} patterns were found");
}

#[test]
fn no_mark_names_two_services() {
    let mut prefixes: Vec<_> = MODELS.iter().filter_map(|model| model.target_prefix).collect();
    let count = prefixes.len();
    prefixes.sort_unstable();
    prefixes.dedup();
    assert_eq!(prefixes.len(), count);
}

/// The codecs find members by these names.
#[test]
fn members_have_unique_wire_names() {
    for model in MODELS {
        for shape in model.shapes {
            if let Kind::Structure { members, .. } = shape.kind {
                let mut names: Vec<_> =
                    members.iter().map(|member| (member.location as u8, member.wire_name())).collect();
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), members.len(), "{}: {}", model.name, shape.name);
            }
        }
    }
}
