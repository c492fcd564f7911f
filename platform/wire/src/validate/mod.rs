//! Checks an input against its model's constraints, and says what is wrong in AWS's own words:
//! `1 validation error detected: Value 'x' at 'tags.1.member.key' failed to satisfy constraint: Member
//! must …`.
//!
//! Paths are AWS's too: members with a lower-case first letter, list items counted from one and followed
//! by `member`. A list's or map's scalars are reported at the list or map itself, with all of their
//! constraints. CodePipeline repeats no value (it is `Value at 'pipeline.…'` in what its users report:
//! <https://github.com/hashicorp/terraform-provider-aws/issues/41023>), and IAM has words of its own for its
//! names and paths (<https://github.com/app-sre/qontract-reconcile/pull/2640>).

pub mod pattern;

use std::fmt::Write;
use towpath_api::model::{Kind, Member, Operation, Service, Shape, ShapeId};
use towpath_api::{ApiError, Name, Node};

/// More errors than this help nobody.
const MAX_ERRORS: usize = 50;
/// How much of a value an error repeats.
const MAX_SHOWN_CHARS: usize = 1024;
const PATTERN: &str = "Member must satisfy regular expression pattern: ";
/// Services that repeat no value at all.
const SHOWS_NO_VALUE: &[&str] = &["codepipeline"];

const NAME_WORDS: &str = "It must contain only alphanumeric characters and/or the following: +=,.@_-";
const PATH_WORDS: &str =
    "It must begin and end with / and contain only alphanumeric characters and/or / characters.";
/// IAM's patterns, and what it says of a member of the input that does not match.
const IAM_WORDS: &[(&str, &str)] = &[
    (r"[\w+=,.@-]+", NAME_WORDS),
    (r"(\u002F)|(\u002F[\u0021-\u007E]+\u002F)", PATH_WORDS),
    (r"((/[A-Za-z0-9\.,\+@=_-]+)*)/", PATH_WORDS),
];

pub fn check(service: &'static Service, operation: &Operation, input: &Node) -> Result<(), ApiError> {
    let Some(shape) = operation.input else { return Ok(()) };
    let mut checker = Checker { service, path: String::new(), errors: Vec::new(), own: None };
    checker.value(shape, input);
    let message = match (checker.errors.len(), checker.own) {
        (0, None) => return Ok(()),
        (0, Some(own)) => own,
        (1, _) => format!("1 validation error detected: {}", checker.errors[0]),
        (count, _) => format!("{count} validation errors detected: {}", checker.errors.join("; ")),
    };
    Err(ApiError::client(code(service, operation), message))
}

/// Services that declare `InvalidParameterException` answer with it here too (CloudWatch Logs); all others
/// with the common error.
fn code(service: &Service, operation: &Operation) -> &'static str {
    const OWN: &str = "InvalidParameterException";
    let declares = |name| operation.errors.iter().any(|&id| service.shape(id).name == name);
    if declares(OWN) && !declares("ValidationException") { OWN } else { "ValidationException" }
}

struct Checker {
    service: &'static Service,
    path: String,
    errors: Vec<String>,
    /// What the service says in words of its own, told when nothing else is wrong.
    own: Option<String>,
}

impl Checker {
    /// `shown` is the value, quoted, or nothing for a secret.
    fn fail(&mut self, shown: Option<&str>, constraint: &str) {
        if self.errors.len() < MAX_ERRORS {
            let value = match shown {
                Some("null") => " null".to_owned(),
                Some(text) => format!(" '{text}'"),
                None => String::new(),
            };
            self.errors
                .push(format!("Value{value} at '{}' failed to satisfy constraint: {constraint}", self.path));
        }
    }

    /// Whether a violated constraint of a member of the input itself is one that the service words otherwise.
    fn in_own_words(&mut self, constraint: &str) -> bool {
        if self.service.name != "iam" || self.path.contains('.') {
            return false;
        }
        let Some(pattern) = constraint.strip_prefix(PATTERN) else { return false };
        let Some((_, words)) = IAM_WORDS.iter().find(|(own, _)| *own == pattern) else { return false };
        let text = format!("The specified value for {} is invalid. {words}", self.path);
        self.own.get_or_insert(text);
        true
    }

    /// Runs `inner` one step deeper.
    fn within(&mut self, step: std::fmt::Arguments, inner: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        // Writing to a String cannot fail.
        let _ = self.path.write_fmt(step);
        inner(self);
        self.path.truncate(length);
    }

    fn value(&mut self, id: ShapeId, node: &Node) {
        if self.errors.len() >= MAX_ERRORS {
            return;
        }
        let shape = self.service.shape(id);
        match (&shape.kind, node) {
            (Kind::Structure { members, union, .. }, Node::Map(entries)) => {
                self.structure(members, *union, entries, node);
            }
            (Kind::List { member, min, max, .. }, Node::List(items)) => {
                self.size(shape, node, items.len() as u64, *min, *max);
                self.list(*member, items, node);
            }
            (Kind::Map { key, value, min, max, .. }, Node::Map(entries)) => {
                self.size(shape, node, entries.len() as u64, *min, *max);
                self.map(*key, *value, entries, node);
            }
            _ => {
                let mut failed = failures(shape, node);
                failed.retain(|constraint| !self.in_own_words(constraint));
                if !failed.is_empty() {
                    let shown = shown(self.service, shape, node);
                    for constraint in failed {
                        self.fail(shown.as_deref(), &constraint);
                    }
                }
            }
        }
    }

    fn structure(&mut self, members: &'static [Member], union: bool, entries: &[(Name, Node)], node: &Node) {
        for member in members {
            let value = node.get(member.name);
            if value.is_none() && (!member.required || member.idempotency_token) {
                continue;
            }
            let mut name = member.name.chars();
            let first = name.next().map(|first| first.to_ascii_lowercase()).unwrap_or_default();
            self.within(format_args!("{first}{}", name.as_str()), |checker| match value {
                Some(value) => checker.value(member.shape, value),
                None => checker.fail(Some("null"), "Member must not be null"),
            });
        }
        if union && entries.iter().filter(|(_, value)| !value.is_null()).count() != 1 {
            self.fail(None, "Member must have exactly one of its members set");
        }
    }

    fn list(&mut self, member: ShapeId, items: &[Node], node: &Node) {
        let shape = self.service.shape(member);
        for (index, item) in items.iter().enumerate() {
            match (item, is_scalar(shape)) {
                (Node::Null, _) => self.within(format_args!("{}.member", index + 1), |checker| {
                    checker.fail(Some("null"), "Member must not be null");
                }),
                (item, false) => {
                    self.within(format_args!("{}.member", index + 1), |checker| checker.value(member, item));
                }
                (_, true) => {}
            }
        }
        if is_scalar(shape) && items.iter().any(|item| !item.is_null() && !failures(shape, item).is_empty()) {
            let value = shown(self.service, shape, node);
            self.fail(value.as_deref(), &format!("Member must satisfy constraint: [{}]", constraints(shape)));
        }
    }

    fn map(&mut self, key: ShapeId, value: ShapeId, entries: &[(Name, Node)], node: &Node) {
        let (keys, values) = (self.service.shape(key), self.service.shape(value));
        let mut bad_key = false;
        let mut bad_value = false;
        for (name, item) in entries {
            bad_key |= !text_failures(keys, name).is_empty();
            match (item, is_scalar(values)) {
                (Node::Null, _) => self.within(format_args!("{name}.member"), |checker| {
                    checker.fail(Some("null"), "Member must not be null");
                }),
                (item, true) => bad_value |= !failures(values, item).is_empty(),
                (item, false) => {
                    self.within(format_args!("{name}.member"), |checker| checker.value(value, item));
                }
            }
        }
        let secret = is_sensitive(keys) || is_sensitive(values);
        let whole = (!secret).then(|| shown(self.service, values, node)).flatten();
        if bad_key {
            self.fail(
                whole.as_deref(),
                &format!("Map keys must satisfy constraint: [{}]", constraints(keys)),
            );
        }
        if bad_value {
            self.fail(
                whole.as_deref(),
                &format!("Map value must satisfy constraint: [{}]", constraints(values)),
            );
        }
    }

    fn size(&mut self, shape: &'static Shape, node: &Node, size: u64, min: Option<u64>, max: Option<u64>) {
        let failed = length_failures(size, min, max);
        if !failed.is_empty() {
            let shown = shown(self.service, shape, node);
            for constraint in failed {
                self.fail(shown.as_deref(), &constraint);
            }
        }
    }
}

fn is_scalar(shape: &Shape) -> bool {
    !matches!(shape.kind, Kind::Structure { .. } | Kind::List { .. } | Kind::Map { .. })
}

fn is_sensitive(shape: &Shape) -> bool {
    matches!(shape.kind, Kind::String { sensitive: true, .. })
}

fn length_failures(size: u64, min: Option<u64>, max: Option<u64>) -> Vec<String> {
    let mut failed = Vec::new();
    if let Some(max) = max.filter(|max| size > *max) {
        failed.push(format!("Member must have length less than or equal to {max}"));
    }
    if let Some(min) = min.filter(|min| size < *min) {
        failed.push(format!("Member must have length greater than or equal to {min}"));
    }
    failed
}

fn range_failures(value: i64, min: Option<i64>, max: Option<i64>) -> Vec<String> {
    let mut failed = Vec::new();
    if let Some(max) = max.filter(|max| value > *max) {
        failed.push(format!("Member must have value less than or equal to {max}"));
    }
    if let Some(min) = min.filter(|min| value < *min) {
        failed.push(format!("Member must have value greater than or equal to {min}"));
    }
    failed
}

/// The constraints that a scalar does not satisfy.
fn failures(shape: &Shape, node: &Node) -> Vec<String> {
    match (&shape.kind, node) {
        (Kind::String { .. }, Node::Str(text)) => text_failures(shape, text),
        (Kind::Integer { min, max } | Kind::Long { min, max }, Node::Int(value)) => {
            range_failures(*value, *min, *max)
        }
        (Kind::Blob { min, max }, Node::Blob(bytes)) => length_failures(bytes.len() as u64, *min, *max),
        _ => Vec::new(),
    }
}

fn text_failures(shape: &Shape, text: &str) -> Vec<String> {
    let Kind::String { min, max, pattern, values, .. } = &shape.kind else { return Vec::new() };
    let mut failed = if min.is_some() || max.is_some() {
        length_failures(text.chars().count() as u64, *min, *max)
    } else {
        Vec::new()
    };
    if let Some(pattern) = pattern.filter(|pattern| !pattern::matches(pattern, text)) {
        failed.push(format!("{PATTERN}{pattern}"));
    }
    if !values.is_empty() && !values.contains(&text) {
        failed.push(format!("Member must satisfy enum value set: [{}]", values.join(", ")));
    }
    failed
}

/// All constraints of a scalar shape, as AWS lists them for a list's or map's elements.
fn constraints(shape: &Shape) -> String {
    let mut all = Vec::new();
    let mut bounds = |what: &str, min: Option<String>, max: Option<String>| {
        all.extend(max.map(|max| format!("Member must have {what} less than or equal to {max}")));
        all.extend(min.map(|min| format!("Member must have {what} greater than or equal to {min}")));
    };
    let text = |bound: &Option<u64>| bound.map(|bound| bound.to_string());
    match &shape.kind {
        Kind::String { min, max, pattern, values, .. } => {
            bounds("length", text(min), text(max));
            all.extend(pattern.map(|pattern| format!("{PATTERN}{pattern}")));
            if !values.is_empty() {
                all.push(format!("Member must satisfy enum value set: [{}]", values.join(", ")));
            }
        }
        Kind::Integer { min, max } | Kind::Long { min, max } => {
            bounds("value", min.map(|min| min.to_string()), max.map(|max| max.to_string()));
        }
        Kind::Blob { min, max } => bounds("length", text(min), text(max)),
        _ => {}
    }
    all.join(", ")
}

/// A value as AWS prints it; `None` when it may hold a secret.
fn shown(service: &'static Service, shape: &Shape, node: &Node) -> Option<String> {
    if SHOWS_NO_VALUE.contains(&service.name) || holds_secret(service, shape, 0) {
        return None;
    }
    let mut out = String::new();
    show(&mut out, node);
    if let Some((cut, _)) = out.char_indices().nth(MAX_SHOWN_CHARS) {
        out.truncate(cut);
        out.push_str("...");
    }
    Some(out)
}

fn holds_secret(service: &'static Service, shape: &Shape, depth: usize) -> bool {
    let inner = |id: ShapeId| depth < 8 && holds_secret(service, service.shape(id), depth + 1);
    match &shape.kind {
        Kind::String { sensitive, .. } => *sensitive,
        Kind::List { member, .. } => inner(*member),
        Kind::Map { key, value, .. } => inner(*key) || inner(*value),
        Kind::Structure { members, .. } => members.iter().any(|member| inner(member.shape)),
        _ => false,
    }
}

fn show(out: &mut String, node: &Node) {
    if out.len() > MAX_SHOWN_CHARS * 4 {
        return;
    }
    let _ = match node {
        Node::Null => write!(out, "null"),
        Node::Bool(value) => write!(out, "{value}"),
        Node::Int(value) => write!(out, "{value}"),
        Node::Float(value) => write!(out, "{value}"),
        Node::Str(text) => write!(out, "{text}"),
        Node::Blob(bytes) => write!(out, "java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", bytes.len()),
        Node::Time(at) => write!(out, "{at}"),
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "[" } else { ", " });
                show(out, item);
            }
            write!(out, "{}", if items.is_empty() { "[]" } else { "]" })
        }
        Node::Map(entries) => {
            for (index, (key, item)) in entries.iter().enumerate() {
                out.push_str(if index == 0 { "{" } else { ", " });
                let _ = write!(out, "{key}=");
                show(out, item);
            }
            write!(out, "{}", if entries.is_empty() { "{}" } else { "}" })
        }
    };
}

#[cfg(test)]
#[path = "../validate_tests.rs"]
mod tests;
