//! A strict reader for the YAML files that users hand to builds and deployments.
//!
//! It parses one document into [`Node`]s that know where they stand, and gives readers the few questions
//! that a strict format needs: [`Node::map`] with [`MapView::only`] (unknown keys are named with their
//! line and the allowed ones), typed scalars, required keys. It owns no state and does no I/O.
//!
//! Invariants: duplicate keys, several documents, foreign tags and keys that are no scalars are errors;
//! an alias is expanded as a copy and every copy is counted, so that a "billion laughs" file ends in
//! [`ErrorKind::TooLarge`]; depth is bounded, so neither building nor dropping a tree can overflow the
//! stack. A scalar keeps the text as it was written: `python: 3.10` stays `3.10`.
//!
//! Format: <https://yaml.org/spec/1.2.2/>. Booleans also accept `yes`/`no`/`on`/`off`, as AWS's own
//! buildspec reference writes them, and `<<` merges a mapping, as in YAML 1.1.

mod build;
mod node;

pub use node::{Key, MapView, Node, Value};

use std::fmt;

/// Bounds on one document. Every one of them holds after aliases were expanded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_bytes: usize,
    pub max_depth: usize,
    pub max_nodes: usize,
    /// The sum of all scalars' lengths, copies included.
    pub max_expanded_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_bytes: 1 << 20, max_depth: 32, max_nodes: 50_000, max_expanded_bytes: 8 << 20 }
    }
}

/// What is wrong, and where. Lines and columns count from 1; 0 means the document as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub line: usize,
    pub column: usize,
    pub kind: ErrorKind,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    #[error("{0}")]
    Syntax(String),
    #[error("the document is empty")]
    Empty,
    #[error("only one document is allowed")]
    SeveralDocuments,
    #[error("the document is too large: {0}")]
    TooLarge(String),
    #[error("duplicate key '{0}'")]
    DuplicateKey(String),
    #[error("unknown key '{key}'; allowed: {}", allowed.join(", "))]
    UnknownKey { key: String, allowed: Vec<String> },
    #[error("missing key '{0}'")]
    MissingKey(String),
    #[error("expected {what} to be {expected}, found {found}")]
    Type { what: String, expected: &'static str, found: String },
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// An error of the reader's own, at `node`.
    pub fn invalid(node: &Node, message: impl Into<String>) -> Self {
        Error { line: node.line, column: node.column, kind: ErrorKind::Invalid(message.into()) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}", self.kind),
            line => write!(formatter, "{} at line {line}", self.kind),
        }
    }
}

impl std::error::Error for Error {}

/// Reads the one document in `text`.
pub fn parse(text: &str, limits: Limits) -> Result<Node, Error> {
    build::parse(text, limits)
}

#[cfg(test)]
mod tests;
