//! From an archive to a folder.
//!
//! Archives come from strangers, and formats as old as these leave room for two readers to see two different
//! contents in one file. So nothing is guessed: what real tools write is read, and an archive that says the
//! same thing twice in two ways is refused with the name of the entry. The frames are read here (`zip.rs`,
//! `tar.rs`), in constant memory per entry; only DEFLATE and gzip are left to a library.
//!
//! - zip: [`zip`], described by PKWARE's APPNOTE.TXT <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.
//!   Overlapping entries: <https://www.bamsoftware.com/hacks/zipbomb/>. Two readings of one archive:
//!   <https://blog.pypi.org/posts/2025-08-07-wheel-archive-confusion-attacks/>.
//! - tar: [`tar`], described by POSIX (pax) and GNU tar's manual
//!   <https://www.gnu.org/software/tar/manual/html_node/Standard.html>.

mod pax;
mod sink;
mod sniff;
mod sparse;
mod tar;
mod zip;
mod zip_entry;
mod zip_frame;

use crate::root::Taken;
use crate::{ArchiveError, Kind, Limits, Root};
pub use sniff::sniff;
use std::fs::File;
use std::io;

/// What was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub kind: Kind,
    pub entries: usize,
    pub bytes: u64,
}

/// Unpacks `archive` into `root`, which should be fresh: on an error it may be partly filled. With a
/// `declared` kind the content must be of that kind (a tar of the oldest format has no mark and is
/// believed).
///
/// A zip is looked through before anything is written: names, sizes, order and headers of all its entries. In
/// a tar a later entry replaces an earlier file or link of its name, as `tar --append` means it; a name that
/// comes twice in a zip, which has no such meaning, is refused.
pub fn unpack(
    mut archive: File,
    declared: Option<Kind>,
    root: &Root,
    limits: &Limits,
) -> Result<Summary, ArchiveError> {
    let kind = sniff::expect(&mut archive, declared)?;
    let packed_bytes = archive.metadata().map_err(ArchiveError::io("archive"))?.len();
    let taken = if kind == Kind::Zip { Taken::Refused } else { Taken::Replaced };
    let mut sink = sink::Sink::new(root, limits, packed_bytes, taken);
    match kind {
        Kind::Zip => zip::unzip(&archive, &mut sink)?,
        Kind::Tar => tar::untar(io::BufReader::with_capacity(64 << 10, archive), &mut sink)?,
        Kind::Tgz => {
            let packed = io::BufReader::with_capacity(64 << 10, archive);
            tar::untar(flate2::bufread::MultiGzDecoder::new(packed), &mut sink)?;
        }
    }
    sink.finish()?;
    Ok(Summary { kind, entries: sink.entries, bytes: sink.bytes })
}
