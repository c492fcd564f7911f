//! Conditions on events that are JSON: `{ ($.level = "ERROR" || $.status >= 500) && $.user NOT EXISTS }`.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/matching-terms-json-log-events.html>.

use super::terms::quoted_text;
use super::{PatternError, invalid};
use regex::Regex;
use serde_json::Value;

const MAX_DEPTH: usize = 32;

/// `&&` binds closer than `||`.
#[derive(Clone, Debug)]
pub enum Condition {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    Compare(Selector, Comparison),
}

/// Where in the event to look: names and indices from the root.
pub type Selector = Vec<Step>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Name(String),
    Index(usize),
}

#[derive(Clone, Debug)]
pub enum Comparison {
    Equal(Operand),
    NotEqual(Operand),
    Less(f64),
    LessOrEqual(f64),
    Greater(f64),
    GreaterOrEqual(f64),
    Is(Value),
    NotExists,
}

#[derive(Clone, Debug)]
pub enum Operand {
    /// With an asterisk at the beginning, the end, or both, what comes there may be anything.
    Text {
        text: String,
        open_start: bool,
        open_end: bool,
        number: Option<f64>,
    },
    Expression(Regex),
}

impl Condition {
    pub fn holds(&self, event: &Value) -> bool {
        match self {
            Condition::Any(conditions) => conditions.iter().any(|condition| condition.holds(event)),
            Condition::All(conditions) => conditions.iter().all(|condition| condition.holds(event)),
            Condition::Compare(selector, comparison) => comparison.holds(select(event, selector)),
        }
    }
}

fn select<'a>(event: &'a Value, selector: &[Step]) -> Option<&'a Value> {
    selector.iter().try_fold(event, |value, step| match step {
        Step::Name(name) => value.get(name),
        Step::Index(index) => value.get(index),
    })
}

impl Comparison {
    /// Values are compared only where they are strings or numbers: an event in which the selector leads
    /// to anything else, or nowhere, does not have the form that the condition speaks of.
    fn holds(&self, found: Option<&Value>) -> bool {
        let number = found.and_then(Value::as_f64);
        match self {
            Comparison::NotExists => found.is_none(),
            Comparison::Is(expected) => found == Some(expected),
            Comparison::Equal(operand) => found.and_then(|found| operand.equals(found)) == Some(true),
            Comparison::NotEqual(operand) => found.and_then(|found| operand.equals(found)) == Some(false),
            Comparison::Less(bound) => number.is_some_and(|number| number < *bound),
            Comparison::LessOrEqual(bound) => number.is_some_and(|number| number <= *bound),
            Comparison::Greater(bound) => number.is_some_and(|number| number > *bound),
            Comparison::GreaterOrEqual(bound) => number.is_some_and(|number| number >= *bound),
        }
    }
}

impl Operand {
    /// `None` where the value cannot be compared.
    fn equals(&self, found: &Value) -> Option<bool> {
        let (text, value) = match found {
            Value::String(text) => (text.clone(), None),
            Value::Number(number) => (number.to_string(), number.as_f64()),
            _ => return None,
        };
        Some(match self {
            Operand::Expression(regex) => regex.is_match(&text),
            Operand::Text { number: Some(number), .. } if value.is_some() => value == Some(*number),
            Operand::Text { text: expected, open_start, open_end, .. } => match (open_start, open_end) {
                (false, false) => text == *expected,
                (false, true) => text.starts_with(expected.as_str()),
                (true, false) => text.ends_with(expected.as_str()),
                (true, true) => text.contains(expected.as_str()),
            },
        })
    }
}

pub(super) fn parse(text: &str) -> Result<Condition, PatternError> {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let inner = inner.ok_or_else(|| invalid("a JSON pattern must end with }"))?;
    let mut parser = Parser { rest: inner };
    let condition = parser.any(0)?;
    parser.skip_spaces();
    if parser.rest.is_empty() { Ok(condition) } else { Err(parser.unexpected()) }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn any(&mut self, depth: usize) -> Result<Condition, PatternError> {
        let mut conditions = vec![self.all(depth)?];
        while self.take("||") {
            conditions.push(self.all(depth)?);
        }
        Ok(Condition::Any(conditions))
    }

    fn all(&mut self, depth: usize) -> Result<Condition, PatternError> {
        let mut conditions = vec![self.single(depth)?];
        while self.take("&&") {
            conditions.push(self.single(depth)?);
        }
        Ok(Condition::All(conditions))
    }

    fn single(&mut self, depth: usize) -> Result<Condition, PatternError> {
        if depth > MAX_DEPTH {
            return Err(invalid(format!("parentheses are nested deeper than {MAX_DEPTH}")));
        }
        if self.take("(") {
            let inner = self.any(depth + 1)?;
            return if self.take(")") { Ok(inner) } else { Err(self.unexpected()) };
        }
        let selector = self.selector()?;
        Ok(Condition::Compare(selector, self.comparison()?))
    }

    fn selector(&mut self) -> Result<Selector, PatternError> {
        if !self.take("$") {
            return Err(self.unexpected());
        }
        let mut steps = Vec::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix('.') {
                let plain = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
                let end = rest.find(|character| !plain(character)).unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                if name.is_empty() {
                    return Err(self.unexpected());
                }
                steps.push(Step::Name(name.to_owned()));
                self.rest = after;
            } else if let Some(rest) = self.rest.strip_prefix('[') {
                let (index, after) = rest.split_once(']').ok_or_else(|| self.unexpected())?;
                if index.trim() == "*" {
                    return Err(PatternError::Unsupported("[*] in a JSON filter pattern"));
                }
                let index = index.trim().parse().map_err(|_| self.unexpected())?;
                steps.push(Step::Index(index));
                self.rest = after;
            } else if steps.is_empty() {
                return Err(self.unexpected());
            } else {
                return Ok(steps);
            }
        }
    }

    fn comparison(&mut self) -> Result<Comparison, PatternError> {
        for (operator, comparison) in [
            ("<=", Comparison::LessOrEqual as fn(f64) -> Comparison),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ] {
            if self.take(operator) {
                let word = self.word();
                return number(word)
                    .map(comparison)
                    .ok_or_else(|| invalid(format!("{word:?} is not a number")));
            }
        }
        if self.take("!=") {
            return self.operand().map(Comparison::NotEqual);
        }
        if self.take("=") {
            return self.operand().map(Comparison::Equal);
        }
        let words = (self.word().to_ascii_uppercase(), self.word().to_ascii_uppercase());
        match (words.0.as_str(), words.1.as_str()) {
            ("IS", "NULL") => Ok(Comparison::Is(Value::Null)),
            ("IS", "TRUE") => Ok(Comparison::Is(Value::Bool(true))),
            ("IS", "FALSE") => Ok(Comparison::Is(Value::Bool(false))),
            ("NOT", "EXISTS") => Ok(Comparison::NotExists),
            (first, second) => {
                Err(invalid(format!("unknown comparison {:?}", format!("{first} {second}").trim())))
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, PatternError> {
        self.skip_spaces();
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let (text, after) = quoted_text(quoted)?;
            self.rest = after;
            return Ok(text_operand(&text, None));
        }
        if let Some(expression) = self.rest.strip_prefix('%') {
            let (expression, after) =
                expression.split_once('%').ok_or_else(|| invalid("a regular expression has no closing %"))?;
            self.rest = after;
            return super::regex::compile(expression).map(Operand::Expression);
        }
        let word = self.word();
        if word.is_empty() { Err(self.unexpected()) } else { Ok(text_operand(word, number(word))) }
    }

    /// Up to a space, a parenthesis or an operator between conditions.
    fn word(&mut self) -> &'a str {
        self.skip_spaces();
        let end = self
            .rest
            .char_indices()
            .find(|(at, character)| {
                let here = &self.rest[*at..];
                character.is_whitespace()
                    || matches!(character, '(' | ')')
                    || here.starts_with("&&")
                    || here.starts_with("||")
            })
            .map_or(self.rest.len(), |(at, _)| at);
        let (word, after) = self.rest.split_at(end);
        self.rest = after;
        word
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_spaces();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn unexpected(&self) -> PatternError {
        let start: String = self.rest.chars().take(20).collect();
        if start.is_empty() { invalid("it ends too early") } else { invalid(format!("unexpected {start:?}")) }
    }
}

fn text_operand(text: &str, number: Option<f64>) -> Operand {
    let (open_start, rest) = text.strip_prefix('*').map_or((false, text), |rest| (true, rest));
    let (open_end, rest) = rest.strip_suffix('*').map_or((false, rest), |rest| (true, rest));
    Operand::Text { text: rest.to_owned(), open_start, open_end, number }
}

/// An integer or a decimal with an optional sign and exponent; `inf` and `nan` are words.
fn number(word: &str) -> Option<f64> {
    let numeric = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    word.bytes().all(numeric).then(|| word.parse().ok()).flatten()
}
