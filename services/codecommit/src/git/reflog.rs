//! Git's own log of a reference, read to learn who moved it. Git writes an entry in the transaction
//! that moves the reference, with the caller's ARN as the committer's name, so a move that was never
//! recorded can still be told with its author.
//! Format: one line per move, `OLD NEW NAME <EMAIL> SECONDS ZONE<TAB>MESSAGE`.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Moves that are looked at, from the newest back.
const MAX_MOVES: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub old: String,
    pub new: String,
    pub who: String,
}

/// The moves that lead from `from` to `to`, oldest first; `None` when the log does not tell (it has
/// gaps, or it is gone with its reference).
pub fn chain(repository: &Path, reference: &str, from: &str, to: &str) -> Option<Vec<Move>> {
    let file = std::fs::File::open(repository.join("logs").join(reference)).ok()?;
    let mut newest = VecDeque::new();
    for line in BufReader::new(file).split(b'\n') {
        newest.extend(parse(&String::from_utf8_lossy(&line.ok()?)));
        if newest.len() > MAX_MOVES {
            newest.pop_front();
        }
    }
    chain_of(newest.into(), from, to)
}

fn parse(line: &str) -> Option<Move> {
    let (head, _) = line.split_once('\t').unwrap_or((line, ""));
    let (ids, person) = head.split_at_checked(82)?;
    let (old, new) = ids.trim_end().split_once(' ')?;
    let (who, _) = person.rsplit_once(" <")?;
    Some(Move { old: old.into(), new: new.into(), who: who.into() })
}

/// Walks back from the newest entry. The log's end must be `to`; it stops at the first entry that
/// starts at `from`.
fn chain_of(moves: Vec<Move>, from: &str, to: &str) -> Option<Vec<Move>> {
    let mut wanted = to;
    for (index, entry) in moves.iter().enumerate().rev() {
        if entry.new != wanted {
            return None;
        }
        if entry.old == from {
            return Some(moves[index..].to_vec());
        }
        wanted = &entry.old;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(old: char, new: char) -> Move {
        Move { old: old.to_string(), new: new.to_string(), who: "arn:aws:iam::1:user/ann".into() }
    }

    #[test]
    fn moves_that_lead_from_what_was_recorded() {
        let log = vec![step('0', 'a'), step('a', 'b'), step('b', 'c')];
        assert_eq!(chain_of(log.clone(), "b", "c"), Some(vec![step('b', 'c')]));
        assert_eq!(chain_of(log.clone(), "a", "c"), Some(vec![step('a', 'b'), step('b', 'c')]));
        assert_eq!(chain_of(log.clone(), "x", "c"), None);
        assert_eq!(chain_of(log, "a", "b"), None);
    }

    #[test]
    fn a_line_as_git_writes_it() {
        let (old, new) = ("0".repeat(40), "a".repeat(40));
        let line = format!("{old} {new} arn:aws:iam::1:user/ann <caller> 1700000000 +0000\tpush");
        assert_eq!(parse(&line), Some(Move { old, new, who: "arn:aws:iam::1:user/ann".into() }));
        assert_eq!(parse("short"), None);
    }
}
