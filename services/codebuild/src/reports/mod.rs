//! Test results out of report files. Pure: text in, cases out.

mod junit;

pub use junit::parse as parse_junit;

use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CaseStatus {
    Succeeded,
    Failed,
    Error,
    Skipped,
}

impl fmt::Display for CaseStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            CaseStatus::Succeeded => "SUCCEEDED",
            CaseStatus::Failed => "FAILED",
            CaseStatus::Error => "ERROR",
            CaseStatus::Skipped => "SKIPPED",
        })
    }
}

/// One test case as it ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub name: String,
    /// The class.
    pub prefix: Option<String>,
    pub suite: Option<String>,
    pub status: CaseStatus,
    pub duration_ns: i64,
    /// Why it failed or was skipped, cut to [`MAX_MESSAGE_BYTES`].
    pub message: Option<String>,
    /// The report file that told of it.
    pub file: String,
}

pub const MAX_FILE_BYTES: u64 = 64 << 20;
pub const MAX_CASES: usize = 10_000;
pub const MAX_MESSAGE_BYTES: usize = 4 << 10;
pub const MAX_NAME_BYTES: usize = 1 << 10;
/// A hundred years.
pub const MAX_DURATION_NS: i64 = 3_200_000_000 * 1_000_000_000;

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("{file}: not well-formed XML at byte {position}: {reason}")]
    Malformed { file: String, position: u64, reason: String },
    #[error("{file}: no JUnit report: its root is <{root}>, not <testsuites> or <testsuite>")]
    NotJunit { file: String, root: String },
    #[error("{file}: document type declarations and entities are refused")]
    Doctype { file: String },
    #[error("{file}: elements nested deeper than {limit} levels")]
    TooDeep { file: String, limit: usize },
}

/// `text`, cut at a character's end.
pub(crate) fn cut(text: &str, max_bytes: usize) -> String {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
