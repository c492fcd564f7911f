//! Archives and folders whose content nobody vouches for.
//!
//! - [`Root`]: a folder held open, beneath which files are opened, made and listed with
//!   `openat2(RESOLVE_BENEATH)`: whatever symlinks somebody left there, nothing outside is reached.
//! - [`unpack`]: zip, tar and tgz into a [`Root`], within [`Limits`]. Absolute paths, `..`, links that lead
//!   out, device nodes and setuid bits never arrive, and an archive that two readers could read differently
//!   is refused. `unpack` tells how.
//! - [`pack`]: zip and tgz from a list of [`Entry`]s. Names are sorted and times fixed, so the same content
//!   gives the same bytes and the same SHA-256.
//!
//! The crate owns no state. An unpack that fails or is killed leaves a partly filled folder: unpack into a
//! fresh one and throw it away on failure. A pack writes to a file of the caller's and syncs it at the end.
//!
//! Needs Linux 5.6 or newer (`openat2`).

mod pack;
mod root;
mod unpack;
mod walk;

pub use pack::{Content, Entry, Packed, pack};
pub use root::{Follow, Root, check_relative};
pub use unpack::{Summary, sniff, unpack};
pub use walk::{Found, FoundKind};

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A kind of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Zip,
    Tar,
    Tgz,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Kind::Zip => "zip",
            Kind::Tar => "tar",
            Kind::Tgz => "tgz",
        })
    }
}

/// Bounds on what an archive may become, and on how much of a folder is listed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_entries: usize,
    pub max_bytes: u64,
    /// Unpacked bytes for each packed byte, checked above [`Limits::RATIO_FLOOR_BYTES`].
    pub max_ratio: u64,
    pub max_path_bytes: usize,
    pub max_depth: usize,
}

impl Limits {
    /// Small archives of zeros are harmless.
    pub const RATIO_FLOOR_BYTES: u64 = 64 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_entries: 500_000,
            max_bytes: 16 << 30,
            max_ratio: 250,
            max_path_bytes: 4095,
            max_depth: 128,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("the content is no zip, tar or tgz archive but {0}")]
    UnknownKind(String),
    #[error("expected a {expected} archive, found {found}")]
    WrongKind { expected: Kind, found: String },
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    #[error("entry '{0}' is encrypted: pack the archive without a password")]
    Encrypted(String),
    #[error("entry '{path}' is refused: {reason}")]
    Refused { path: String, reason: Cow<'static, str> },
    #[error("too large: {0}")]
    TooLarge(String),
}

impl ArchiveError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> ArchiveError {
        move |source| ArchiveError::Io { what: what.into(), source }
    }

    pub(crate) fn refused(path: &[u8], reason: impl Into<Cow<'static, str>>) -> ArchiveError {
        ArchiveError::Refused { path: shown(path), reason: reason.into() }
    }

    /// The content of one entry is not what an archive may hold there.
    pub(crate) fn broken(path: &[u8], why: impl fmt::Display) -> ArchiveError {
        ArchiveError::Damaged(format!("entry '{}': {why}", shown(path)))
    }

    /// The same, told of the whole path of which it may have named a part.
    pub(crate) fn about(self, path: &Path) -> ArchiveError {
        match self {
            ArchiveError::Refused { reason, .. } => {
                ArchiveError::refused(path.as_os_str().as_bytes(), reason)
            }
            other => other,
        }
    }

    /// Whether a path was refused because it leaves its root or is of a forbidden kind.
    pub fn is_refusal(&self) -> bool {
        matches!(self, ArchiveError::Refused { .. })
    }
}

/// A name as it may stand in a message: of bounded length, nothing in it that a terminal would obey.
pub(crate) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(&name[..name.len().min(MAX_SHOWN_BYTES)]);
    let plain = |shown: char| match shown {
        _ if shown.is_control() => shown.escape_default().to_string(),
        // Marks that change the direction of what follows.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            shown.escape_default().to_string()
        }
        _ => shown.to_string(),
    };
    text.chars().map(plain).collect()
}

const MAX_SHOWN_BYTES: usize = 200;

#[cfg(test)]
mod tests;
