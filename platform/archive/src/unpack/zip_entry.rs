//! One entry of a zip: what the central directory says of it, and that its own header says the same.

use super::zip_frame::{damaged, read_at, u16_at, u32_at, u64_at};
use crate::{ArchiveError, shown};
use std::fs::File;
use std::io::{self, Read};

const CENTRAL: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_BYTES: usize = 30;
const DESCRIPTOR: &[u8] = b"PK\x07\x08";
/// Four bytes of CRC, two sizes of eight bytes, and the mark that most writers put before them.
const MAX_DESCRIPTOR_BYTES: u64 = 24;

const ENCRYPTED: u16 = 1;
const DESCRIBED_AFTERWARDS: u16 = 1 << 3;
const STRONGLY_ENCRYPTED: u16 = 1 << 6;
const DIRECTORY_ENCRYPTED: u16 = 1 << 13;

const EXTRA_ZIP64: u16 = 0x0001;
/// Info-ZIP's Unicode path.
const EXTRA_UNICODE_PATH: u16 = 0x7075;

/// Systems whose names have backslashes between their parts: FAT, NTFS, VFAT.
const BACKSLASHED: [u8; 3] = [0, 10, 14];
const UNIXES: [u8; 2] = [3, 19];
const FAT_FOLDER: u32 = 0x10;

const FORMAT_BITS: u32 = 0o170_000;
const FORMAT_FILE: u32 = 0o100_000;
const FORMAT_FOLDER: u32 = 0o040_000;
const FORMAT_SYMLINK: u32 = 0o120_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Stored,
    Deflated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    File { mode: u32 },
    Folder { mode: u32 },
    Symlink,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// As it is unpacked.
    pub(super) name: Vec<u8>,
    /// As both headers have it.
    raw_name: Vec<u8>,
    flags: u16,
    pub(super) method: Method,
    pub(super) what: What,
    pub(super) crc: u32,
    pub(super) packed: u64,
    pub(super) size: u64,
    pub(super) header_at: u64,
}

/// The next header of the central directory.
pub(super) fn next(directory: &mut impl Read) -> Result<Entry, ArchiveError> {
    let mut head = [0; super::zip_frame::CENTRAL_BYTES as usize];
    fill(directory, &mut head)?;
    if !head.starts_with(CENTRAL) {
        return Err(damaged("its directory has fewer entries than its end record says"));
    }
    let mut field = |length: u16| -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = vec![0; length.into()];
        fill(directory, &mut bytes)?;
        Ok(bytes)
    };
    let raw_name = field(u16_at(&head, 28))?;
    let extra = field(u16_at(&head, 30))?;
    field(u16_at(&head, 32))?;
    let flags = u16_at(&head, 8);
    if flags & (ENCRYPTED | STRONGLY_ENCRYPTED | DIRECTORY_ENCRYPTED) != 0 {
        return Err(ArchiveError::Encrypted(shown(&raw_name)));
    }
    let method = method(&raw_name, u16_at(&head, 10))?;
    if u16_at(&head, 34) != 0 && u16_at(&head, 34) != u16::MAX {
        return Err(ArchiveError::broken(&raw_name, "it is in another file of a split archive"));
    }
    let mut sizes = [u32_at(&head, 24), u32_at(&head, 20), u32_at(&head, 42)].map(u64::from);
    widen(&raw_name, &extra, &mut sizes)?;
    let [size, packed, header_at] = sizes;
    let system = head[5];
    let name = name(&raw_name, &extra, system)?;
    let what = what(&name, system, u32_at(&head, 38), size)?;
    let crc = u32_at(&head, 16);
    Ok(Entry { name, raw_name, flags, method, what, crc, packed, size, header_at })
}

fn fill(directory: &mut impl Read, bytes: &mut [u8]) -> Result<(), ArchiveError> {
    directory.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("an entry reaches beyond its directory"),
        _ => ArchiveError::Io { what: "archive".into(), source: error },
    })
}

fn method(name: &[u8], code: u16) -> Result<Method, ArchiveError> {
    let known = match code {
        0 => return Ok(Method::Stored),
        8 => return Ok(Method::Deflated),
        9 => " (Deflate64)",
        12 => " (bzip2)",
        14 => " (LZMA)",
        20 | 93 => " (zstd)",
        95 => " (xz)",
        99 => " (encrypted)",
        _ => "",
    };
    let reason =
        format!("it is compressed by method {code}{known}; only Deflate and no compression are read");
    Err(ArchiveError::refused(name, reason))
}

/// The fields of this id; more than one would be two readings.
fn extra_field<'e>(name: &[u8], extra: &'e [u8], id: u16) -> Result<Option<&'e [u8]>, ArchiveError> {
    let mut found = None;
    let mut rest = extra;
    // Up to three bytes are padding, which some aligning tools leave.
    while rest.len() >= 4 {
        let end = 4 + usize::from(u16_at(rest, 2));
        let Some(field) = rest.get(4..end) else {
            return Err(ArchiveError::broken(name, "its extra fields are cut off"));
        };
        if u16_at(rest, 0) == id && found.replace(field).is_some() {
            return Err(ArchiveError::broken(name, "it has the same extra field twice"));
        }
        rest = &rest[end..];
    }
    Ok(found)
}

/// Sizes that do not fit into the header's four bytes are in an extra field, in this order.
fn widen(name: &[u8], extra: &[u8], sizes: &mut [u64]) -> Result<(), ArchiveError> {
    let Some(field) = extra_field(name, extra, EXTRA_ZIP64)? else { return Ok(()) };
    let mut at = 0;
    for size in sizes.iter_mut().filter(|size| **size == u64::from(u32::MAX)) {
        if field.len() < at + 8 {
            return Err(ArchiveError::broken(name, "its zip64 field is too short"));
        }
        *size = u64_at(field, at);
        at += 8;
    }
    Ok(())
}

fn name(raw: &[u8], extra: &[u8], system: u8) -> Result<Vec<u8>, ArchiveError> {
    let mut name = raw.to_vec();
    if let Some([1, field @ ..]) = extra_field(raw, extra, EXTRA_UNICODE_PATH)?
        && field.len() > 4
        // Otherwise somebody renamed the entry who did not know of the field.
        && u32_at(field, 0) == crc_of(raw)
    {
        name = field[4..].to_vec();
    }
    if BACKSLASHED.contains(&system) && !name.contains(&b'/') {
        name.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    if BACKSLASHED.contains(&system)
        && matches!(name.as_slice(), [drive, b':', ..] if drive.is_ascii_alphabetic())
    {
        return Err(ArchiveError::refused(&name, "its name begins with a drive; names must be relative"));
    }
    Ok(name)
}

fn crc_of(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn what(name: &[u8], system: u8, attributes: u32, size: u64) -> Result<What, ArchiveError> {
    let mode = if UNIXES.contains(&system) { attributes >> 16 } else { 0 };
    let permissions = |default| if mode & 0o777 == 0 { default } else { mode & 0o777 };
    let format = mode & FORMAT_BITS;
    let folder = name.ends_with(b"/")
        || format == FORMAT_FOLDER
        || (format == 0 && BACKSLASHED.contains(&system) && attributes & FAT_FOLDER != 0);
    if folder && (size != 0 || ![0, FORMAT_FILE, FORMAT_FOLDER].contains(&format)) {
        return Err(ArchiveError::refused(
            name,
            "it is a folder by its name and something else by its content",
        ));
    }
    match format {
        _ if folder => Ok(What::Folder { mode: permissions(0o755) }),
        FORMAT_SYMLINK if size > super::sink::MAX_LINK_BYTES => {
            Err(ArchiveError::refused(name, "the target of its link is too long"))
        }
        FORMAT_SYMLINK => Ok(What::Symlink),
        0 | FORMAT_FILE => Ok(What::File { mode: permissions(0o644) }),
        _ => Err(ArchiveError::refused(name, "it is a device or another special file")),
    }
}

impl Entry {
    /// Where the content begins. The entry must fill the archive up to `next`, where the next one begins, and
    /// say the same of itself as the directory does.
    pub(super) fn content_at(&self, archive: &File, next: u64) -> Result<u64, ArchiveError> {
        let broken = |why| ArchiveError::broken(&self.raw_name, why);
        let overlaps = || broken("it overlaps the next entry or the directory");
        let beyond_head = self.header_at.checked_add(LOCAL_BYTES as u64).filter(|end| *end <= next);
        let names_at = beyond_head.ok_or_else(overlaps)?;
        let mut head = [0; LOCAL_BYTES];
        read_at(archive, &mut head, self.header_at)?;
        if !head.starts_with(LOCAL) {
            return Err(broken("it has no header where the directory says"));
        }
        let (name_bytes, extra_bytes) = (u16_at(&head, 26), u16_at(&head, 28));
        let content_at = names_at + u64::from(name_bytes) + u64::from(extra_bytes);
        let end = content_at.checked_add(self.packed).filter(|end| *end <= next).ok_or_else(overlaps)?;
        let mut names = vec![0; usize::from(name_bytes) + usize::from(extra_bytes)];
        read_at(archive, &mut names, names_at)?;
        let (name, extra) = names.split_at(name_bytes.into());
        if name != self.raw_name {
            let why = format!("its own header calls it '{}'", shown(name));
            return Err(ArchiveError::broken(&self.raw_name, why));
        }
        let flags = u16_at(&head, 6);
        let method = match self.method {
            Method::Stored => 0,
            Method::Deflated => 8,
        };
        if u16_at(&head, 8) != method || (flags ^ self.flags) & ENCRYPTED != 0 {
            return Err(broken("its own header tells of another compression or of encryption"));
        }
        let mut sizes = [u32_at(&head, 22), u32_at(&head, 18)].map(u64::from);
        widen(name, extra, &mut sizes)?;
        let exact = (u32_at(&head, 14), sizes[1], sizes[0]) == (self.crc, self.packed, self.size);
        if flags & DESCRIBED_AFTERWARDS == 0 {
            if !exact {
                return Err(broken("its own header tells of another size or checksum than the directory"));
            }
            return if end == next { Ok(content_at) } else { Err(broken(FOLLOWED)) };
        }
        let unsaid = |said: u64, size: u64| said == 0 || said == size || said == u64::from(u32::MAX);
        let crc = u32_at(&head, 14);
        if !(unsaid(sizes[0], self.size) && unsaid(sizes[1], self.packed) && (crc == 0 || crc == self.crc)) {
            return Err(broken("its own header tells of another size or checksum than the directory"));
        }
        if next - end > MAX_DESCRIPTOR_BYTES {
            return Err(broken(FOLLOWED));
        }
        let mut after = vec![0; usize::try_from(next - end).unwrap_or(0)];
        read_at(archive, &mut after, end)?;
        if (after.is_empty() && exact) || self.describes(&after) {
            return Ok(content_at);
        }
        Err(broken("what follows its content tells of another size or checksum than the directory"))
    }

    /// Whether this is a data descriptor of the entry, with or without its mark, of narrow or wide sizes.
    fn describes(&self, after: &[u8]) -> bool {
        let narrow = [self.packed as u32, self.size as u32].map(u32::to_le_bytes).concat();
        let wide = [self.packed, self.size].map(u64::to_le_bytes).concat();
        let crc = self.crc.to_le_bytes();
        [narrow, wide].iter().any(|sizes| {
            let bare = [crc.as_slice(), sizes].concat();
            after == bare || after == [DESCRIPTOR, &bare].concat()
        })
    }
}

const FOLLOWED: &str = "between its content and the next entry there is something that belongs to none";
