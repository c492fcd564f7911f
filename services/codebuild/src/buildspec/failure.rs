//! `on-failure`: what a failed phase leads to.

use regex::{Regex, RegexBuilder};
use towpath_yaml::{Error, Node};

#[derive(Clone, Debug)]
pub enum OnFailure {
    /// Ends the build (artifacts are still attempted).
    Abort,
    /// Goes on with the next phase; the build stays failed.
    Continue,
    /// Runs the phase again, at most `times` more; with a pattern, only while the phase's output or error
    /// matches it.
    Retry { times: u32, pattern: Option<Regex> },
}

impl PartialEq for OnFailure {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (OnFailure::Abort, OnFailure::Abort) | (OnFailure::Continue, OnFailure::Continue) => true,
            (OnFailure::Retry { times: a, pattern: p }, OnFailure::Retry { times: b, pattern: q }) => {
                a == b && p.as_ref().map(Regex::as_str) == q.as_ref().map(Regex::as_str)
            }
            _ => false,
        }
    }
}

const DEFAULT_RETRIES: u32 = 3;
const MAX_RETRIES: u32 = 100;
/// A compiled pattern may not take more memory.
const MAX_PATTERN_BYTES: usize = 1 << 20;

impl OnFailure {
    /// `ABORT`, `CONTINUE`, `RETRY`, `RETRY-count`, `RETRY-regex`, `RETRY-count-regex`.
    pub fn read(node: &Node) -> Result<Self, Error> {
        let text = node.text("on-failure")?;
        let rest = match text {
            "ABORT" => return Ok(OnFailure::Abort),
            "CONTINUE" => return Ok(OnFailure::Continue),
            "RETRY" => return Ok(OnFailure::Retry { times: DEFAULT_RETRIES, pattern: None }),
            _ => text.strip_prefix("RETRY-").filter(|rest| !rest.is_empty()),
        };
        let Some(rest) = rest else {
            return Err(Error::invalid(
                node,
                "on-failure must be ABORT, CONTINUE, RETRY, RETRY-count, RETRY-regex or RETRY-count-regex",
            ));
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (count, pattern) = match (&rest[..digits], &rest[digits..]) {
            ("", pattern) => (None, pattern),
            (count, "") => (Some(count), ""),
            (count, more) => match more.strip_prefix('-') {
                Some(pattern) => (Some(count), pattern),
                // Digits that begin the pattern itself.
                None => (None, rest),
            },
        };
        let times =
            match count {
                None => DEFAULT_RETRIES,
                Some(count) => count.parse().ok().filter(|times| *times <= MAX_RETRIES).ok_or_else(|| {
                    Error::invalid(node, "on-failure: RETRY's count must be between 0 and 100")
                })?,
            };
        let pattern = match pattern {
            "" => None,
            pattern => Some(compile(pattern).map_err(|reason| {
                Error::invalid(
                    node,
                    format!("on-failure: the pattern of RETRY is no regular expression: {reason}"),
                )
            })?),
        };
        Ok(OnFailure::Retry { times, pattern })
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        // The error draws the pattern over several lines; its last line says what is wrong.
        error => error.to_string().lines().last().unwrap_or("").trim_start_matches("error: ").to_owned(),
    })
}
