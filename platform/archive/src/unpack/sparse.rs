//! Maps of sparse files: which parts of a file an archive holds; the others are zeros.
//! <https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html>

use super::pax::number;
use crate::ArchiveError;

/// A part that is in the archive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Sixteen megabytes of memory.
const MAX_PIECES: usize = 1 << 20;

/// A map that grows as it is read.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) pieces: Vec<Piece>,
    end: u64,
    stored: u64,
}

impl Map {
    pub(super) fn push(&mut self, name: &[u8], piece: Piece) -> Result<(), ArchiveError> {
        if self.pieces.len() >= MAX_PIECES {
            return Err(ArchiveError::refused(
                name,
                format!("it is a sparse file of over {MAX_PIECES} pieces"),
            ));
        }
        let end = piece.offset.checked_add(piece.length).filter(|_| piece.offset >= self.end);
        self.end = end.ok_or_else(|| ArchiveError::broken(name, "its sparse map is out of order"))?;
        self.stored = self.stored.saturating_add(piece.length);
        self.pieces.push(piece);
        Ok(())
    }

    /// The map must end where the file does at the latest, and speak of all bytes that are stored.
    pub(super) fn check(&self, name: &[u8], size: u64, stored: u64) -> Result<(), ArchiveError> {
        if self.end > size || self.stored != stored {
            return Err(ArchiveError::broken(name, "its sparse map does not fit its size"));
        }
        Ok(())
    }
}

/// The head of a content of pax format 1.0: decimal lines, the count of pieces and then offset and length of
/// each, filled up to whole blocks. `block` gives the next one. Also gives how many bytes of the content that was.
pub(super) fn read_map(
    name: &[u8],
    mut block: impl FnMut() -> Result<[u8; 512], ArchiveError>,
) -> Result<(Map, u64), ArchiveError> {
    let mut map = Map::default();
    let (mut count, mut offset) = (None, None);
    let (mut line, mut read) = (Vec::new(), 0);
    while count != Some(map.pieces.len() as u64) {
        let bytes = block()?;
        read += bytes.len() as u64;
        for byte in bytes {
            if count == Some(map.pieces.len() as u64) {
                break;
            }
            if byte != b'\n' {
                line.push(byte);
                if line.len() > 20 {
                    return Err(ArchiveError::broken(name, "its sparse map is no map"));
                }
                continue;
            }
            let number = number(&line)?;
            line.clear();
            match (count, offset.take()) {
                (None, _) => count = Some(number),
                (Some(_), None) => offset = Some(number),
                (Some(_), Some(offset)) => map.push(name, Piece { offset, length: number })?,
            }
        }
    }
    Ok((map, read))
}
