//! Event patterns: what is written in a rule.
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html>,
//! operators: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>.

use super::matcher::matches_object;
use super::parse;
use serde_json::Value;

/// What EventBridge accepts for a rule's pattern.
pub const MAX_PATTERN_BYTES: usize = 4096;

/// A checked event pattern. Pure: matching asks nobody and keeps nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pub(crate) root: ObjectPattern,
}

/// Why a text is no event pattern, in EventBridge's words where they are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Event pattern is not valid. Reason: {reason}")]
pub struct PatternError {
    pub reason: String,
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            let reason = format!("The pattern has {} bytes; {MAX_PATTERN_BYTES} are allowed", text.len());
            return Err(PatternError { reason });
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| PatternError { reason: format!("Not valid JSON: {error}") })?;
        Pattern::from_json(&value)
    }

    pub fn from_json(value: &Value) -> Result<Pattern, PatternError> {
        parse::pattern(value).map_err(|reason| PatternError { reason })
    }

    /// Whether an event ([`towpath_api::Event::to_json`]) matches.
    pub fn matches(&self, event: &Value) -> bool {
        matches_object(&self.root, Some(event))
    }
}

/// Every field and every group must match.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ObjectPattern {
    pub fields: Vec<(String, FieldPattern)>,
    /// `$or`: of each group, one at least.
    pub any_of: Vec<Vec<ObjectPattern>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FieldPattern {
    Object(ObjectPattern),
    /// One of the tests at least.
    Leaf(Vec<Test>),
}

/// A test of one value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    Exactly(Value),
    Text(TextTest),
    Numeric(Vec<(Comparison, f64)>),
    Exists(bool),
    Cidr(Network),
    /// None of these values.
    NotExactly(Vec<Value>),
    /// A text for which none of these holds.
    NotText(Vec<TextTest>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TextTest {
    Prefix(String),
    PrefixIgnoreCase(String),
    Suffix(String),
    SuffixIgnoreCase(String),
    EqualsIgnoreCase(String),
    Wildcard(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A block of addresses, as the first one's bits under a mask. IPv4 and IPv6 stay apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    V4 { bits: u32, mask: u32 },
    V6 { bits: u128, mask: u128 },
}
