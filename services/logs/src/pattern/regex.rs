//! The regular expressions of filter patterns.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/regex-expressions.html>.

use super::{PatternError, invalid};
use regex::{Regex, RegexBuilder};

/// What an expression may compile to: repetitions of repetitions grow quickly.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// Compiles what stands between two percent signs. Letters, digits, some symbols and the operators
/// `^ $ ? [ ] { } | \ * + .` are allowed; parentheses are not.
pub(super) fn compile(expression: &str) -> Result<Regex, PatternError> {
    let allowed =
        |character: char| character.is_ascii_alphanumeric() || ":_#=@/;,- ^$?[]{}|\\*+.".contains(character);
    if let Some(character) = expression.chars().find(|character| !allowed(*character)) {
        return Err(invalid(format!("the character {character:?} is not supported in %{expression}%")));
    }
    if expression.is_empty() {
        return Err(invalid("a regular expression is empty"));
    }
    RegexBuilder::new(expression)
        .size_limit(MAX_COMPILED_BYTES)
        .build()
        .map_err(|error| invalid(format!("%{expression}%: {error}")))
}
