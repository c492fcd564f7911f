//! How output looks: colours and live views on a terminal, plain lines in a pipe.

use std::io::{self, IsTerminal, Write};

/// Whether standard output is a terminal that wants colour.
pub fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A status word in the colour that its meaning has.
pub fn status_word(status: &str) -> String {
    if !colour() {
        return status.to_owned();
    }
    let code = match status {
        "Succeeded" | "SUCCEEDED" | "Approved" => "32",
        "Failed" | "FAILED" | "FAULT" | "TIMED_OUT" | "Rejected" => "31",
        "InProgress" | "IN_PROGRESS" | "Created" | "Queued" => "33",
        _ => "2",
    };
    format!("\x1b[{code}m{status}\x1b[0m")
}

pub fn bold(text: &str) -> String {
    if colour() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

pub fn dim(text: &str) -> String {
    if colour() { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
}

/// Draws `frame` over the one before it on a terminal.
pub struct Live {
    lines: usize,
}

impl Live {
    pub fn new() -> Self {
        Live { lines: 0 }
    }

    pub fn draw(&mut self, frame: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.lines > 0 {
            write!(out, "\x1b[{}F\x1b[J", self.lines)?;
        }
        self.lines = frame.lines().count();
        out.write_all(frame.as_bytes())?;
        if !frame.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        out.flush()
    }
}

/// Text from a build or a person, without the control characters that could drive a terminal.
pub fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// `3 s ago`, `5 min ago`, `2 h ago`, `4 d ago`.
pub fn ago(seconds_since_epoch: f64, now: f64) -> String {
    let elapsed = (now - seconds_since_epoch).max(0.0) as u64;
    match elapsed {
        0..60 => format!("{elapsed} s ago"),
        60..3600 => format!("{} min ago", elapsed / 60),
        3600..86_400 => format!("{} h ago", elapsed / 3600),
        _ => format!("{} d ago", elapsed / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_cannot_drive_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\tc\u{7}"), "a[2Jb\tc");
    }

    #[test]
    fn ages_are_short() {
        assert_eq!(ago(100.0, 103.5), "3 s ago");
        assert_eq!(ago(100.0, 400.0), "5 min ago");
        assert_eq!(ago(200.0, 100.0), "0 s ago");
    }
}
