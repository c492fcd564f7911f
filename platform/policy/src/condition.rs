//! One condition of a statement: an operator, a key, and the values that the policy lists for it.
//! Several values are alternatives; for a negated operator none of them may match.
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_multi-value-conditions.html>.

use crate::arn::ArnTemplate;
use crate::context::Question;
use crate::error::PolicyError;
use crate::network::Network;
use crate::operator::{Comparison, Operator, Quantifier, Test};
use crate::template::{Reading, Template};
use std::net::IpAddr;
use towpath_api::{Timestamp, id};

#[derive(Clone, Debug)]
pub struct Condition {
    operator: Operator,
    /// In lower case: keys have no case.
    key: String,
    values: Vec<Value>,
}

#[derive(Clone, Debug)]
enum Value {
    Text(Template),
    Arn(ArnTemplate),
    Number(f64),
    Date(Timestamp),
    Bool(bool),
    Binary(Vec<u8>),
    Address(Network),
}

impl Condition {
    pub fn new(
        operator: Operator,
        key: &str,
        values: &[String],
        variables: bool,
    ) -> Result<Self, PolicyError> {
        let values = values
            .iter()
            .map(|text| {
                value(operator.test, text, variables).ok_or_else(|| {
                    PolicyError::Legacy(format!("\"{text}\" is not a value for the condition on {key}."))
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Condition { operator, key: key.to_lowercase(), values })
    }

    pub fn holds(&self, question: &Question) -> bool {
        let found = question.values(&self.key);
        if self.operator.test == Test::Null {
            let is_null = found.is_empty();
            return self
                .values
                .iter()
                .any(|value| matches!(value, Value::Bool(expected) if *expected == is_null));
        }
        if found.is_empty() {
            return self.operator.if_exists
                || match self.operator.quantifier {
                    Quantifier::Single => self.operator.negated,
                    Quantifier::ForAllValues => true,
                    Quantifier::ForAnyValue => false,
                };
        }
        let matches = |found: &str| self.values.iter().any(|value| self.matches(value, found, question));
        let passes = |found: &str| matches(found) != self.operator.negated;
        match self.operator.quantifier {
            Quantifier::Single => found.iter().any(|found| matches(found)) != self.operator.negated,
            Quantifier::ForAllValues => found.iter().all(|found| passes(found)),
            Quantifier::ForAnyValue => found.iter().any(|found| passes(found)),
        }
    }

    /// A request's value that is not of the operator's type matches nothing.
    fn matches(&self, value: &Value, found: &str, question: &Question) -> bool {
        let comparison = match self.operator.test {
            Test::Number(comparison) | Test::Date(comparison) => comparison,
            _ => Comparison::Equal,
        };
        match value {
            Value::Text(template) => template.matches(found, question),
            Value::Arn(template) => template.matches(found, question),
            Value::Number(expected) => number(found)
                .and_then(|found| found.partial_cmp(expected))
                .is_some_and(|ordering| comparison.holds(ordering)),
            Value::Date(expected) => date(found).is_some_and(|found| comparison.holds(found.cmp(expected))),
            Value::Bool(expected) => boolean(found) == Some(*expected),
            Value::Binary(expected) => found.as_bytes() == expected.as_slice(),
            Value::Address(network) => found.parse::<IpAddr>().is_ok_and(|address| network.contains(address)),
        }
    }
}

fn value(test: Test, text: &str, variables: bool) -> Option<Value> {
    Some(match test {
        Test::Text { wildcards, ignore_case } => {
            Value::Text(Template::new(text, Reading { wildcards, variables, ignore_case }))
        }
        Test::Arn => Value::Arn(ArnTemplate::new(text, variables)),
        Test::Number(_) => Value::Number(number(text)?),
        Test::Date(_) => Value::Date(date(text)?),
        Test::Bool | Test::Null => Value::Bool(boolean(text)?),
        Test::Binary => Value::Binary(id::base64_decode(text)?),
        Test::Address => Value::Address(Network::parse(text)?),
    })
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// The W3C's forms of ISO 8601 (a year, a month, a day, or a time with a zone), or seconds since 1970.
fn date(text: &str) -> Option<Timestamp> {
    if text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<i64>().ok().map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1000)));
    }
    let full = match text.len() {
        4 => format!("{text}-01-01T00:00:00Z"),
        7 => format!("{text}-01T00:00:00Z"),
        10 => format!("{text}T00:00:00Z"),
        _ => with_seconds(text)?,
    };
    Timestamp::parse_iso8601(&full)
}

/// `2026-11-20T10:11Z` has no seconds, which RFC 3339 demands.
fn with_seconds(text: &str) -> Option<String> {
    if !text.is_ascii() || text.len() < 17 {
        return None;
    }
    let (time, zone) = text.split_at(16);
    Some(if zone.starts_with(':') { text.to_owned() } else { format!("{time}:00{zone}") })
}
