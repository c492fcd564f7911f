//! Where entries arrive, whatever the archive, and where everything is counted.

use crate::root::Taken;
use crate::{ArchiveError, Limits, Root, check_relative, shown};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Linux's PATH_MAX, with its zero byte.
pub(super) const MAX_LINK_BYTES: u64 = 4095;

pub(super) struct Sink<'a> {
    root: &'a Root,
    pub(super) limits: &'a Limits,
    packed_bytes: u64,
    taken: Taken,
    pub(super) entries: usize,
    pub(super) bytes: u64,
    linked_bytes: u64,
    /// Modes are set at the end: a folder without write permission must still be filled.
    folders: Vec<(PathBuf, u32)>,
    folder_name_bytes: usize,
    buffer: Vec<u8>,
}

/// What the names of folders may take of the memory.
const MAX_FOLDER_NAME_BYTES: usize = 64 << 20;

impl<'a> Sink<'a> {
    pub(super) fn new(root: &'a Root, limits: &'a Limits, packed_bytes: u64, taken: Taken) -> Sink<'a> {
        let (folders, buffer) = (Vec::new(), vec![0u8; 64 << 10]);
        Sink {
            root,
            limits,
            packed_bytes,
            taken,
            entries: 0,
            bytes: 0,
            linked_bytes: 0,
            folders,
            folder_name_bytes: 0,
            buffer,
        }
    }

    pub(super) fn packed_bytes(&self) -> u64 {
        self.packed_bytes
    }

    /// Counts an entry and gives its clean path; `None` for the archive's own top folder (`./`).
    pub(super) fn entry(&mut self, name: &[u8]) -> Result<Option<PathBuf>, ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.max_entries {
            return Err(too_many_entries(self.limits));
        }
        clean_name(name, self.limits)
    }

    /// A new file, for which there is room.
    pub(super) fn file(&mut self, path: &Path, mode: u32, size_bytes: u64) -> Result<File, ArchiveError> {
        self.bytes = room(self.limits, self.packed_bytes, self.bytes, size_bytes, path)?;
        self.check_copies(path)?;
        self.root.place_file(path, mode, self.taken).map_err(|error| error.about(path))
    }

    /// `count` bytes of `content` into the file, where it stands.
    pub(super) fn copy(
        &mut self,
        (file, path): (&mut File, &Path),
        content: &mut impl Read,
        count: u64,
    ) -> Result<(), ArchiveError> {
        let mut left = count;
        while left > 0 {
            let wanted = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let filled = read(content, &mut self.buffer[..wanted], path)?;
            if filled == 0 {
                let name = path.as_os_str().as_bytes();
                return Err(ArchiveError::broken(name, "its content is cut off"));
            }
            let written = file.write_all(&self.buffer[..filled]);
            written
                .map_err(|source| ArchiveError::Io { what: shown(path.as_os_str().as_bytes()), source })?;
            left -= filled as u64;
        }
        Ok(())
    }

    /// The file's content where it has any, at the given places; between them are holes, which take no room on
    /// the disk but count as if they did.
    pub(super) fn sparse(
        &mut self,
        (path, mode): (&Path, u32),
        map: &[super::sparse::Piece],
        size_bytes: u64,
        content: &mut impl Read,
    ) -> Result<(), ArchiveError> {
        let mut file = self.file(path, mode, size_bytes)?;
        let failed = |source| ArchiveError::Io { what: shown(path.as_os_str().as_bytes()), source };
        file.set_len(size_bytes).map_err(failed)?;
        for piece in map {
            file.seek(SeekFrom::Start(piece.offset)).map_err(failed)?;
            self.copy((&mut file, path), content, piece.length)?;
        }
        Ok(())
    }

    pub(super) fn symlink(&mut self, path: &Path, target: &[u8]) -> Result<(), ArchiveError> {
        if target.len() as u64 > MAX_LINK_BYTES {
            return Err(ArchiveError::refused(
                path.as_os_str().as_bytes(),
                "the target of its link is too long",
            ));
        }
        self.root
            .place_symlink(path, Path::new(OsStr::from_bytes(target)), self.taken)
            .map_err(|error| error.about(path))
    }

    /// Takes no room here, but will wherever the folder is copied to.
    pub(super) fn hard_link(&mut self, path: &Path, target: &[u8]) -> Result<(), ArchiveError> {
        let linked = self.root.create_hard_link(path, Path::new(OsStr::from_bytes(target)));
        self.linked_bytes = self.linked_bytes.saturating_add(linked.map_err(|error| error.about(path))?);
        self.check_copies(path)
    }

    fn check_copies(&self, path: &Path) -> Result<(), ArchiveError> {
        match self.bytes.saturating_add(self.linked_bytes) > self.limits.max_bytes {
            true => Err(too_many_bytes(path, self.limits)),
            false => Ok(()),
        }
    }

    pub(super) fn folder(&mut self, path: PathBuf, mode: u32) -> Result<(), ArchiveError> {
        self.root.make_folders(&path).map_err(|error| error.about(&path))?;
        self.folder_name_bytes += path.as_os_str().len();
        if self.folder_name_bytes > MAX_FOLDER_NAME_BYTES {
            return Err(ArchiveError::TooLarge(format!(
                "the names of its folders are more than {MAX_FOLDER_NAME_BYTES} bytes"
            )));
        }
        self.folders.push((path, mode));
        Ok(())
    }

    /// Deepest first, so that a parent's mode cannot lock its children out.
    pub(super) fn finish(&mut self) -> Result<(), ArchiveError> {
        self.folders.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
        for (path, mode) in &self.folders {
            self.root.set_folder_mode(path, *mode)?;
        }
        Ok(())
    }
}

pub(super) fn too_many_entries(limits: &Limits) -> ArchiveError {
    ArchiveError::TooLarge(format!("more than {} entries", limits.max_entries))
}

fn too_many_bytes(path: &Path, limits: &Limits) -> ArchiveError {
    let (name, most) = (shown(path.as_os_str().as_bytes()), limits.max_bytes);
    ArchiveError::TooLarge(format!("with entry '{name}' it unpacks to more than {most} bytes"))
}

/// A name within the limits, without `.` and empty parts; `None` for the archive's own top folder.
pub(super) fn clean_name(name: &[u8], limits: &Limits) -> Result<Option<PathBuf>, ArchiveError> {
    if name.len() > limits.max_path_bytes {
        let reason = format!("its path is longer than {} bytes", limits.max_path_bytes);
        return Err(ArchiveError::refused(name, reason));
    }
    let path = Path::new(OsStr::from_bytes(name));
    if !name.is_empty() && path.components().all(|part| part == Component::CurDir) {
        return Ok(None);
    }
    let path = check_relative(path)?;
    if path.components().count() > limits.max_depth {
        let reason = format!("its path is deeper than {} folders", limits.max_depth);
        return Err(ArchiveError::refused(name, reason));
    }
    Ok(Some(path))
}

/// What is unpacked once `more` bytes come to `bytes`; an error where there is no room for them.
pub(super) fn room(
    limits: &Limits,
    packed_bytes: u64,
    bytes: u64,
    more: u64,
    path: &Path,
) -> Result<u64, ArchiveError> {
    let sum = bytes.saturating_add(more);
    if sum > limits.max_bytes {
        return Err(too_many_bytes(path, limits));
    }
    let allowed = packed_bytes.saturating_mul(limits.max_ratio);
    if sum > Limits::RATIO_FLOOR_BYTES && sum > allowed {
        return Err(ArchiveError::TooLarge(format!(
            "with entry '{}' it unpacks to more than {} times its size",
            shown(path.as_os_str().as_bytes()),
            limits.max_ratio
        )));
    }
    Ok(sum)
}

/// Errors of the content are the archive's, others the machine's.
pub(super) fn read(content: &mut impl Read, buffer: &mut [u8], path: &Path) -> Result<usize, ArchiveError> {
    loop {
        match content.read(buffer) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(content_error(error, path)),
        }
    }
}

pub(super) fn content_error(error: io::Error, path: &Path) -> ArchiveError {
    use io::ErrorKind::{FileTooLarge, InvalidData, InvalidInput, Other, UnexpectedEof};
    let name = path.as_os_str().as_bytes();
    match error.kind() {
        UnexpectedEof => ArchiveError::broken(name, "its content is cut off"),
        FileTooLarge => ArchiveError::TooLarge(format!("with entry '{}' it exceeds the limits", shown(name))),
        InvalidData | InvalidInput | Other => ArchiveError::broken(name, error),
        _ => ArchiveError::Io { what: shown(name), source: error },
    }
}
