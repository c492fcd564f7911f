//! The operators of event patterns, on the examples of
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html> and
//! <https://github.com/aws/event-ruler>.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use towpath_events::{MAX_PATTERN_BYTES, Pattern};

fn event() -> Value {
    json!({
        "version": "0",
        "id": "ddddd4-aaaa-7777-4444-345dd43cc333",
        "detail-type": "EC2 Instance State-change Notification",
        "source": "aws.ec2",
        "account": "012345679012",
        "time": "2017-10-02T16:24:49Z",
        "region": "us-east-1",
        "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-000000aaaaaa00000"],
        "detail": {
            "c-count": 5, "d-count": 3, "x-limit": 301.8, "source-ip": "10.0.0.33",
            "instance-id": "i-000000aaaaaa00000", "state": "running", "empty": "", "none": null,
            "flag": true, "FilePath": "/usr/lib/x.PNG", "list": [], "v6": "2001:db8::7"
        }
    })
}

fn matches(pattern: Value) -> bool {
    Pattern::parse(&pattern.to_string()).unwrap().matches(&event())
}

fn detail(field: &str, test: Value) -> bool {
    matches(json!({"detail": {field: [test]}}))
}

#[test]
fn values_match_exactly_and_lists_where_they_meet() {
    assert!(matches(json!({
        "detail-type": ["EC2 Instance State-change Notification"],
        "resources": ["arn:aws:ec2:us-east-1:1:instance/other", "arn:aws:ec2:us-east-1:123456789012:instance/i-000000aaaaaa00000"],
        "detail": {"state": ["initializing", "running"]}
    })));
    assert!(!matches(json!({"source": ["aws.ec2"], "detail": {"state": ["stopped"]}})));
    assert!(!matches(json!({"source": ["AWS.EC2"]})), "case counts");
    assert!(detail("empty", json!("")) && detail("none", json!(null)) && detail("flag", json!(true)));
    assert!(!detail("state", json!("")) && !detail("missing", json!(null)) && !detail("flag", json!("true")));
    assert!(detail("c-count", json!(5)) && !detail("c-count", json!("5")));
}

#[test]
fn texts_match_by_their_ends_case_and_wildcards() {
    assert!(matches(json!({"time": [{"prefix": "2017-10-02"}]})));
    assert!(
        matches(json!({"source": [{"suffix": "ec2"}]})) && !matches(json!({"source": [{"suffix": "ec3"}]}))
    );
    assert!(matches(json!({"source": [{"equals-ignore-case": "AWS.EC2"}]})));
    assert!(detail("FilePath", json!({"suffix": {"equals-ignore-case": ".png"}})));
    assert!(detail("FilePath", json!({"prefix": {"equals-ignore-case": "/USR"}})));
    for (wildcard, expected) in [
        ("/usr/lib/x.PNG", true),
        ("*", true),
        ("/usr/*/x.PNG", true),
        ("*lib*", true),
        ("*.png", false),
        ("/usr/lib/x.PNG*", true),
        ("/usr/lib/*x.PNG.PNG", false),
        ("*usr*usr*", false),
        ("/usr/lib/x\\*PNG", false),
    ] {
        assert_eq!(detail("FilePath", json!({"wildcard": wildcard})), expected, "{wildcard}");
    }
    assert!(!detail("c-count", json!({"prefix": "5"})), "numbers have no prefix");
}

#[test]
fn a_wildcard_can_be_escaped() {
    let pattern = Pattern::parse(r#"{"a": [{"wildcard": "x\\*y\\\\*"}]}"#).unwrap();
    assert!(pattern.matches(&json!({"a": r"x*y\anything"})));
    assert!(!pattern.matches(&json!({"a": r"xzy\"})));
    let overlap = Pattern::parse(r#"{"a": [{"wildcard": "ab*ba"}]}"#).unwrap();
    assert!(!overlap.matches(&json!({"a": "aba"})) && overlap.matches(&json!({"a": "abba"})));
}

#[test]
fn anything_but_takes_values_lists_and_text_tests() {
    assert!(detail("state", json!({"anything-but": "initializing"})));
    assert!(!detail("state", json!({"anything-but": "running"})));
    assert!(detail("x-limit", json!({"anything-but": 123})));
    assert!(detail("state", json!({"anything-but": ["stopped", "overloaded"]})));
    assert!(!detail("state", json!({"anything-but": ["stopped", "running"]})));
    assert!(!detail("c-count", json!({"anything-but": [100, 5]})));
    assert!(detail("state", json!({"anything-but": {"prefix": "init"}})));
    assert!(!detail("state", json!({"anything-but": {"prefix": ["init", "run"]}})));
    assert!(!detail("state", json!({"anything-but": {"suffix": "ning"}})));
    assert!(!detail("state", json!({"anything-but": {"equals-ignore-case": ["RUNNING", "x"]}})));
    assert!(!detail("FilePath", json!({"anything-but": {"wildcard": "*/lib/*"}})));
    assert!(!detail("missing", json!({"anything-but": "x"})), "a field that is not there is nothing");
}

#[test]
fn numbers_compare_within_ranges() {
    assert!(matches(json!({"detail": {
        "c-count": [{"numeric": [">", 0, "<=", 5]}],
        "d-count": [{"numeric": ["<", 10]}],
        "x-limit": [{"numeric": ["=", 3.018e2]}]
    }})));
    assert!(
        !detail("c-count", json!({"numeric": [">", 5]})) && detail("c-count", json!({"numeric": [">=", 5]}))
    );
    assert!(!detail("source-ip", json!({"numeric": [">", 0]})));
}

#[test]
fn addresses_match_their_blocks() {
    assert!(detail("source-ip", json!({"cidr": "10.0.0.0/24"})));
    assert!(
        detail("source-ip", json!({"cidr": "0.0.0.0/0"}))
            && detail("source-ip", json!({"cidr": "10.0.0.33/32"}))
    );
    assert!(!detail("source-ip", json!({"cidr": "10.0.1.0/24"})));
    assert!(detail("v6", json!({"cidr": "2001:db8::/32"})) && !detail("source-ip", json!({"cidr": "::/0"})));
    assert!(!detail("state", json!({"cidr": "0.0.0.0/0"})));
}

#[test]
fn exists_looks_at_leaves() {
    assert!(detail("c-count", json!({"exists": true})) && !detail("c-count", json!({"exists": false})));
    assert!(detail("missing", json!({"exists": false})) && !detail("missing", json!({"exists": true})));
    assert!(detail("none", json!({"exists": true})));
    assert!(detail("list", json!({"exists": false})), "an empty list has no leaf");
    assert!(matches(json!({"detail": [{"exists": false}]})), "an object is no leaf");
    assert!(matches(json!({"detail": {"deep": {"deeper": [{"exists": false}]}}})));
    assert!(!matches(json!({"detail": {"deep": {"deeper": [{"exists": true}]}}})));
}

#[test]
fn or_joins_fields_and_nests() {
    let or = |first: Value, second: Value| matches(json!({"source": ["aws.ec2"], "$or": [first, second]}));
    let (yes, no) = (json!({"region": ["us-east-1"]}), json!({"region": ["eu-west-1"]}));
    assert!(or(yes.clone(), no.clone()) && or(no.clone(), yes.clone()) && !or(no.clone(), no.clone()));
    assert!(or(no.clone(), json!({"account": ["012345679012"], "$or": [no.clone(), yes.clone()]})));
    assert!(!or(no.clone(), json!({"account": ["1"], "$or": [no.clone(), yes.clone()]})));
    assert!(matches(
        json!({"detail": {"$or": [{"state": ["stopped"]}, {"c-count": [{"numeric": [">", 4]}]}]}})
    ));
    let field = Pattern::parse(r#"{"$or": [{"prefix": "a"}, {"numeric": [">", 3]}]}"#).unwrap();
    assert!(field.matches(&json!({"$or": "abc"})), "with operators for fields it is a field's name");
}

#[test]
fn fields_of_one_pattern_are_found_in_one_element() {
    let pattern = Pattern::parse(r#"{"employees": {"name": ["Ann"], "city": ["Bonn"]}}"#).unwrap();
    let apart = json!({"employees": [{"name": "Ann", "city": "Rome"}, {"name": "Bob", "city": "Bonn"}]});
    let together = json!({"employees": [{"name": "Bob"}, {"name": "Ann", "city": "Bonn"}]});
    assert!(!pattern.matches(&apart) && pattern.matches(&together));
}

#[test]
fn what_is_not_a_pattern_is_refused_with_its_place() {
    let too_long = format!(r#"{{"a": ["{}"]}}"#, "x".repeat(MAX_PATTERN_BYTES));
    let or = |count: usize| json!({"$or": vec![json!({"a": ["b"]}); count]});
    let multiplied = json!({"a": or(11), "b": or(11), "c": or(11)}).to_string();
    for (text, reason) in [
        ("[]", "Filter is not an object"),
        ("{}", "Empty objects are not allowed"),
        ("{", "Not valid JSON"),
        (r#"{"source": "aws.ec2"}"#, "\"source\" must be an object or an array"),
        (r#"{"source": []}"#, "Empty arrays are not allowed: source"),
        (r#"{"detail": {}}"#, "Empty objects are not allowed: detail"),
        (r#"{"a": [["b"]]}"#, "Arrays within arrays are not allowed: a"),
        (r#"{"detail": {"a": [{"contains": "x"}]}}"#, "Unrecognized match type contains at detail.a"),
        (r#"{"a": [{"prefix": "x", "suffix": "y"}]}"#, "Exactly one match type"),
        (r#"{"a": [{}]}"#, "Exactly one match type"),
        (r#"{"a": [{"prefix": 5}]}"#, "prefix at a must be a string"),
        (r#"{"a": [{"prefix": {"wildcard": "x"}}]}"#, "Unsupported prefix expression"),
        (r#"{"a": [{"exists": "yes"}]}"#, "exists at a must be true or false"),
        (r#"{"a": [{"numeric": [">"]}]}"#, "must be an array of comparisons"),
        (r#"{"a": [{"numeric": []}]}"#, "must be an array of comparisons"),
        (r#"{"a": [{"numeric": ["!=", 3]}]}"#, "Unrecognized numeric range operator at a: !="),
        (r#"{"a": [{"numeric": ["<", 3, ">", 1]}]}"#, "must be an array of comparisons"),
        (r#"{"a": [{"numeric": [">", 5, "<", 5]}]}"#, "Bottom must be less than top"),
        (r#"{"a": [{"numeric": ["=", 6e9]}]}"#, "must be within"),
        (r#"{"a": [{"wildcard": "a**b"}]}"#, "Consecutive wildcard characters"),
        (r#"{"a": [{"wildcard": "a\\b"}]}"#, "Invalid escape character"),
        (r#"{"a": [{"anything-but": ["a", 1]}]}"#, "either all values are numbers or strings"),
        (r#"{"a": [{"anything-but": {"numeric": [">", 1]}}]}"#, "Unrecognized match type numeric"),
        (r#"{"a": [{"cidr": "10.0.0.0/33"}]}"#, "Malformed CIDR"),
        (&too_long, "4096 are allowed"),
        (&multiplied, "1331 combinations"),
    ] {
        let error = Pattern::parse(text).unwrap_err();
        assert!(error.reason.contains(reason), "{text}: {error}");
    }
}
