//! tar: one pass, header by header. An archive ends with its end mark, after which only zeros may come: a part
//! of an archive is no archive, and neither are two.

use super::pax::{Ahead, check_global};
use super::sink::Sink;
use super::sparse::{Map, Piece, read_map};
use crate::{ArchiveError, Limits};
use std::io::{self, Read};

const BLOCK_BYTES: usize = 512;
type Block = [u8; BLOCK_BYTES];
/// Of one extended header: many attributes fit, and no memory is lost on it.
const MAX_EXTENDED_BYTES: u64 = 1 << 20;
/// What headers and padding may add to the bytes of files, for each entry that the limits allow.
const MAX_FRAME_BYTES: u64 = 16 << 10;

/// What is read of the archive, in blocks and within limits: a gzip of nothing but headers explodes too.
struct Blocks<R> {
    source: R,
    read: u64,
    max_bytes: u64,
    max_packed: u64,
}

impl<R: Read> Blocks<R> {
    fn new(source: R, limits: &Limits, packed_bytes: u64) -> Blocks<R> {
        let frames = (limits.max_entries as u64).saturating_mul(MAX_FRAME_BYTES);
        let max_packed = packed_bytes.saturating_mul(limits.max_ratio).max(2 * Limits::RATIO_FLOOR_BYTES);
        Blocks { source, read: 0, max_bytes: limits.max_bytes.saturating_add(frames), max_packed }
    }

    /// The next block; `None` where the archive ends.
    fn next(&mut self) -> Result<Option<Block>, ArchiveError> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match read(self, &mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(cut_off()),
                count => filled += count,
            }
        }
        Ok(Some(block))
    }

    fn must(&mut self) -> Result<Block, ArchiveError> {
        self.next()?.ok_or_else(cut_off)
    }

    /// Exactly `count` bytes, and the padding after them.
    fn payload(&mut self, count: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        let got = self.by_ref().take(count).read_to_end(&mut bytes).map_err(broken)?;
        if got as u64 != count {
            return Err(cut_off());
        }
        self.padding(count)?;
        Ok(bytes)
    }

    fn padding(&mut self, count: u64) -> Result<(), ArchiveError> {
        let mut left = (BLOCK_BYTES as u64 - count % BLOCK_BYTES as u64) % BLOCK_BYTES as u64;
        let mut block = [0; BLOCK_BYTES];
        while left > 0 {
            match read(self, &mut block[..usize::try_from(left).unwrap_or(BLOCK_BYTES)])? {
                0 => return Err(cut_off()),
                count => left -= count as u64,
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.read += count as u64;
        if self.read > self.max_bytes.min(self.max_packed) {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large"));
        }
        Ok(count)
    }
}

fn read(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => return other.map_err(broken),
        }
    }
}

fn broken(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::FileTooLarge => {
            ArchiveError::TooLarge("its headers and fillings alone exceed the limits".into())
        }
        io::ErrorKind::UnexpectedEof => cut_off(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
            ArchiveError::Damaged(error.to_string())
        }
        _ => ArchiveError::Io { what: "archive".into(), source: error },
    }
}

fn damaged(why: &str) -> ArchiveError {
    ArchiveError::Damaged(why.to_owned())
}

fn cut_off() -> ArchiveError {
    damaged("it is cut off: it has no end mark")
}

pub(super) fn untar(archive: impl Read, sink: &mut Sink) -> Result<(), ArchiveError> {
    let mut blocks = Blocks::new(archive, sink.limits, sink.packed_bytes());
    let mut ahead = Ahead::default();
    loop {
        let header = blocks.must()?;
        if header == [0; BLOCK_BYTES] {
            if !ahead.is_empty() {
                return Err(damaged("it ends after the extended header of an entry that is not there"));
            }
            return end(&mut blocks);
        }
        let header = tar::Header::from_byte_slice(&header);
        check_sum(header)?;
        let kind = header.entry_type().as_byte();
        // GNU tar's label of the whole archive, which has no size.
        if kind == b'V' {
            continue;
        }
        let size = size(header)?;
        match kind {
            b'g' => check_global(&blocks.payload(within(size, MAX_EXTENDED_BYTES)?)?)?,
            b'x' | b'X' => ahead.records(&blocks.payload(within(size, MAX_EXTENDED_BYTES)?)?)?,
            b'L' => ahead.long_name(blocks.payload(within(size, sink.limits.max_path_bytes as u64 + 1)?)?)?,
            b'K' => ahead.long_link(blocks.payload(within(size, super::sink::MAX_LINK_BYTES + 1)?)?)?,
            _ => entry(header, size, std::mem::take(&mut ahead), &mut blocks, sink)?,
        }
    }
}

/// Two blocks of zeros, and then nothing but zeros.
fn end<R: Read>(blocks: &mut Blocks<R>) -> Result<(), ArchiveError> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = read(blocks, &mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if buffer[..count].iter().any(|byte| *byte != 0) {
            return Err(damaged("something comes after its end mark: several archives in one file?"));
        }
    }
}

fn check_sum(header: &tar::Header) -> Result<(), ArchiveError> {
    let bytes = header.as_bytes();
    let blank = (0..BLOCK_BYTES).map(|at| if (148..156).contains(&at) { b' ' } else { bytes[at] });
    let sum: u32 = blank.map(u32::from).sum();
    match header.cksum() {
        Ok(said) if said == sum => Ok(()),
        _ => Err(damaged("a header's checksum is wrong")),
    }
}

/// Octal, or binary where its first byte says so: then it must not be negative, and fit.
fn size(header: &tar::Header) -> Result<u64, ArchiveError> {
    let field = &header.as_old().size;
    if field[0] & 0x80 != 0 && (field[0] != 0x80 || field[1..4] != [0; 3]) {
        return Err(ArchiveError::broken(&header.path_bytes(), "its size is negative or beyond all bounds"));
    }
    header.entry_size().map_err(|_| ArchiveError::broken(&header.path_bytes(), "its size is no number"))
}

fn within(size: u64, limit: u64) -> Result<u64, ArchiveError> {
    if size <= limit {
        return Ok(size);
    }
    Err(ArchiveError::TooLarge(format!(
        "an extended header of {size} bytes, a long name of an entry or its like"
    )))
}

fn entry<R: Read>(
    header: &tar::Header,
    size: u64,
    ahead: Ahead,
    blocks: &mut Blocks<R>,
    sink: &mut Sink,
) -> Result<(), ArchiveError> {
    let kind = header.entry_type().as_byte();
    let size = ahead.size.unwrap_or(size);
    let own = ahead.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let name = match &ahead.sparse {
        Some(sparse) => sparse.name.clone().unwrap_or_default(),
        None => own,
    };
    let link = ahead.link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
    let mode = header.mode().map_err(|_| ArchiveError::broken(&name, "its mode is no number"))?;
    let regular = matches!(kind, b'0' | 0 | b'7');
    let folder = kind == b'5' || (regular && name.ends_with(b"/"));
    if !matches!(kind, b'0' | 0 | b'7' | b'S' | b'1' | b'2' | b'5') {
        return Err(ArchiveError::refused(&name, "it is a device or another special file"));
    }
    if ahead.sparse.is_some() && (!regular || folder) {
        return Err(ArchiveError::broken(&name, "it is sparse, and no file"));
    }
    if (folder || matches!(kind, b'1' | b'2')) && size != 0 {
        return Err(ArchiveError::refused(&name, "it is a folder or a link, and has content"));
    }
    let Some(path) = sink.entry(&name)? else {
        return if folder { Ok(()) } else { Err(ArchiveError::refused(&name, "its path is empty")) };
    };
    let target = || link.as_deref().ok_or_else(|| ArchiveError::refused(&name, "its link has no target"));
    match kind {
        _ if folder => sink.folder(path, mode),
        b'2' => sink.symlink(&path, target()?),
        b'1' => sink.hard_link(&path, target()?),
        b'S' => {
            let (map, real) = old_map(header, &name, size, blocks)?;
            sink.sparse((&path, mode), &map.pieces, real, blocks)?;
            blocks.padding(size)
        }
        _ => match ahead.sparse {
            None => {
                let mut file = sink.file(&path, mode, size)?;
                sink.copy((&mut file, &path), blocks, size)?;
                blocks.padding(size)
            }
            Some(sparse) => {
                let real = sparse.size.unwrap_or(0);
                let (map, read) = read_map(&name, || blocks.must())?;
                let stored = size.checked_sub(read);
                let stored =
                    stored.ok_or_else(|| ArchiveError::broken(&name, "its sparse map is cut off"))?;
                map.check(&name, real, stored)?;
                sink.sparse((&path, mode), &map.pieces, real, blocks)?;
                blocks.padding(size)
            }
        },
    }
}

/// The map of a sparse file as GNU tar keeps it in headers, and the size of the whole file.
fn old_map<R: Read>(
    header: &tar::Header,
    name: &[u8],
    stored: u64,
    blocks: &mut Blocks<R>,
) -> Result<(Map, u64), ArchiveError> {
    let broken = || ArchiveError::broken(name, "its sparse map is no map");
    let gnu = header.as_gnu().ok_or_else(broken)?;
    let mut map = Map::default();
    let mut take = |pieces: &[tar::GnuSparseHeader]| -> Result<(), ArchiveError> {
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            let (offset, length) = (piece.offset(), piece.length());
            let (Ok(offset), Ok(length)) = (offset, length) else { return Err(broken()) };
            map.push(name, Piece { offset, length })?;
        }
        Ok(())
    };
    take(&gnu.sparse)?;
    let mut more = gnu.is_extended();
    while more {
        let mut extended = tar::GnuExtSparseHeader::new();
        *extended.as_mut_bytes() = blocks.must()?;
        take(extended.sparse())?;
        more = extended.is_extended();
    }
    let real = gnu.real_size().map_err(|_| broken())?;
    map.check(name, real, stored)?;
    Ok((map, real))
}
