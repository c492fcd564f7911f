//! zip: the directory is looked through twice, first to see that all is as it should be, then to unpack.
//! Entries lie one after the other from the first byte of the file to the directory, so no byte is unpacked
//! twice and none is hidden.

use super::sink::{Sink, clean_name, content_error, room, too_many_entries};
use super::zip_entry::{self, Entry, Method, What};
use super::zip_frame::{Directory, damaged, locate};
use crate::ArchiveError;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A part of a file, read without moving the file's own place.
#[derive(Debug)]
struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

pub(super) fn unzip(archive: &File, sink: &mut Sink) -> Result<(), ArchiveError> {
    let directory = locate(archive, sink.packed_bytes())?;
    if directory.entries > sink.limits.max_entries as u64 {
        return Err(too_many_entries(sink.limits));
    }
    let starts = look_through(archive, directory, sink)?;
    let mut headers = headers(archive, directory);
    for _ in 0..directory.entries {
        let entry = zip_entry::next(&mut headers)?;
        let content_at = entry.content_at(archive, next_start(&starts, &entry))?;
        // The archive's own top, which is there.
        let Some(path) = sink.entry(&entry.name)? else { continue };
        let mut content = Content::new(archive, &entry, content_at);
        match entry.what {
            What::Folder { mode } => {
                content.end(&path)?;
                sink.folder(path, mode)?;
            }
            What::File { mode } => {
                let mut file = sink.file(&path, mode, entry.size)?;
                sink.copy((&mut file, &path), &mut content, entry.size)?;
                content.end(&path)?;
            }
            What::Symlink => {
                let mut target = Vec::new();
                let read = (&mut content).take(entry.size).read_to_end(&mut target);
                read.map_err(|error| content_error(error, &path))?;
                content.end(&path)?;
                sink.symlink(&path, &target)?;
            }
        }
    }
    Ok(())
}

fn headers(archive: &File, directory: Directory) -> BufReader<Part<'_>> {
    let Directory { start, end, .. } = directory;
    BufReader::with_capacity(64 << 10, Part { file: archive, at: start, left: end - start })
}

/// Refuses what can be refused before anything is written; gives where the entries begin, in order, and at last
/// where the directory does.
fn look_through(archive: &File, directory: Directory, sink: &Sink) -> Result<Vec<u64>, ArchiveError> {
    let mut starts = Vec::new();
    let mut bytes = 0;
    let mut pass = headers(archive, directory);
    for _ in 0..directory.entries {
        let entry = zip_entry::next(&mut pass)?;
        match clean_name(&entry.name, sink.limits)? {
            Some(path) => bytes = room(sink.limits, sink.packed_bytes(), bytes, entry.size, &path)?,
            None if matches!(entry.what, What::Folder { .. }) => {}
            None => return Err(ArchiveError::refused(&entry.name, "its path is empty")),
        }
        starts.push(entry.header_at);
    }
    if pass.read(&mut [0]).map_err(ArchiveError::io("archive"))? != 0 {
        return Err(damaged("its directory has more entries than its end record says"));
    }
    starts.push(directory.start);
    starts.sort_unstable();
    if starts.first() != Some(&0) {
        return Err(damaged("something was put before its first entry"));
    }
    let mut pass = headers(archive, directory);
    for _ in 0..directory.entries {
        let entry = zip_entry::next(&mut pass)?;
        entry.content_at(archive, next_start(&starts, &entry))?;
    }
    Ok(starts)
}

/// Where the entry has to end. It is where it begins, if another begins there too or nothing comes after it.
fn next_start(starts: &[u64], entry: &Entry) -> u64 {
    let index = starts.partition_point(|start| *start < entry.header_at) + 1;
    starts.get(index).copied().unwrap_or(entry.header_at)
}

/// An entry's content, which must be exactly what the directory says: no byte less, none more, none unused.
struct Content<'a> {
    source: Source<'a>,
    entry: &'a Entry,
    crc: flate2::Crc,
}

enum Source<'a> {
    Stored(Part<'a>),
    Deflated(Box<flate2::bufread::DeflateDecoder<BufReader<Part<'a>>>>),
}

impl<'a> Content<'a> {
    fn new(archive: &'a File, entry: &'a Entry, at: u64) -> Content<'a> {
        let part = Part { file: archive, at, left: entry.packed };
        let source = match entry.method {
            Method::Stored => Source::Stored(part),
            Method::Deflated => Source::Deflated(Box::new(flate2::bufread::DeflateDecoder::new(
                BufReader::with_capacity(64 << 10, part),
            ))),
        };
        Content { source, entry, crc: flate2::Crc::new() }
    }

    /// To be called when as many bytes as the directory says were read.
    fn end(mut self, path: &Path) -> Result<(), ArchiveError> {
        let broken = |why: &str| ArchiveError::broken(path.as_os_str().as_bytes(), why);
        let mut one = [0];
        if super::sink::read(&mut self, &mut one, path)? != 0 {
            return Err(broken("it unpacks to more bytes than the archive says"));
        }
        let used = match &self.source {
            Source::Stored(part) => self.entry.packed - part.left,
            Source::Deflated(decoder) => decoder.total_in(),
        };
        if used != self.entry.packed {
            return Err(broken("its compressed data end before the archive says"));
        }
        if self.crc.sum() != self.entry.crc {
            return Err(broken("its checksum is wrong"));
        }
        Ok(())
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.source {
            Source::Stored(part) => part.read(buffer)?,
            Source::Deflated(decoder) => decoder.read(buffer)?,
        };
        self.crc.update(&buffer[..count]);
        Ok(count)
    }
}
