//! AWS's texts and paths.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::protocol::json;
use crate::test_model::{SERVICE, THING, echo};

fn message(body: &str) -> String {
    let node = json::decode(&SERVICE, THING, body.as_bytes()).unwrap();
    match check(&SERVICE, echo(), &node) {
        Ok(()) => "ok".into(),
        Err(error) => {
            assert_eq!(error.code, "ValidationException");
            error.message
        }
    }
}

#[test]
fn a_right_input_passes() {
    assert_eq!(
        message(r#"{"Name":"abc","Color":"RED","Count":10,"Tags":[{"Key":"a"}],"Labels":{"k":"v"}}"#),
        "ok"
    );
}

#[test]
fn scalars() {
    let one = |rest: &str| format!("1 validation error detected: {rest}");
    assert_eq!(
        message("{}"),
        one("Value null at 'name' failed to satisfy constraint: Member must not be null")
    );
    assert_eq!(
        message(r#"{"Name":""}"#),
        one(
            "Value '' at 'name' failed to satisfy constraint: Member must have length greater than or equal to 1"
        )
    );
    assert_eq!(
        message(r#"{"Name":"abcdefghi"}"#),
        one(
            "Value 'abcdefghi' at 'name' failed to satisfy constraint: Member must have length less than or equal to 8"
        )
    );
    assert_eq!(
        message(r#"{"Name":"A"}"#),
        one(
            "Value 'A' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]*"
        )
    );
    assert_eq!(
        message(r#"{"Name":"a","Color":"GREEN"}"#),
        one(
            "Value 'GREEN' at 'color' failed to satisfy constraint: Member must satisfy enum value set: [RED, BLUE]"
        )
    );
    assert_eq!(
        message(r#"{"Name":"a","Count":0}"#),
        one(
            "Value '0' at 'count' failed to satisfy constraint: Member must have value greater than or equal to 1"
        )
    );
    assert_eq!(
        message(r#"{"Name":"a","Count":11}"#),
        one(
            "Value '11' at 'count' failed to satisfy constraint: Member must have value less than or equal to 10"
        )
    );
}

#[test]
fn several_errors_are_counted_and_joined() {
    assert_eq!(
        message(r#"{"Name":"ABCDEFGHI","Count":0}"#),
        "3 validation errors detected: Value 'ABCDEFGHI' at 'name' failed to satisfy constraint: Member must have \
         length less than or equal to 8; Value 'ABCDEFGHI' at 'name' failed to satisfy constraint: Member must \
         satisfy regular expression pattern: [a-z]*; Value '0' at 'count' failed to satisfy constraint: Member must \
         have value greater than or equal to 1"
    );
}

#[test]
fn paths_into_lists_and_maps() {
    assert_eq!(
        message(r#"{"Name":"a","Tags":[{"Key":"a"},{"Value":"v"}]}"#),
        "1 validation error detected: Value null at 'tags.2.member.key' failed to satisfy constraint: Member must \
         not be null"
    );
    assert_eq!(
        message(r#"{"Name":"a","TagsByName":{"t":{"Key":"X"}}}"#),
        "1 validation error detected: Value 'X' at 'tagsByName.t.member.key' failed to satisfy constraint: Member \
         must satisfy regular expression pattern: [a-z]*"
    );
    assert_eq!(
        message(r#"{"Name":"a","Names":["a","X"]}"#),
        "1 validation error detected: Value '[a, X]' at 'names' failed to satisfy constraint: Member must satisfy \
         constraint: [Member must have length less than or equal to 8, Member must have length greater than or \
         equal to 1, Member must satisfy regular expression pattern: [a-z]*]"
    );
    assert_eq!(
        message(r#"{"Name":"a","Labels":{"k":"X"}}"#),
        "1 validation error detected: Value '{k=X}' at 'labels' failed to satisfy constraint: Map value must \
         satisfy constraint: [Member must have length less than or equal to 8, Member must have length greater than \
         or equal to 1, Member must satisfy regular expression pattern: [a-z]*]"
    );
    assert_eq!(
        message(r#"{"Name":"a","Tags":[{"Key":"a"},{"Key":"b"},{"Key":"c"},{"Key":"d"}]}"#),
        "1 validation error detected: Value '[{Key=a}, {Key=b}, {Key=c}, {Key=d}]' at 'tags' failed to satisfy \
         constraint: Member must have length less than or equal to 3"
    );
    assert_eq!(
        message(r#"{"Name":"a","Tags":[null]}"#),
        "1 validation error detected: Value null at 'tags.1.member' failed to satisfy constraint: Member must not be \
         null"
    );
}

#[test]
fn secrets_are_not_repeated() {
    assert_eq!(
        message(r#"{"Name":"a","Secret":"short"}"#),
        "1 validation error detected: Value at 'secret' failed to satisfy constraint: Member must have length \
         greater than or equal to 8"
    );
}

#[test]
fn a_union_has_one_member() {
    assert_eq!(message(r#"{"Name":"a","Choice":{"One":"x"}}"#), "ok");
    assert!(message(r#"{"Name":"a","Choice":{"One":"x","Two":"y"}}"#).contains("at 'choice'"));
}

#[test]
fn lengths_count_characters() {
    assert!(!message(r#"{"Name":"üüüüüüüü"}"#).contains("length"));
}

#[test]
fn errors_and_values_are_bounded() {
    let tags: Vec<String> = (0..5000).map(|_| "{}".to_owned()).collect();
    let long = message(&format!(r#"{{"Name":"{}","Tags":[{}]}}"#, "A".repeat(100_000), tags.join(",")));
    assert!(long.starts_with("50 validation errors detected: "), "{}", &long[..100]);
    assert!(long.len() < 50_000, "{}", long.len());
}
