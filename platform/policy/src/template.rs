//! Strings of a policy with wildcards and policy variables (`${aws:username}`, `${aws:PrincipalTag/team, 'none'}`,
//! `${*}`). A variable's value stands for itself: a `*` in a user's name is no wildcard.
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html>.

use crate::context::Question;
use crate::pattern::{Pattern, Token};

/// How a string is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Whether `*` and `?` are wildcards.
    pub wildcards: bool,
    /// Whether `${…}` is a variable: since version 2012-10-17.
    pub variables: bool,
    pub ignore_case: bool,
}

#[derive(Clone, Debug)]
enum Part {
    Token(Token),
    Variable { key: String, default: Option<String> },
}

/// A string that is compared with a request's.
#[derive(Clone, Debug)]
pub struct Template {
    ignore_case: bool,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Fixed(Pattern),
    Variable(Vec<Part>),
}

impl Template {
    pub fn new(text: &str, reading: Reading) -> Self {
        let parts = parts(text, reading);
        let fixed: Option<Vec<Token>> = parts
            .iter()
            .map(|part| match part {
                Part::Token(token) => Some(*token),
                Part::Variable { .. } => None,
            })
            .collect();
        let body = match fixed {
            Some(tokens) => Body::Fixed(Pattern::new(folded(tokens, reading.ignore_case))),
            None => Body::Variable(parts),
        };
        Template { ignore_case: reading.ignore_case, body }
    }

    /// What stands for a missing part of an ARN: anything.
    pub fn anything() -> Self {
        Template { ignore_case: false, body: Body::Fixed(Pattern::new([Token::Many])) }
    }

    /// A variable that has neither value nor default matches nothing.
    pub fn matches(&self, text: &str, question: &Question) -> bool {
        let lowered;
        let text = if self.ignore_case {
            lowered = text.to_lowercase();
            &lowered
        } else {
            text
        };
        match &self.body {
            Body::Fixed(pattern) => pattern.matches(text),
            Body::Variable(parts) => match resolve(parts, question) {
                Some(tokens) => Pattern::new(folded(tokens, self.ignore_case)).matches(text),
                None => false,
            },
        }
    }
}

fn folded(tokens: Vec<Token>, ignore_case: bool) -> Vec<Token> {
    if !ignore_case {
        return tokens;
    }
    let fold = |token| match token {
        Token::Char(character) => character.to_lowercase().map(Token::Char).collect(),
        other => vec![other],
    };
    tokens.into_iter().flat_map(fold).collect()
}

fn resolve(parts: &[Part], question: &Question) -> Option<Vec<Token>> {
    let mut tokens = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::Token(token) => tokens.push(*token),
            Part::Variable { key, default } => {
                let values = question.values(key);
                let value = match (values.as_slice(), default) {
                    ([value], _) => value.as_ref(),
                    (_, Some(default)) => default,
                    _ => return None,
                };
                tokens.extend(value.chars().map(Token::Char));
            }
        }
    }
    Some(tokens)
}

fn parts(text: &str, reading: Reading) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if reading.variables
            && let Some((name, after)) = variable(rest)
        {
            parts.push(variable_part(name));
            rest = after;
            continue;
        }
        parts.push(Part::Token(match character {
            '*' if reading.wildcards => Token::Many,
            '?' if reading.wildcards => Token::One,
            other => Token::Char(other),
        }));
        rest = &rest[character.len_utf8()..];
    }
    parts
}

/// The inside of a leading `${…}`, and what follows it.
fn variable(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("${")?.split_once('}')
}

fn variable_part(name: &str) -> Part {
    if let Some(escaped) = ['*', '?', '$'].into_iter().find(|character| name.chars().eq([*character])) {
        return Part::Token(Token::Char(escaped));
    }
    let (key, default) = match name.split_once(',') {
        Some((key, default)) => {
            let default = default.trim().strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
            (key, default.map(str::to_owned))
        }
        None => (name, None),
    };
    Part::Variable { key: key.trim().to_lowercase(), default }
}

/// Splits at colons that are not inside a variable, into at most `limit` parts.
pub fn split_at_colons(text: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut inside = false;
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if index > 0 && bytes[index - 1] == b'$' => inside = true,
            b'}' => inside = false,
            b':' if !inside && parts.len() + 1 < limit => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}
