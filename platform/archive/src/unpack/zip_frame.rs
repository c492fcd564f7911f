//! Where a zip's central directory is. There is one answer or none: the last end record must reach the
//! end of the file (or zeros, to which some tools fill up), the directory must reach the end records, and both kinds of end record must say the same.
//! So nothing can hide behind a comment, before the archive or after it.

use crate::ArchiveError;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const END: &[u8] = b"PK\x05\x06";
const END_BYTES: usize = 22;
const END64_LOCATOR: &[u8] = b"PK\x06\x07";
const END64_LOCATOR_BYTES: u64 = 20;
const END64: &[u8] = b"PK\x06\x06";
const END64_BYTES: usize = 56;
const MAX_COMMENT_BYTES: u64 = u16::MAX as u64;
pub(super) const CENTRAL_BYTES: u64 = 46;

/// The central directory: `entries` headers, from `start` to `end`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Directory {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) entries: u64,
}

/// A field of an archive's bytes; the callers have as many as they ask for.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|field| field.try_into().ok()).map_or(0, u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|field| field.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|field| field.try_into().ok()).map_or(0, u64::from_le_bytes)
}

pub(super) fn damaged(why: impl Into<String>) -> ArchiveError {
    ArchiveError::Damaged(why.into())
}

/// Fills `buffer` from `at`.
pub(super) fn read_at(archive: &File, buffer: &mut [u8], at: u64) -> Result<(), ArchiveError> {
    archive.read_exact_at(buffer, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it is cut off"),
        _ => ArchiveError::Io { what: "archive".into(), source: error },
    })
}

/// What an end record says of the directory.
#[derive(Debug)]
struct Said {
    entries: u64,
    size: u64,
    start: u64,
}

pub(super) fn locate(archive: &File, length: u64) -> Result<Directory, ArchiveError> {
    let tail_bytes = length.min(END_BYTES as u64 + MAX_COMMENT_BYTES);
    let tail_at = length - tail_bytes;
    let mut tail = vec![0; usize::try_from(tail_bytes).unwrap_or(0)];
    read_at(archive, &mut tail, tail_at)?;
    let found = tail.windows(END.len()).rposition(|window| window == END);
    let at =
        found.ok_or_else(|| damaged("it has no end record: it is cut off, or something was put after it"))?;
    let record = &tail[at..];
    let end = END_BYTES + usize::from(u16_at(record, 20));
    // Tools that write to pipes fill the last block with zeros; zeros are no records.
    if record.get(end..).is_none_or(|rest| rest.iter().any(|byte| *byte != 0)) {
        return Err(damaged(
            "its last end record does not end where the file ends: it is cut off, something was put after it, or \
             its comment holds another end record",
        ));
    }
    let at = tail_at + at as u64;
    // All ones leave it to the zip64 record.
    let one_disk = [4, 6].iter().all(|at| matches!(u16_at(record, *at), 0 | u16::MAX))
        && [u16_at(record, 10), u16::MAX].contains(&u16_at(record, 8));
    let said = Said {
        entries: u16_at(record, 10).into(),
        size: u32_at(record, 12).into(),
        start: u32_at(record, 16).into(),
    };
    if !one_disk {
        return Err(damaged("it is a part of an archive that is split over several files: pack it as one"));
    }
    let (said, end) = locate64(archive, at, &said)?.unwrap_or((said, at));
    let start = said.start;
    match start.checked_add(said.size) {
        Some(reached) if reached == end => {}
        Some(reached) if reached < end => {
            let more = end - reached;
            return Err(damaged(format!(
                "{more} bytes more than its end record says: something was put before its entries or between them"
            )));
        }
        _ => return Err(damaged("its end record names a place beyond itself")),
    }
    if said.entries.saturating_mul(CENTRAL_BYTES) > said.size {
        return Err(damaged("it says to have more entries than its directory has room for"));
    }
    Ok(Directory { start, end, entries: said.entries })
}

/// The zip64 end record, whose locator would come right before the end record at `end_at`; and where it is.
fn locate64(archive: &File, end_at: u64, said: &Said) -> Result<Option<(Said, u64)>, ArchiveError> {
    let Some(locator_at) = end_at.checked_sub(END64_LOCATOR_BYTES) else { return Ok(None) };
    let mut locator = [0; END64_LOCATOR_BYTES as usize];
    read_at(archive, &mut locator, locator_at)?;
    if !locator.starts_with(END64_LOCATOR) {
        return Ok(None);
    }
    let at = u64_at(&locator, 8);
    let fits = at.checked_add(END64_BYTES as u64).is_some_and(|end| end <= locator_at);
    if !fits || u32_at(&locator, 4) != 0 || u32_at(&locator, 16) > 1 {
        return Err(damaged("its zip64 end record is not where it should be"));
    }
    let mut record = [0; END64_BYTES];
    read_at(archive, &mut record, at)?;
    let ends = u64_at(&record, 4).checked_add(12).and_then(|size| size.checked_add(at));
    let one_disk = u32_at(&record, 16) == 0 && u32_at(&record, 20) == 0;
    let entries = u64_at(&record, 32);
    if !record.starts_with(END64) || ends != Some(locator_at) || !one_disk || u64_at(&record, 24) != entries {
        return Err(damaged("its zip64 end record is not as it should be"));
    }
    let wide = Said { entries, size: u64_at(&record, 40), start: u64_at(&record, 48) };
    let agree = (said.entries == wide.entries || said.entries == u64::from(u16::MAX))
        && (said.size == wide.size || said.size == u64::from(u32::MAX))
        && (said.start == wide.start || said.start == u64::from(u32::MAX));
    if !agree {
        return Err(damaged("its two end records contradict each other"));
    }
    Ok(Some((wide, at)))
}
