//! What a push asks for, and what it is told: the beginning of a receive-pack request and the status
//! report at its end. Pure.
//! Source: <https://git-scm.com/docs/gitprotocol-pack#_pushing_data_to_a_server>.

use super::pktline::{self, Packet};
use bytes::BytesMut;
use std::collections::BTreeSet;

/// References in one push: <https://docs.aws.amazon.com/codecommit/latest/userguide/limits.html>.
pub const MAX_COMMANDS: usize = 4000;
/// The command section of a request: 4,000 long names fit.
pub const MAX_SECTION_BYTES: usize = 4 << 20;
/// Grafts that a push from a shallow clone may announce.
const MAX_SHALLOW: usize = 10_000;
pub const ZERO_ID: &str = "0000000000000000000000000000000000000000";

/// One reference that a push wants to move. [`ZERO_ID`] stands for "absent".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub old: String,
    pub new: String,
    pub name: String,
}

impl Command {
    pub fn is_delete(&self) -> bool {
        self.new == ZERO_ID
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideBand {
    None,
    /// Packets of up to 1000 bytes.
    Small,
    /// Packets of up to 65520 bytes.
    Large,
}

impl SideBand {
    pub fn packet_bytes(self) -> usize {
        match self {
            SideBand::Large => 65520,
            SideBand::None | SideBand::Small => 1000,
        }
    }
}

/// A push's command section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Push {
    pub commands: Vec<Command>,
    pub capabilities: Vec<String>,
    pub shallow: Vec<String>,
}

impl Push {
    fn has(&self, name: &str) -> bool {
        self.capabilities.iter().any(|capability| capability == name)
    }

    pub fn side_band(&self) -> SideBand {
        match (self.has("side-band-64k"), self.has("side-band")) {
            (true, _) => SideBand::Large,
            (false, true) => SideBand::Small,
            (false, false) => SideBand::None,
        }
    }

    pub fn wants_report(&self) -> bool {
        self.has("report-status") || self.has("report-status-v2")
    }

    pub fn is_atomic(&self) -> bool {
        self.has("atomic")
    }

    /// Whether a pack follows: it does unless everything is a deletion.
    pub fn has_pack(&self) -> bool {
        self.commands.iter().any(|command| !command.is_delete())
    }

    /// The section again, for git to read.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for id in &self.shallow {
            pktline::put(&mut out, format!("shallow {id}").as_bytes());
        }
        for (index, Command { old, new, name }) in self.commands.iter().enumerate() {
            let mut line = format!("{old} {new} {name}");
            if index == 0 {
                line.push('\0');
                line.push_str(&self.capabilities.join(" "));
            }
            pktline::put(&mut out, line.as_bytes());
        }
        out.extend_from_slice(pktline::FLUSH);
        out
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPush {
    #[error("the request is not a git push")]
    Malformed,
    #[error("a push may change at most {MAX_COMMANDS} references")]
    TooManyReferences,
    #[error("signed pushes are not supported")]
    Certificate,
    #[error("push options are not supported")]
    Options,
}

/// Reads the command section packet by packet.
#[derive(Debug, Default)]
pub struct Reader {
    push: Push,
    names: BTreeSet<String>,
    read_bytes: usize,
}

impl Reader {
    /// What is known of a push that cannot be read on: how its client wants to be answered.
    pub fn into_asked(self) -> Push {
        Push { commands: Vec::new(), ..self.push }
    }

    /// Takes what it can off `buffer`; `Some` once the section is whole. The rest of the buffer is the
    /// beginning of the pack.
    pub fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<Push>, BadPush> {
        loop {
            let before = buffer.len();
            let packet = pktline::take(buffer).map_err(|_| BadPush::Malformed)?;
            self.read_bytes += before - buffer.len();
            if self.read_bytes > MAX_SECTION_BYTES {
                return Err(BadPush::TooManyReferences);
            }
            match packet {
                None => return Ok(None),
                Some(Packet::Flush) => return Ok(Some(std::mem::take(&mut self.push))),
                Some(Packet::Data(line)) => self.line(&line)?,
                Some(_) => return Err(BadPush::Malformed),
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), BadPush> {
        let line = std::str::from_utf8(line).map_err(|_| BadPush::Malformed)?;
        let line = line.strip_suffix('\n').unwrap_or(line);
        if let Some(id) = line.strip_prefix("shallow ") {
            if !is_id(id) || self.push.shallow.len() >= MAX_SHALLOW {
                return Err(BadPush::Malformed);
            }
            self.push.shallow.push(id.to_owned());
            return Ok(());
        }
        if line.starts_with("push-cert") {
            return Err(BadPush::Certificate);
        }
        let command = match line.split_once('\0') {
            Some((command, capabilities)) if self.push.commands.is_empty() => {
                self.push.capabilities =
                    capabilities.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
                if self.push.has("push-options") {
                    return Err(BadPush::Options);
                }
                command
            }
            Some(_) => return Err(BadPush::Malformed),
            None => line,
        };
        let mut words = command.splitn(3, ' ');
        let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
            return Err(BadPush::Malformed);
        };
        if !is_id(old) || !is_id(new) || name.is_empty() || !self.names.insert(name.to_owned()) {
            return Err(BadPush::Malformed);
        }
        if self.push.commands.len() >= MAX_COMMANDS {
            return Err(BadPush::TooManyReferences);
        }
        self.push.commands.push(Command { old: old.into(), new: new.into(), name: name.into() });
        Ok(())
    }
}

/// A full object id in lower case, as git writes it.
pub fn is_id(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// What became of one reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok {
        name: String,
        /// `option …` lines of report-status-v2.
        options: Vec<String>,
    },
    Refused {
        name: String,
        reason: String,
    },
}

impl Outcome {
    pub fn name(&self) -> &str {
        match self {
            Outcome::Ok { name, .. } | Outcome::Refused { name, .. } => name,
        }
    }
}

/// The status report: whether the pack was taken in, and each reference's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `ok`, or why not.
    pub unpack: String,
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Reads a report as git writes it, in packet lines up to a flush. `None` when it is none.
    pub fn decode(bytes: &[u8]) -> Option<Report> {
        let mut buffer = BytesMut::from(bytes);
        let mut report: Option<Report> = None;
        while let Ok(Some(Packet::Data(line))) = pktline::take(&mut buffer) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            match (&mut report, line.split_once(' ')?) {
                (None, ("unpack", result)) => {
                    report = Some(Report { unpack: result.to_owned(), outcomes: Vec::new() });
                }
                (Some(report), ("ok", name)) => {
                    report.outcomes.push(Outcome::Ok { name: name.to_owned(), options: Vec::new() });
                }
                (Some(report), ("ng", rest)) => {
                    let (name, reason) = rest.split_once(' ').unwrap_or((rest, "refused"));
                    report
                        .outcomes
                        .push(Outcome::Refused { name: name.to_owned(), reason: reason.to_owned() });
                }
                (Some(report), ("option", rest)) => {
                    if let Some(Outcome::Ok { options, .. }) = report.outcomes.last_mut() {
                        options.push(rest.to_owned());
                    }
                }
                _ => return None,
            }
        }
        report
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        pktline::put(&mut out, format!("unpack {}\n", one_line(&self.unpack)).as_bytes());
        for outcome in &self.outcomes {
            match outcome {
                Outcome::Ok { name, options } => {
                    pktline::put(&mut out, format!("ok {name}\n").as_bytes());
                    for option in options {
                        pktline::put(&mut out, format!("option {option}\n").as_bytes());
                    }
                }
                Outcome::Refused { name, reason } => {
                    pktline::put(&mut out, format!("ng {name} {}\n", one_line(reason)).as_bytes());
                }
            }
        }
        out.extend_from_slice(pktline::FLUSH);
        out
    }
}

/// Reasons go onto one line of a terminal.
pub fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(1000).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn id(digit: char) -> String {
        digit.to_string().repeat(40)
    }

    fn push() -> Push {
        Push {
            commands: vec![
                Command { old: ZERO_ID.into(), new: id('a'), name: "refs/heads/main".into() },
                Command { old: id('b'), new: ZERO_ID.into(), name: "refs/heads/old".into() },
            ],
            capabilities: vec!["report-status".into(), "side-band-64k".into(), "agent=git/2.39".into()],
            shallow: vec![id('c')],
        }
    }

    #[test]
    fn a_push_is_read_however_it_is_cut() {
        let mut bytes = push().encode();
        bytes.extend_from_slice(b"PACK");
        for cut in 0..bytes.len() - 4 {
            let mut reader = Reader::default();
            let mut buffer = BytesMut::from(&bytes[..cut]);
            assert_eq!(reader.read(&mut buffer).unwrap(), None, "cut at {cut}");
            buffer.extend_from_slice(&bytes[cut..]);
            assert_eq!(reader.read(&mut buffer).unwrap(), Some(push()));
            assert_eq!(&buffer[..], b"PACK");
        }
    }

    #[test]
    fn what_is_not_a_push_is_refused() {
        let section = |lines: &[&str]| {
            let mut out = Vec::new();
            lines.iter().for_each(|line| pktline::put(&mut out, line.as_bytes()));
            out.extend_from_slice(pktline::FLUSH);
            Reader::default().read(&mut BytesMut::from(&out[..]))
        };
        let create = format!("{ZERO_ID} {} refs/heads/a", id('a'));
        assert_eq!(section(&["nonsense"]), Err(BadPush::Malformed));
        assert_eq!(section(&[&create, &create]), Err(BadPush::Malformed));
        assert_eq!(section(&["push-cert\0report-status"]), Err(BadPush::Certificate));
        assert_eq!(section(&[&format!("{create}\0push-options")]), Err(BadPush::Options));
        assert_eq!(section(&[]), Ok(Some(Push::default())));
        let many: Vec<String> =
            (0..=MAX_COMMANDS).map(|n| format!("{ZERO_ID} {} refs/tags/{n}", id('a'))).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(section(&many), Err(BadPush::TooManyReferences));
    }

    #[test]
    fn a_report_survives_the_trip() {
        let report = Report {
            unpack: "ok".into(),
            outcomes: vec![
                Outcome::Ok { name: "refs/heads/a".into(), options: vec!["refname refs/heads/b".into()] },
                Outcome::Refused { name: "refs/heads/c".into(), reason: "not for you".into() },
            ],
        };
        assert_eq!(Report::decode(&report.encode()), Some(report));
        assert_eq!(Report::decode(b"0000"), None);
    }
}
