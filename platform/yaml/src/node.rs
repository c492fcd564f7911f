//! The tree, and the questions that readers ask it.

use crate::{Error, ErrorKind};

/// A value and the place where it starts. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    pub line: usize,
    pub column: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The text as written, without quotes and with escapes resolved. `plain` when it stood there without
    /// quotes: only then may it mean null, a boolean or a number.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub name: String,
    pub line: usize,
    pub column: usize,
}

impl Node {
    fn type_error(&self, what: &str, expected: &'static str) -> Error {
        let found = match &self.value {
            _ if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, .. } => format!("'{}'", shorten(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        };
        let kind = ErrorKind::Type { what: what.to_owned(), expected, found };
        Error { line: self.line, column: self.column, kind }
    }

    /// A plain empty scalar, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Any scalar's text; null is an error. `what` names the value in the error.
    pub fn text(&self, what: &str) -> Result<&str, Error> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Ok(text),
            _ => Err(self.type_error(what, "a string")),
        }
    }

    pub fn boolean(&self, what: &str) -> Result<bool, Error> {
        let Value::Scalar { text, .. } = &self.value else {
            return Err(self.type_error(what, "yes or no"));
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => Err(self.type_error(what, "yes or no")),
        }
    }

    pub fn integer(&self, what: &str) -> Result<i64, Error> {
        match &self.value {
            Value::Scalar { text, .. } => text.parse().map_err(|_| self.type_error(what, "a whole number")),
            _ => Err(self.type_error(what, "a whole number")),
        }
    }

    pub fn list(&self, what: &str) -> Result<&[Node], Error> {
        match &self.value {
            Value::List(items) => Ok(items),
            _ => Err(self.type_error(what, "a list")),
        }
    }

    /// A list of scalars' texts.
    pub fn texts(&self, what: &str) -> Result<Vec<String>, Error> {
        let items = self.list(what)?.iter().enumerate();
        items.map(|(index, item)| item.text(&format!("{what}[{index}]")).map(str::to_owned)).collect()
    }

    pub fn map<'a>(&'a self, what: &'a str) -> Result<MapView<'a>, Error> {
        match &self.value {
            Value::Map(entries) => Ok(MapView { node: self, what, entries }),
            _ => Err(self.type_error(what, "a mapping")),
        }
    }
}

/// A mapping under a name, for errors that say which one.
#[derive(Clone, Copy)]
pub struct MapView<'a> {
    pub node: &'a Node,
    pub what: &'a str,
    entries: &'a [(Key, Node)],
}

impl<'a> MapView<'a> {
    /// Fails on the first key that is not `allowed`.
    pub fn only(self, allowed: &[&str]) -> Result<Self, Error> {
        match self.entries.iter().find(|(key, _)| !allowed.contains(&key.name.as_str())) {
            None => Ok(self),
            Some((key, _)) => Err(Error {
                line: key.line,
                column: key.column,
                kind: ErrorKind::UnknownKey {
                    key: shorten(&key.name),
                    allowed: allowed.iter().map(|name| (*name).to_owned()).collect(),
                },
            }),
        }
    }

    pub fn get(&self, name: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    pub fn required(&self, name: &str) -> Result<&'a Node, Error> {
        self.get(name).ok_or_else(|| Error {
            line: self.node.line,
            column: self.node.column,
            kind: ErrorKind::MissingKey(name.to_owned()),
        })
    }

    pub fn entries(&self) -> impl Iterator<Item = (&'a Key, &'a Node)> + use<'a> {
        self.entries.iter().map(|(key, node)| (key, node))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// `what/name`, as errors name a value.
    pub fn path(&self, name: &str) -> String {
        if self.what.is_empty() { name.to_owned() } else { format!("{}/{name}", self.what) }
    }

    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        self.get(name).map(|node| node.text(&self.path(name))).transpose()
    }

    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Error> {
        self.get(name).map(|node| node.boolean(&self.path(name))).transpose()
    }

    pub fn integer(&self, name: &str) -> Result<Option<i64>, Error> {
        self.get(name).map(|node| node.integer(&self.path(name))).transpose()
    }

    pub fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Error> {
        self.get(name).map(|node| node.texts(&self.path(name))).transpose()
    }
}

/// Hostile text must not flood an error message.
fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
