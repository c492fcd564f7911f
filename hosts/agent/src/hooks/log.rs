//! What scripts write: all of it into `logs/scripts.log` (within a bound), its end into the diagnostics.

use crate::diagnostics::{MAX_LOG_BYTES, last_bytes};
use crate::layout::make_folders;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use towpath_api::{Clock, SystemClock};

/// What one deployment's log may take on disk.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// A line without end is cut here.
const MAX_LINE_BYTES: usize = 8 << 10;

pub struct ScriptLog {
    file: File,
    written: u64,
    tail: String,
}

/// An unfinished line of one of the two outputs.
#[derive(Default)]
pub struct Pending(Vec<u8>);

impl ScriptLog {
    pub fn open(path: &Path) -> io::Result<ScriptLog> {
        if let Some(folder) = path.parent() {
            make_folders(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
        let written = file.metadata()?.len();
        Ok(ScriptLog { file, written, tail: String::new() })
    }

    /// Losing a log line is no reason to fail a deployment.
    pub fn line(&mut self, text: &str) {
        let text: String = text.chars().map(|c| if c == '\n' { ' ' } else { c }).collect();
        self.append(&text);
    }

    fn append(&mut self, text: &str) {
        self.tail.push_str(text);
        self.tail.push('\n');
        if self.tail.len() > 4 * MAX_LOG_BYTES {
            self.tail = last_bytes(&self.tail, MAX_LOG_BYTES).to_owned();
        }
        if self.written >= MAX_FILE_BYTES {
            return;
        }
        let mut line = format!("{} {text}\n", SystemClock.now().format("%Y-%m-%d %H:%M:%S"));
        self.written += line.len() as u64;
        if self.written >= MAX_FILE_BYTES {
            line = format!("(more than {MAX_FILE_BYTES} bytes of output: the rest is left out)\n");
        }
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            tracing::warn!("a script's output could not be kept: {error}");
            self.written = MAX_FILE_BYTES;
        }
    }

    /// Takes a piece of output, `label`led by whole lines as AWS's agent does.
    pub fn output(&mut self, label: &str, pending: &mut Pending, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let mut part = part;
            while pending.0.len() + part.len() > MAX_LINE_BYTES {
                let (head, rest) = part.split_at(MAX_LINE_BYTES - pending.0.len());
                pending.0.extend_from_slice(head);
                part = rest;
                self.flush(label, pending);
            }
            pending.0.extend_from_slice(part);
            if pending.0.last() == Some(&b'\n') {
                pending.0.pop();
                self.emit(label, pending);
            }
        }
    }

    /// At the end of an output: what has no line break yet.
    pub fn flush(&mut self, label: &str, pending: &mut Pending) {
        if !pending.0.is_empty() {
            self.emit(label, pending);
        }
    }

    fn emit(&mut self, label: &str, pending: &mut Pending) {
        let text = String::from_utf8_lossy(&pending.0).into_owned();
        self.append(&format!("[{label}]{text}"));
        pending.0.clear();
    }

    pub fn tail(&self) -> String {
        last_bytes(&self.tail, MAX_LOG_BYTES).to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_labelled_and_endless_ones_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/scripts.log");
        let mut log = ScriptLog::open(&path).unwrap();
        let mut pending = Pending::default();
        log.output("stdout", &mut pending, b"one\ntw");
        log.output("stdout", &mut pending, b"o\n\xff");
        log.flush("stdout", &mut pending);
        assert_eq!(log.tail(), "[stdout]one\n[stdout]two\n[stdout]\u{fffd}\n");
        for _ in 0..1000 {
            log.output("stderr", &mut pending, &[b'x'; 4096]);
        }
        assert!(pending.0.len() <= MAX_LINE_BYTES && log.tail.len() <= 5 * MAX_LINE_BYTES);
        assert!(log.tail().len() <= MAX_LOG_BYTES);
    }

    #[test]
    fn the_file_has_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scripts.log");
        let mut log = ScriptLog::open(&path).unwrap();
        let mut pending = Pending::default();
        let line = [vec![b'y'; 8000], vec![b'\n']].concat();
        for _ in 0..3000 {
            log.output("stdout", &mut pending, &line);
        }
        log.line("end");
        assert!(std::fs::metadata(&path).unwrap().len() <= MAX_FILE_BYTES + 10_000);
        assert!(log.tail().ends_with("end\n"));
    }
}
