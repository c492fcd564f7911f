//! What commands print: one pipe for a whole build, read all the time, cut into lines.
//!
//! Every command gets the pipe's writing end; a command's background processes keep it and go on printing.
//! That a command ended is told by its process alone; [`Output::settle`] then makes sure that all that it
//! printed is in the log before the next line of ours.

use super::log::{EVENT_OVERHEAD_BYTES, Log};
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

/// Longer lines are cut into pieces: memory stays bounded whatever a command prints.
const MAX_LINE_BYTES: usize = 32 << 10;
/// What is kept of a phase's output, for `on-failure: RETRY-regex`.
const TAIL_BYTES: usize = 256 << 10;
/// A background process that prints for ever must not hold up the end of a command.
const MAX_SETTLE_BYTES: usize = 8 << 20;
const CHUNK_BYTES: usize = 64 << 10;

pub struct Output {
    writer: OwnedFd,
    requests: mpsc::Sender<Settle>,
}

struct Settle {
    /// Forget the tail so far.
    fresh: bool,
    done: oneshot::Sender<String>,
}

impl Output {
    pub fn new(log: Log) -> std::io::Result<Output> {
        let (reader, writer) = std::io::pipe()?;
        let receiver = pipe::Receiver::from_owned_fd(reader.into())?;
        let (requests, queue) = mpsc::channel(1);
        let left_bytes = log.limit_bytes();
        let reader =
            Reader { receiver, log, left_bytes, lines: Lines::default(), tail: Vec::new(), open: true };
        tokio::spawn(reader.run(queue));
        Ok(Output { writer: writer.into(), requests })
    }

    /// A writing end for one stream of a command.
    pub fn end(&self) -> std::io::Result<OwnedFd> {
        self.writer.try_clone()
    }

    /// Returns when everything printed so far is logged, with the newest of it.
    pub async fn settle(&self, fresh: bool) -> String {
        let (done, settled) = oneshot::channel();
        if self.requests.send(Settle { fresh, done }).await.is_err() {
            return String::new();
        }
        settled.await.unwrap_or_default()
    }
}

struct Reader {
    receiver: pipe::Receiver,
    log: Log,
    /// What is still kept of a build's output; the rest is read, for a full pipe would stop the build, and
    /// dropped.
    left_bytes: u64,
    lines: Lines,
    tail: Vec<u8>,
    open: bool,
}

impl Reader {
    async fn run(mut self, mut queue: mpsc::Receiver<Settle>) {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            tokio::select! {
                request = queue.recv() => match request {
                    Some(request) => {
                        let mut drained = 0;
                        while drained < MAX_SETTLE_BYTES {
                            match self.receiver.try_read(&mut chunk) {
                                Ok(0) | Err(_) => break,
                                Ok(count) => {
                                    drained += count;
                                    self.take(&chunk[..count]).await;
                                }
                            }
                        }
                        if let Some(line) = self.lines.rest() {
                            self.log.line(line).await;
                        }
                        let tail = String::from_utf8_lossy(&self.tail).into_owned();
                        if request.fresh {
                            self.tail.clear();
                        }
                        let _ = request.done.send(tail);
                    }
                    // The build is over.
                    None => return,
                },
                ready = self.receiver.ready(Interest::READABLE), if self.open => {
                    match ready.map(|_| self.receiver.try_read(&mut chunk)) {
                        Ok(Ok(0)) | Err(_) => self.open = false,
                        Ok(Ok(count)) => self.take(&chunk[..count]).await,
                        Ok(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Ok(Err(_)) => self.open = false,
                    }
                }
            }
        }
    }

    async fn take(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
        if self.left_bytes == 0 {
            return;
        }
        for line in self.lines.push(bytes) {
            self.left_bytes = self.left_bytes.saturating_sub((line.len() + EVENT_OVERHEAD_BYTES) as u64);
            self.log.line(line).await;
        }
        if self.left_bytes == 0 {
            self.lines = Lines::default();
            let limit = self.log.limit_bytes();
            self.log
                .say(format!("The log is full at {limit} bytes: no more of what commands print is kept"))
                .await;
        }
    }
}

/// Cuts bytes into lines of text. Pure.
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                lines.push(self.cut());
            } else {
                self.partial.push(byte);
                if self.partial.len() >= MAX_LINE_BYTES {
                    lines.extend(self.piece());
                }
            }
        }
        lines
    }

    /// A line of which the end never came.
    fn rest(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.cut())
    }

    fn cut(&mut self) -> String {
        if self.partial.last() == Some(&b'\r') {
            self.partial.pop();
        }
        let line = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        line
    }

    /// A piece of a long line, cut where no character is torn.
    fn piece(&mut self) -> Option<String> {
        let end = match std::str::from_utf8(&self.partial) {
            Ok(_) => self.partial.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.partial.len(),
        };
        let rest = self.partial.split_off(end);
        let piece = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial = rest;
        Some(piece).filter(|piece| !piece.is_empty())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn lines_whatever_the_bytes() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one\r\ntw"), ["one"]);
        assert_eq!(lines.push(b"o\n\n\xff\x00\x1b[1m\n"), ["two", "", "\u{fffd}\0\x1b[1m"]);
        assert_eq!(lines.rest(), None);
        lines.push(b"no end");
        assert_eq!(lines.rest().unwrap(), "no end");
    }

    #[test]
    fn a_long_line_comes_in_whole_characters() {
        let mut lines = Lines::default();
        let text = "ä".repeat(100_000);
        let mut pieces = Vec::new();
        for chunk in text.as_bytes().chunks(1001) {
            pieces.extend(lines.push(chunk));
            assert!(lines.partial.len() <= MAX_LINE_BYTES);
        }
        pieces.extend(lines.rest());
        assert!(pieces.len() > 5);
        assert_eq!(pieces.concat(), text);
    }
}
