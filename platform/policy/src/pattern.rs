//! Matching of `*` and `?` in one pass over the text.
//!
//! A pattern is split at its stars. The first and last pieces are anchored; every piece between takes its
//! leftmost place, which is always right because a star can absorb whatever lies before it. Nothing is
//! ever tried twice, so a hostile pattern (`*a*a*a*b`) costs no more than a friendly one. A piece with `?`
//! is found with a bit-parallel automaton: one word operation per 64 characters of the piece and character
//! of the text.

use std::collections::BTreeMap;

/// One element of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Many,
}

#[derive(Clone, Debug)]
pub struct Pattern {
    first: Piece,
    middle: Vec<Piece>,
    /// `None` when there is no star: then `first` is all.
    last: Option<Piece>,
}

impl Pattern {
    /// `*` and `?` are wildcards, everything else stands for itself.
    pub fn wildcard(text: &str) -> Self {
        Pattern::new(text.chars().map(|character| match character {
            '*' => Token::Many,
            '?' => Token::One,
            other => Token::Char(other),
        }))
    }

    pub fn new(tokens: impl IntoIterator<Item = Token>) -> Self {
        let mut pieces: Vec<Vec<Option<char>>> = vec![Vec::new()];
        for token in tokens {
            match (token, pieces.last_mut()) {
                (Token::Many, _) => pieces.push(Vec::new()),
                (Token::Char(character), Some(piece)) => piece.push(Some(character)),
                (Token::One, Some(piece)) => piece.push(None),
                (_, None) => {}
            }
        }
        let last = (pieces.len() > 1).then(|| pieces.pop().unwrap_or_default());
        let mut pieces = pieces.into_iter();
        let first = Piece::new(pieces.next().unwrap_or_default());
        let middle = pieces.filter(|piece| !piece.is_empty()).map(Piece::new).collect();
        Pattern { first, middle, last: last.map(Piece::new) }
    }

    pub fn matches(&self, text: &str) -> bool {
        let Some(start) = self.first.prefix_of(text) else { return false };
        let mut rest = &text[start..];
        let Some(last) = &self.last else { return rest.is_empty() };
        let Some(end) = last.suffix_of(rest) else { return false };
        rest = &rest[..end];
        for piece in &self.middle {
            match piece.find_end(rest) {
                Some(end) => rest = &rest[end..],
                None => return false,
            }
        }
        true
    }
}

/// A run without stars; `None` stands for `?`.
#[derive(Clone, Debug)]
enum Piece {
    Literal(String),
    Automaton(Automaton),
}

impl Piece {
    fn new(characters: Vec<Option<char>>) -> Self {
        match characters.iter().copied().collect::<Option<String>>() {
            Some(literal) => Piece::Literal(literal),
            None => Piece::Automaton(Automaton::new(characters)),
        }
    }

    /// Where the rest begins when `text` starts with this.
    fn prefix_of(&self, text: &str) -> Option<usize> {
        match self {
            Piece::Literal(literal) => text.starts_with(literal.as_str()).then_some(literal.len()),
            Piece::Automaton(automaton) => {
                let mut rest = text.chars();
                for expected in &automaton.characters {
                    let found = rest.next()?;
                    if expected.is_some_and(|expected| expected != found) {
                        return None;
                    }
                }
                Some(text.len() - rest.as_str().len())
            }
        }
    }

    /// Where this begins when `text` ends with it.
    fn suffix_of(&self, text: &str) -> Option<usize> {
        match self {
            Piece::Literal(literal) => text.ends_with(literal.as_str()).then(|| text.len() - literal.len()),
            Piece::Automaton(automaton) => {
                let mut rest = text.chars();
                for expected in automaton.characters.iter().rev() {
                    let found = rest.next_back()?;
                    if expected.is_some_and(|expected| expected != found) {
                        return None;
                    }
                }
                Some(rest.as_str().len())
            }
        }
    }

    /// The end of the leftmost occurrence in `text`.
    fn find_end(&self, text: &str) -> Option<usize> {
        match self {
            Piece::Literal(literal) => text.find(literal.as_str()).map(|start| start + literal.len()),
            Piece::Automaton(automaton) => automaton.find_end(text),
        }
    }
}

/// Shift-And: bit `i` is set while the last `i + 1` characters of the text match the first `i + 1` of the
/// piece.
#[derive(Clone, Debug)]
struct Automaton {
    characters: Vec<Option<char>>,
    any: Vec<u64>,
    masks: BTreeMap<char, Vec<u64>>,
}

impl Automaton {
    fn new(characters: Vec<Option<char>>) -> Self {
        let words = characters.len().div_ceil(64);
        let mut any = vec![0u64; words];
        for (index, _) in characters.iter().enumerate().filter(|(_, character)| character.is_none()) {
            any[index / 64] |= 1 << (index % 64);
        }
        let mut masks: BTreeMap<char, Vec<u64>> = BTreeMap::new();
        for (index, character) in characters.iter().enumerate() {
            if let Some(character) = character {
                masks.entry(*character).or_insert_with(|| any.clone())[index / 64] |= 1 << (index % 64);
            }
        }
        Automaton { characters, any, masks }
    }

    fn find_end(&self, text: &str) -> Option<usize> {
        let final_bit = self.characters.len().checked_sub(1)?;
        let mut state = vec![0u64; self.any.len()];
        for (start, character) in text.char_indices() {
            let mask = self.masks.get(&character).unwrap_or(&self.any);
            let mut carry = 1;
            for (word, mask) in state.iter_mut().zip(mask) {
                let next_carry = *word >> 63;
                *word = (*word << 1 | carry) & mask;
                carry = next_carry;
            }
            if state[final_bit / 64] >> (final_bit % 64) & 1 == 1 {
                return Some(start + character.len_utf8());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;
    use std::time::{Duration, Instant};

    #[test]
    fn wildcards_match_as_a_backtracking_matcher_would() {
        fn slow(pattern: &[char], text: &[char]) -> bool {
            match (pattern.first(), text.first()) {
                (None, None) => true,
                (Some('*'), _) => slow(&pattern[1..], text) || !text.is_empty() && slow(pattern, &text[1..]),
                (Some('?'), Some(_)) => slow(&pattern[1..], &text[1..]),
                (Some(a), Some(b)) if a == b => slow(&pattern[1..], &text[1..]),
                _ => false,
            }
        }
        fn words(alphabet: &[char], length: usize) -> Vec<Vec<char>> {
            let mut all = vec![vec![]];
            let mut frontier: Vec<Vec<char>> = vec![vec![]];
            for _ in 0..length {
                frontier = frontier
                    .iter()
                    .flat_map(|word| alphabet.iter().map(move |c| [&word[..], &[*c]].concat()))
                    .collect();
                all.extend(frontier.iter().cloned());
            }
            all
        }
        let texts = words(&['a', 'ü'], 5);
        for pattern in words(&['a', 'ü', '*', '?'], 5) {
            let compiled = Pattern::wildcard(&pattern.iter().collect::<String>());
            for text in &texts {
                let text_string: String = text.iter().collect();
                assert_eq!(
                    compiled.matches(&text_string),
                    slow(&pattern, text),
                    "{pattern:?} on {text_string}"
                );
            }
        }
    }

    #[test]
    fn long_pieces_cross_word_borders() {
        let pattern = Pattern::wildcard(&format!("*{}?{}*", "a".repeat(70), "b".repeat(70)));
        let text = format!("aaaa{}x{}zz", "a".repeat(70), "b".repeat(70));
        assert!(pattern.matches(&text));
        assert!(!pattern.matches(&text.replace("xb", "xc")));
    }

    #[test]
    fn hostile_patterns_cost_one_pass() {
        let text = "a".repeat(2048);
        for pattern in
            ["*a".repeat(2000) + "*b*", "*a?".repeat(1500) + "b", "*".to_owned() + &"?a".repeat(900) + "b*"]
        {
            let compiled = Pattern::wildcard(&pattern);
            let started = Instant::now();
            for _ in 0..10 {
                assert!(!compiled.matches(&text));
            }
            assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        }
    }
}
