//! Matching an event against a checked pattern.

use super::pattern::{Comparison, FieldPattern, Network, ObjectPattern, Test, TextTest};
use serde_json::Value;
use std::net::IpAddr;

/// A list of objects matches where one of its elements matches as a whole: two fields of one pattern
/// are never found in two different elements. `None` is a value that is not there.
pub(crate) fn matches_object(pattern: &ObjectPattern, value: Option<&Value>) -> bool {
    if let Some(Value::Array(elements)) = value
        && !elements.is_empty()
    {
        return elements.iter().any(|element| matches_object(pattern, Some(element)));
    }
    let fields = value.and_then(Value::as_object);
    let field_matches = |(name, pattern): &(String, FieldPattern)| {
        let value = fields.and_then(|fields| fields.get(name));
        match pattern {
            FieldPattern::Object(inner) => matches_object(inner, value),
            FieldPattern::Leaf(tests) => tests.iter().any(|test| holds(test, value)),
        }
    };
    let group_matches = |group: &Vec<ObjectPattern>| group.iter().any(|choice| matches_object(choice, value));
    pattern.fields.iter().all(field_matches) && pattern.any_of.iter().all(group_matches)
}

/// A leaf is a value that is neither object nor list; of a list, each element is one.
fn holds(test: &Test, value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Object(_)) => matches!(test, Test::Exists(false)),
        Some(Value::Array(elements)) if elements.is_empty() => matches!(test, Test::Exists(false)),
        Some(Value::Array(elements)) => elements.iter().any(|element| holds(test, Some(element))),
        Some(leaf) => leaf_holds(test, leaf),
    }
}

fn leaf_holds(test: &Test, leaf: &Value) -> bool {
    match test {
        Test::Exactly(expected) => expected == leaf,
        Test::Exists(wanted) => *wanted,
        Test::Text(test) => leaf.as_str().is_some_and(|text| text_holds(test, text)),
        Test::NotExactly(values) => !values.contains(leaf),
        Test::NotText(tests) => {
            leaf.as_str().is_some_and(|text| !tests.iter().any(|test| text_holds(test, text)))
        }
        Test::Numeric(comparisons) => leaf.as_f64().is_some_and(|number| {
            comparisons.iter().all(|(comparison, bound)| compare(number, *comparison, *bound))
        }),
        Test::Cidr(network) => leaf
            .as_str()
            .and_then(|text| text.parse().ok())
            .is_some_and(|address| contains(*network, address)),
    }
}

fn text_holds(test: &TextTest, text: &str) -> bool {
    match test {
        TextTest::Prefix(prefix) => text.starts_with(prefix.as_str()),
        TextTest::PrefixIgnoreCase(prefix) => text.to_lowercase().starts_with(prefix.as_str()),
        TextTest::Suffix(suffix) => text.ends_with(suffix.as_str()),
        TextTest::SuffixIgnoreCase(suffix) => text.to_lowercase().ends_with(suffix.as_str()),
        TextTest::EqualsIgnoreCase(expected) => text.to_lowercase() == *expected,
        TextTest::Wildcard(parts) => wildcard_holds(parts, text),
    }
}

/// The parts between asterisks must occur one after the other; taking each as early as possible is
/// enough, so the time is linear in the text for each part.
fn wildcard_holds(parts: &[String], text: &str) -> bool {
    let [first, middle @ .., last] = parts else {
        return parts.first().is_some_and(|only| only == text);
    };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for part in middle {
        let Some(found) = rest.find(part.as_str()) else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.ends_with(last.as_str())
}

fn compare(number: f64, comparison: Comparison, bound: f64) -> bool {
    match comparison {
        Comparison::Equal => number == bound,
        Comparison::Less => number < bound,
        Comparison::LessOrEqual => number <= bound,
        Comparison::Greater => number > bound,
        Comparison::GreaterOrEqual => number >= bound,
    }
}

fn contains(network: Network, address: IpAddr) -> bool {
    match (network, address) {
        (Network::V4 { bits, mask }, IpAddr::V4(address)) => address.to_bits() & mask == bits,
        (Network::V6 { bits, mask }, IpAddr::V6(address)) => address.to_bits() & mask == bits,
        _ => false,
    }
}
