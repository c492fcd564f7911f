//! Filter patterns of FilterLogEvents.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>.
//!
//! Done here: terms, optional and excluded terms, quoted phrases, regular expressions between percent
//! signs, and JSON conditions. Space-delimited patterns (`[ip, user, …]`) are refused by name.

mod json;
mod regex;
mod terms;

/// A checked pattern. Pure, and linear in the length of what it is matched against.
#[derive(Clone, Debug)]
pub enum Pattern {
    Terms(terms::Terms),
    Json(json::Condition),
}

/// The longest pattern.
pub const MAX_BYTES: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("Invalid filter pattern: {0}")]
    Invalid(String),
    /// AWS has it and Towpath does not.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        if text.len() > MAX_BYTES {
            return Err(invalid(format!("{} bytes are more than {MAX_BYTES}", text.len())));
        }
        match text.trim().chars().next() {
            Some('{') => json::parse(text.trim()).map(Pattern::Json),
            Some('[') => {
                Err(PatternError::Unsupported("space-delimited filter patterns of logs:FilterLogEvents"))
            }
            _ => terms::parse(text).map(Pattern::Terms),
        }
    }

    pub fn matches(&self, message: &str) -> bool {
        match self {
            Pattern::Terms(terms) => terms.matches(message),
            Pattern::Json(condition) => {
                serde_json::from_str(message).is_ok_and(|event: serde_json::Value| condition.holds(&event))
            }
        }
    }
}

fn invalid(reason: impl Into<String>) -> PatternError {
    PatternError::Invalid(reason.into())
}
