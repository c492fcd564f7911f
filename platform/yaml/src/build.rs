//! From parser events to the tree, without recursion, counting everything.

use crate::{Error, ErrorKind, Key, Limits, Node, Value};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// What a subtree costs: counted again for every alias to it.
#[derive(Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

struct Built {
    node: Node,
    weight: Weight,
}

/// A collection that is still open.
struct Open {
    anchor: usize,
    line: usize,
    column: usize,
    weight: Weight,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, names: HashSet<String>, merges: Vec<Node>, key: Option<PendingKey> },
}

enum PendingKey {
    Named(Key),
    Merge,
}

struct Builder {
    limits: Limits,
    used: Weight,
    stack: Vec<Open>,
    anchors: HashMap<usize, (Node, Weight)>,
    root: Option<Node>,
}

pub fn parse(text: &str, limits: Limits) -> Result<Node, Error> {
    if text.len() > limits.max_bytes {
        let kind = ErrorKind::TooLarge(format!("{} bytes, {} allowed", text.len(), limits.max_bytes));
        return Err(Error { line: 0, column: 0, kind });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser::new_from_str(text);
    let mut builder =
        Builder { limits, used: Weight::default(), stack: Vec::new(), anchors: HashMap::new(), root: None };
    let mut documents = 0;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| Error {
            line: error.marker().line(),
            column: error.marker().col() + 1,
            kind: ErrorKind::Syntax(error.info().to_owned()),
        })?;
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                return Err(at(&span, ErrorKind::SeveralDocuments));
            }
        }
        builder.event(event, &span)?;
    }
    let root = builder.root.ok_or(Error { line: 0, column: 0, kind: ErrorKind::Empty })?;
    if root.is_null() { Err(Error { line: 0, column: 0, kind: ErrorKind::Empty }) } else { Ok(root) }
}

fn at(span: &Span, kind: ErrorKind) -> Error {
    Error { line: span.start.line(), column: span.start.col() + 1, kind }
}

impl Builder {
    fn event(&mut self, event: Event, span: &Span) -> Result<(), Error> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !names_string(tag.as_ref(), span)?;
                let weight = Weight { nodes: 1, bytes: text.len(), depth: 1 };
                self.charge(weight, span)?;
                let value = Value::Scalar { text: text.into_owned(), plain };
                self.place(anchor, Built { node: node(value, span), weight }, span)
            }
            Event::Alias(anchor) => {
                let Some((_, weight)) = self.anchors.get(&anchor) else {
                    return Err(at(
                        span,
                        ErrorKind::Invalid("an alias must not refer to what contains it".into()),
                    ));
                };
                let weight = *weight;
                self.charge(weight, span)?;
                let Some((node, _)) = self.anchors.get(&anchor) else {
                    return Ok(());
                };
                let built = Built { node: node.clone(), weight };
                self.place(0, built, span)
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_ref(), "seq", span)?;
                self.open(anchor, Items::List(Vec::new()), span)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_ref(), "map", span)?;
                let items =
                    Items::Map { entries: Vec::new(), names: HashSet::new(), merges: Vec::new(), key: None };
                self.open(anchor, items, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            _ => Ok(()),
        }
    }

    fn charge(&mut self, weight: Weight, span: &Span) -> Result<(), Error> {
        self.used.nodes += weight.nodes;
        self.used.bytes += weight.bytes;
        let reason = if self.used.nodes > self.limits.max_nodes {
            format!("more than {} values", self.limits.max_nodes)
        } else if self.used.bytes > self.limits.max_expanded_bytes {
            format!("more than {} bytes after aliases were expanded", self.limits.max_expanded_bytes)
        } else if self.stack.len() + weight.depth > self.limits.max_depth {
            format!("nested deeper than {} levels", self.limits.max_depth)
        } else {
            return Ok(());
        };
        Err(at(span, ErrorKind::TooLarge(reason)))
    }

    fn open(&mut self, anchor: usize, items: Items, span: &Span) -> Result<(), Error> {
        let weight = Weight { nodes: 1, bytes: 0, depth: 1 };
        self.charge(weight, span)?;
        let (line, column) = (span.start.line(), span.start.col() + 1);
        self.stack.push(Open { anchor, line, column, weight, items });
        Ok(())
    }

    fn close(&mut self, span: &Span) -> Result<(), Error> {
        let Some(open) = self.stack.pop() else {
            return Ok(());
        };
        let mut weight = open.weight;
        let value = match open.items {
            Items::List(items) => Value::List(items),
            Items::Map { mut entries, mut names, merges, .. } => {
                for merge in merges {
                    merge_into(&mut entries, &mut names, merge, &mut weight)?;
                }
                Value::Map(entries)
            }
        };
        // What a merge added was charged when the alias was read; the nodes it copied again are at most that.
        let node = Node { value, line: open.line, column: open.column };
        self.place(open.anchor, Built { node, weight }, span)
    }

    fn place(&mut self, anchor: usize, built: Built, span: &Span) -> Result<(), Error> {
        if anchor != 0 {
            // The kept copy is a copy like any other.
            self.charge(Weight { depth: 0, ..built.weight }, span)?;
            self.anchors.insert(anchor, (built.node.clone(), built.weight));
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(built.node);
            return Ok(());
        };
        open.weight.nodes += built.weight.nodes;
        open.weight.bytes += built.weight.bytes;
        open.weight.depth = open.weight.depth.max(built.weight.depth + 1);
        match &mut open.items {
            Items::List(items) => items.push(built.node),
            Items::Map { entries, names, merges, key } => match key.take() {
                None => *key = Some(read_key(built.node, names, span)?),
                Some(PendingKey::Merge) => merges.push(built.node),
                Some(PendingKey::Named(key)) => entries.push((key, built.node)),
            },
        }
        Ok(())
    }
}

fn node(value: Value, span: &Span) -> Node {
    Node { value, line: span.start.line(), column: span.start.col() + 1 }
}

fn read_key(node: Node, names: &mut HashSet<String>, span: &Span) -> Result<PendingKey, Error> {
    let (line, column) = (span.start.line(), span.start.col() + 1);
    let Value::Scalar { text, plain } = node.value else {
        return Err(at(span, ErrorKind::Invalid("a key must be a plain string".into())));
    };
    if plain && text == "<<" {
        return Ok(PendingKey::Merge);
    }
    if !names.insert(text.clone()) {
        return Err(at(span, ErrorKind::DuplicateKey(text.chars().take(80).collect())));
    }
    Ok(PendingKey::Named(Key { name: text, line, column }))
}

/// `<<: *base` or `<<: [*a, *b]`: keys that are there already win.
fn merge_into(
    entries: &mut Vec<(Key, Node)>,
    names: &mut HashSet<String>,
    from: Node,
    weight: &mut Weight,
) -> Result<(), Error> {
    let wrong = |node: &Node| Error::invalid(node, "'<<' needs a mapping or a list of mappings");
    let sources = match from.value {
        Value::List(items) => items,
        Value::Map(_) => vec![from],
        Value::Scalar { .. } => return Err(wrong(&from)),
    };
    for source in sources {
        let Value::Map(merged) = source.value else {
            return Err(wrong(&source));
        };
        for (key, node) in merged {
            if names.insert(key.name.clone()) {
                weight.nodes += 1;
                entries.push((key, node));
            }
        }
    }
    Ok(())
}

/// `!!str` makes a plain scalar a string; other core tags agree with what the reader asks for anyway.
fn names_string(tag: Option<&Cow<Tag>>, span: &Span) -> Result<bool, Error> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        Some(tag)
            if tag.is_yaml_core_schema()
                && matches!(tag.suffix.as_str(), "int" | "float" | "bool" | "null") =>
        {
            Ok(false)
        }
        Some(tag) => Err(foreign_tag(tag, span)),
    }
}

fn refuse_tag(tag: Option<&Cow<Tag>>, allowed: &str, span: &Span) -> Result<(), Error> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == allowed) => Err(foreign_tag(tag, span)),
        _ => Ok(()),
    }
}

fn foreign_tag(tag: &Tag, span: &Span) -> Error {
    let name: String = tag.to_string().chars().take(80).collect();
    at(span, ErrorKind::Invalid(format!("tag '{name}' is not supported")))
}
