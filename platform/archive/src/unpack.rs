//! From an archive to a folder.

use crate::{ArchiveError, Kind, Limits, Root, check_relative};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub kind: Kind,
    pub entries: usize,
    pub bytes: u64,
}

/// The kind of archive by its content; the file is left at its start.
pub fn sniff(file: &mut File) -> Result<Option<Kind>, ArchiveError> {
    let mut head = [0u8; 262];
    let mut filled = 0;
    file.seek(SeekFrom::Start(0)).map_err(ArchiveError::io("archive"))?;
    while filled < head.len() {
        match file.read(&mut head[filled..]).map_err(ArchiveError::io("archive"))? {
            0 => break,
            count => filled += count,
        }
    }
    file.seek(SeekFrom::Start(0)).map_err(ArchiveError::io("archive"))?;
    let head = &head[..filled];
    Ok(match head {
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Kind::Zip),
        [0x1f, 0x8b, ..] => Some(Kind::Tgz),
        _ if head.get(257..262) == Some(b"ustar") => Some(Kind::Tar),
        _ => None,
    })
}

/// Unpacks `archive` into `root`, which should be fresh: on an error it is partly filled. With a
/// `declared` kind the content must be of that kind (a tar of the oldest format has no mark and is
/// believed).
pub fn unpack(
    mut archive: File,
    declared: Option<Kind>,
    root: &Root,
    limits: &Limits,
) -> Result<Summary, ArchiveError> {
    let found = sniff(&mut archive)?;
    let kind = match (declared, found) {
        (None, None) => return Err(ArchiveError::UnknownKind),
        (None, Some(kind)) | (Some(kind @ Kind::Tar), None) => kind,
        (Some(expected), Some(kind)) if expected == kind => kind,
        (Some(expected), found) => {
            let found = found.map_or("something else".to_owned(), |kind| format!("a {kind}"));
            return Err(ArchiveError::WrongKind { expected, found });
        }
    };
    let packed_bytes = archive.metadata().map_err(ArchiveError::io("archive"))?.len();
    let mut sink = Sink { root, limits, packed_bytes, entries: 0, bytes: 0, folders: Vec::new() };
    match kind {
        Kind::Zip => unzip(archive, &mut sink)?,
        Kind::Tar => untar(archive, &mut sink)?,
        Kind::Tgz => untar(flate2::read::MultiGzDecoder::new(archive), &mut sink)?,
    }
    sink.finish()?;
    Ok(Summary { kind, entries: sink.entries, bytes: sink.bytes })
}

/// Where entries arrive, whatever the archive, and where everything is counted.
struct Sink<'a> {
    root: &'a Root,
    limits: &'a Limits,
    packed_bytes: u64,
    entries: usize,
    bytes: u64,
    /// Modes are set at the end: a folder without write permission must still be filled.
    folders: Vec<(PathBuf, u32)>,
}

impl Sink<'_> {
    /// Counts an entry and gives its clean path; `None` for the archive's own top folder (`./`).
    fn entry(&mut self, name: &[u8]) -> Result<Option<PathBuf>, ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.max_entries {
            return Err(ArchiveError::TooLarge(format!("more than {} entries", self.limits.max_entries)));
        }
        if name.len() > self.limits.max_path_bytes {
            return Err(ArchiveError::refused(name, "its path is too long"));
        }
        let path = Path::new(OsStr::from_bytes(name));
        if !name.is_empty() && path.components().all(|part| part == std::path::Component::CurDir) {
            return Ok(None);
        }
        let path = check_relative(path)?;
        if path.components().count() > self.limits.max_depth {
            return Err(ArchiveError::refused(name, "its path is too deep"));
        }
        Ok(Some(path))
    }

    fn file(&mut self, path: &Path, mode: u32, mut content: impl Read) -> Result<(), ArchiveError> {
        let mut file = self.root.create_file(path, mode)?;
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ArchiveError::Damaged(error.to_string())),
            };
            self.bytes += count as u64;
            if self.bytes > self.limits.max_bytes {
                return Err(ArchiveError::TooLarge(format!("more than {} bytes", self.limits.max_bytes)));
            }
            let allowed = self.packed_bytes.saturating_mul(self.limits.max_ratio);
            if self.bytes > Limits::RATIO_FLOOR_BYTES && self.bytes > allowed {
                return Err(ArchiveError::TooLarge(format!(
                    "it unpacks to more than {} times its size",
                    self.limits.max_ratio
                )));
            }
            file.write_all(&buffer[..count]).map_err(ArchiveError::io(path.display().to_string()))?;
        }
    }

    fn folder(&mut self, path: PathBuf, mode: u32) -> Result<(), ArchiveError> {
        self.root.make_folders(&path)?;
        self.folders.push((path, mode));
        Ok(())
    }

    /// Deepest first, so that a parent's mode cannot lock its children out.
    fn finish(&mut self) -> Result<(), ArchiveError> {
        self.folders.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
        for (path, mode) in &self.folders {
            self.root.set_folder_mode(path, *mode)?;
        }
        Ok(())
    }
}

const FORMAT_BITS: u32 = 0o170_000;
const FORMAT_FILE: u32 = 0o100_000;
const FORMAT_FOLDER: u32 = 0o040_000;
const FORMAT_SYMLINK: u32 = 0o120_000;
/// Linux's PATH_MAX.
const MAX_LINK_BYTES: u64 = 4096;

fn unzip(archive: File, sink: &mut Sink) -> Result<(), ArchiveError> {
    let damaged = |error: zip::result::ZipError| ArchiveError::Damaged(error.to_string());
    let mut archive = zip::ZipArchive::new(io::BufReader::new(archive)).map_err(damaged)?;
    if archive.len() > sink.limits.max_entries {
        return Err(ArchiveError::TooLarge(format!("more than {} entries", sink.limits.max_entries)));
    }
    for index in 0..archive.len() {
        if archive.by_index_raw(index).map_err(damaged)?.encrypted() {
            return Err(ArchiveError::Encrypted);
        }
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let name = entry.name_raw().to_vec();
        let mode = entry.unix_mode();
        let Some(path) = sink.entry(&name)? else { continue };
        let format = mode.unwrap_or(0) & FORMAT_BITS;
        if name.ends_with(b"/") || format == FORMAT_FOLDER {
            sink.folder(path, mode.filter(|mode| mode & 0o777 != 0).unwrap_or(0o755))?;
        } else if format == FORMAT_SYMLINK {
            let mut target = Vec::new();
            entry
                .by_ref()
                .take(MAX_LINK_BYTES)
                .read_to_end(&mut target)
                .map_err(|error| ArchiveError::Damaged(error.to_string()))?;
            sink.root.create_symlink(&path, Path::new(OsStr::from_bytes(&target)))?;
        } else if format == 0 || format == FORMAT_FILE {
            let mode = mode.filter(|mode| mode & 0o777 != 0).unwrap_or(0o644);
            sink.file(&path, mode, entry)?;
        } else {
            return Err(ArchiveError::refused(&name, "it is a device or another special file"));
        }
    }
    Ok(())
}

fn untar(archive: impl Read, sink: &mut Sink) -> Result<(), ArchiveError> {
    let damaged = |error: io::Error| ArchiveError::Damaged(error.to_string());
    let mut archive = tar::Archive::new(io::BufReader::new(archive));
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path_bytes().into_owned();
        let mode = entry.header().mode().map_err(damaged)?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        let Some(path) = sink.entry(&name)? else { continue };
        match kind {
            tar::EntryType::Directory => sink.folder(path, mode)?,
            tar::EntryType::Symlink => {
                let target = link_target(&entry, &name)?;
                sink.root.create_symlink(&path, &target)?;
            }
            tar::EntryType::Link => {
                let target = link_target(&entry, &name)?;
                sink.root.create_hard_link(&path, &target)?;
            }
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                sink.file(&path, mode, &mut entry)?;
            }
            _ => return Err(ArchiveError::refused(&name, "it is a device or another special file")),
        }
    }
    Ok(())
}

fn link_target<R: Read>(entry: &tar::Entry<R>, name: &[u8]) -> Result<PathBuf, ArchiveError> {
    let target =
        entry.link_name_bytes().ok_or_else(|| ArchiveError::refused(name, "its link has no target"))?;
    Ok(PathBuf::from(OsStr::from_bytes(&target)))
}
