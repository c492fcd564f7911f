//! What a backup says of itself.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// The version of Towpath that wrote it.
    pub version: String,
    /// RFC 3339.
    pub created_at: String,
    /// Lower-case hexadecimal SHA-256 of every file.
    pub files: BTreeMap<String, String>,
    pub bytes: u64,
}
