//! Patterns of terms, for events that are plain text.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/matching-terms-unstructured-log-events.html>.

use super::{PatternError, invalid};
use regex::Regex;

/// All required terms, none of the excluded, and one of the optional where there are only such.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    required: Vec<Term>,
    excluded: Vec<Term>,
    optional: Vec<Term>,
}

#[derive(Clone, Debug)]
enum Term {
    Text(String),
    Expression(Regex),
}

impl Term {
    fn occurs_in(&self, message: &str) -> bool {
        match self {
            Term::Text(text) => message.contains(text.as_str()),
            Term::Expression(regex) => regex.is_match(message),
        }
    }
}

impl Terms {
    pub fn matches(&self, message: &str) -> bool {
        let occurs = |term: &Term| term.occurs_in(message);
        // Optional terms beside others are ignored, as AWS ignores them.
        let alone = self.required.is_empty() && self.excluded.is_empty() && !self.optional.is_empty();
        self.required.iter().all(occurs)
            && !self.excluded.iter().any(occurs)
            && (!alone || self.optional.iter().any(occurs))
    }
}

pub(super) fn parse(text: &str) -> Result<Terms, PatternError> {
    let mut terms = Terms::default();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let list = match rest.as_bytes()[0] {
            b'-' => &mut terms.excluded,
            b'?' => &mut terms.optional,
            _ => &mut terms.required,
        };
        let body = rest.strip_prefix(['-', '?']).unwrap_or(rest).trim_start();
        let (term, after) = term(body)?;
        list.push(term);
        rest = after.trim_start();
    }
    Ok(terms)
}

fn term(text: &str) -> Result<(Term, &str), PatternError> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (phrase, after) = quoted_text(quoted)?;
        return Ok((Term::Text(phrase), after));
    }
    if let Some(expression) = text.strip_prefix('%') {
        let (expression, after) =
            expression.split_once('%').ok_or_else(|| invalid("a regular expression has no closing %"))?;
        return Ok((Term::Expression(super::regex::compile(expression)?), after));
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    if word.is_empty() {
        return Err(invalid("a term is missing"));
    }
    if !word.chars().all(|character| character.is_alphanumeric() || character == '_') {
        return Err(invalid(format!("Invalid character(s) in term '{word}'; put it in double quotes")));
    }
    Ok((Term::Text(word.to_owned()), after))
}

/// The text up to the closing quote; `\"` and `\\` stand for themselves.
pub(super) fn quoted_text(text: &str) -> Result<(String, &str), PatternError> {
    let mut phrase = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((phrase, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => phrase.push(escaped),
                Some((_, other)) => phrase.extend(['\\', other]),
                None => break,
            },
            other => phrase.push(other),
        }
    }
    Err(invalid("a quoted term has no closing quote"))
}
