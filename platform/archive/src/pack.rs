//! From files to an archive, the same bytes for the same content.

use crate::{ArchiveError, Follow, Kind, Root};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use zip::write::SimpleFileOptions;

/// One name in the archive.
#[derive(Debug)]
pub struct Entry {
    /// Relative, with `/`. A folder's has no slash at its end.
    pub name: String,
    pub content: Content,
}

#[derive(Debug)]
pub enum Content {
    /// Read from where the file stands, to its end. Of the mode only "executable" is kept.
    File {
        file: File,
        executable: bool,
    },
    /// A file beneath a root, opened when its turn comes: an archive of many files takes one descriptor.
    Beneath {
        root: Arc<Root>,
        path: PathBuf,
        follow: Follow,
        executable: bool,
    },
    Bytes(Vec<u8>),
    Symlink {
        target: String,
    },
    Folder,
}

impl Content {
    fn opened(self) -> Result<Content, ArchiveError> {
        match self {
            Content::Beneath { root, path, follow, executable } => {
                Ok(Content::File { file: root.open_file(&path, follow)?, executable })
            }
            other => Ok(other),
        }
    }
}

/// A finished archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Lower-case hex.
    pub sha256: String,
    pub size_bytes: u64,
    pub entries: usize,
}

const FILE_MODE: u32 = 0o644;
const EXECUTABLE_MODE: u32 = 0o755;
/// 1980-01-01, the earliest that a zip can say.
const FIXED_TIME_SECONDS: u64 = 315_532_800;

/// Writes the entries, sorted by name, to `output` (empty, opened for reading and writing) and syncs it.
/// A name that comes twice is an error.
pub fn pack(kind: Kind, mut entries: Vec<Entry>, output: &mut File) -> Result<Packed, ArchiveError> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for pair in entries.windows(2) {
        if pair[0].name == pair[1].name {
            return Err(ArchiveError::refused(pair[0].name.as_bytes(), "its name comes twice"));
        }
    }
    let count = entries.len();
    match kind {
        Kind::Zip => write_zip(entries, output)?,
        Kind::Tar => write_tar(entries, &mut *output)?,
        Kind::Tgz => {
            let encoder =
                flate2::GzBuilder::new().mtime(0).write(&mut *output, flate2::Compression::default());
            let mut encoder = io::BufWriter::with_capacity(64 << 10, encoder);
            write_tar(entries, &mut encoder)?;
            let encoder = encoder
                .into_inner()
                .map_err(|error| ArchiveError::Io { what: "archive".into(), source: error.into_error() })?;
            encoder.finish().map_err(ArchiveError::io("archive"))?;
        }
    }
    output.sync_all().map_err(ArchiveError::io("archive"))?;
    let (sha256, size_bytes) = digest(output)?;
    Ok(Packed { sha256, size_bytes, entries: count })
}

fn digest(file: &mut File) -> Result<(String, u64), ArchiveError> {
    file.seek(SeekFrom::Start(0)).map_err(ArchiveError::io("archive"))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; 64 << 10];
    let mut size_bytes = 0;
    loop {
        let count = file.read(&mut buffer).map_err(ArchiveError::io("archive"))?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        size_bytes += count as u64;
    }
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((sha256, size_bytes))
}

fn write_zip(entries: Vec<Entry>, output: &mut File) -> Result<(), ArchiveError> {
    let mut writer = zip::ZipWriter::new(io::BufWriter::with_capacity(64 << 10, output));
    for entry in entries {
        let failed = |error: zip::result::ZipError| ArchiveError::Io {
            what: entry.name.clone(),
            source: io::Error::other(error),
        };
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .last_modified_time(zip::DateTime::DEFAULT);
        match entry.content.opened()? {
            Content::File { mut file, executable } => {
                let size = file.metadata().map_err(ArchiveError::io(entry.name.clone()))?.len();
                let options = options
                    .unix_permissions(if executable { EXECUTABLE_MODE } else { FILE_MODE })
                    // With room to spare: a file may still grow while it is read.
                    .large_file(size > u64::from(u32::MAX) / 2);
                writer.start_file(entry.name.as_str(), options).map_err(failed)?;
                io::copy(&mut file, &mut writer).map_err(ArchiveError::io(entry.name.clone()))?;
            }
            // It is opened above.
            Content::Beneath { .. } => {}
            Content::Bytes(bytes) => {
                writer
                    .start_file(entry.name.as_str(), options.unix_permissions(FILE_MODE))
                    .map_err(failed)?;
                writer.write_all(&bytes).map_err(ArchiveError::io(entry.name.clone()))?;
            }
            Content::Symlink { target } => {
                let options = options.unix_permissions(0o777);
                writer.add_symlink(entry.name.as_str(), target.as_str(), options).map_err(failed)?;
            }
            Content::Folder => {
                writer.add_directory(entry.name.as_str(), options.unix_permissions(0o755)).map_err(failed)?;
            }
        }
    }
    let mut inner = writer
        .finish()
        .map_err(|error| ArchiveError::Io { what: "archive".into(), source: io::Error::other(error) })?;
    inner.flush().map_err(ArchiveError::io("archive"))
}

fn write_tar(entries: Vec<Entry>, output: impl Write) -> Result<(), ArchiveError> {
    let mut builder = tar::Builder::new(output);
    for entry in entries {
        let failed = ArchiveError::io(entry.name.clone());
        let mut header = tar::Header::new_gnu();
        header.set_mtime(FIXED_TIME_SECONDS);
        header.set_uid(0);
        header.set_gid(0);
        let result = match entry.content.opened()? {
            Content::File { file, executable } => {
                let size = file.metadata().map_err(ArchiveError::io(entry.name.clone()))?.len();
                header.set_size(size);
                header.set_mode(if executable { EXECUTABLE_MODE } else { FILE_MODE });
                // A file that shrinks or grows meanwhile must not break the archive's frame.
                let padded = file.chain(io::repeat(0)).take(size);
                builder.append_data(&mut header, &entry.name, padded)
            }
            // It is opened above.
            Content::Beneath { .. } => Ok(()),
            Content::Bytes(bytes) => {
                header.set_size(bytes.len() as u64);
                header.set_mode(FILE_MODE);
                builder.append_data(&mut header, &entry.name, bytes.as_slice())
            }
            Content::Symlink { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                header.set_mode(0o777);
                builder.append_link(&mut header, &entry.name, &target)
            }
            Content::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                header.set_mode(0o755);
                builder.append_data(&mut header, format!("{}/", entry.name), io::empty())
            }
        };
        result.map_err(failed)?;
    }
    builder.into_inner().and_then(|mut output| output.flush()).map_err(ArchiveError::io("archive"))
}
