//! What a file is, by its first bytes.

use crate::{ArchiveError, Kind};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Where a tar says `ustar`, and what comes before it.
const TAR_MARK: std::ops::Range<usize> = 257..262;

/// What people send for an archive, so that they are told what they sent.
const OTHERS: [(&[u8], &str); 10] = [
    (b"\xfd7zXZ\0", "xz-compressed data"),
    (b"BZh", "bzip2-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"\x5d\0\0", "LZMA-compressed data"),
    (b"\x1f\x9d", "compress'ed data (.Z)"),
    (b"\x04\x22\x4d\x18", "LZ4-compressed data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"PK\x07\x08", "a part of a zip split over several files"),
    (b"MZ", "a Windows program (a self-extracting archive?)"),
];

/// The kind of archive by its content; the file is left at its start.
pub fn sniff(file: &mut File) -> Result<Option<Kind>, ArchiveError> {
    Ok(kind_of(&head(file)?))
}

/// The kind that the content is to be read as.
pub(super) fn expect(file: &mut File, declared: Option<Kind>) -> Result<Kind, ArchiveError> {
    let head = head(file)?;
    match (declared, kind_of(&head)) {
        (None, None) => Err(ArchiveError::UnknownKind(describe(&head).to_owned())),
        (None, Some(kind)) => Ok(kind),
        // Of the oldest tars only what comes first can be seen: a name. What has a mark of its own is none.
        (Some(Kind::Tar), None) if describe(&head) == UNKNOWN => Ok(Kind::Tar),
        (Some(expected), Some(kind)) if expected == kind => Ok(kind),
        (Some(expected), found) => {
            let found = found.map_or_else(|| describe(&head).to_owned(), |kind| format!("a {kind}"));
            Err(ArchiveError::WrongKind { expected, found })
        }
    }
}

fn head(file: &mut File) -> Result<Vec<u8>, ArchiveError> {
    let mut head = Vec::with_capacity(TAR_MARK.end);
    file.seek(SeekFrom::Start(0)).map_err(ArchiveError::io("archive"))?;
    file.take(TAR_MARK.end as u64).read_to_end(&mut head).map_err(ArchiveError::io("archive"))?;
    file.seek(SeekFrom::Start(0)).map_err(ArchiveError::io("archive"))?;
    Ok(head)
}

fn kind_of(head: &[u8]) -> Option<Kind> {
    match head {
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Kind::Zip),
        [0x1f, 0x8b, ..] => Some(Kind::Tgz),
        _ if head.get(TAR_MARK) == Some(b"ustar") => Some(Kind::Tar),
        _ => None,
    }
}

const UNKNOWN: &str = "something else";

fn describe(head: &[u8]) -> &'static str {
    if head.is_empty() {
        return "an empty file";
    }
    OTHERS.iter().find(|(mark, _)| head.starts_with(mark)).map_or(UNKNOWN, |(_, what)| what)
}
