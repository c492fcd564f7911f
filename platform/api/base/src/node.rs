//! A decoded request or response, independent of the protocol that carried it.

use crate::Timestamp;
use bytes::Bytes;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The name of a structure's member, which is the model's own and costs nothing, or the key of a map.
pub type Name = Cow<'static, str>;

/// A value of a model's shape. Structures and maps are both [`Node::Map`], keyed by the model's member
/// names (never by wire names), in the order in which they were set.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Node {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Blob(Bytes),
    Time(Timestamp),
    List(Vec<Node>),
    Map(Vec<(Name, Node)>),
}

impl Node {
    /// The member `name` of a map; `None` when it is absent, null, or this is no map.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match self {
            Node::Map(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
        .filter(|value| !matches!(value, Node::Null))
    }

    /// Takes the member `name` out of a map, leaving null behind; `Null` when absent.
    pub fn take(&mut self, name: &str) -> Node {
        match self {
            Node::Map(entries) => entries
                .iter_mut()
                .find(|(key, _)| key == name)
                .map(|(_, value)| std::mem::take(value))
                .unwrap_or_default(),
            _ => Node::Null,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Node::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Node::Null)
    }

    /// What this is called in an error message.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "boolean",
            Node::Int(_) => "integer",
            Node::Float(_) => "number",
            Node::Str(_) => "string",
            Node::Blob(_) => "blob",
            Node::Time(_) => "timestamp",
            Node::List(_) => "list",
            Node::Map(_) => "structure",
        }
    }
}

/// A node had another type than the model says. The wire layer's decoder makes this impossible for
/// requests; it can happen only for documents written by other software.
#[derive(Debug, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct NodeError {
    pub expected: &'static str,
    pub found: &'static str,
}

/// Reads a value out of a [`Node`]. Generated types implement it with plain loops.
pub trait FromNode: Sized {
    fn from_node(node: Node) -> Result<Self, NodeError>;
}

/// Turns a value into a [`Node`]; absent members are left out.
pub trait IntoNode {
    fn into_node(self) -> Node;
}

/// Adds a member to a structure under construction, unless it is absent. For generated code.
pub fn put<T: IntoNode>(members: &mut Vec<(Name, Node)>, name: &'static str, value: Option<T>) {
    if let Some(value) = value {
        members.push((Cow::Borrowed(name), value.into_node()));
    }
}

/// A structure can only be read out of a map; null counts as an empty one. For generated code.
pub fn expect_structure(node: &Node) -> Result<(), NodeError> {
    match node {
        Node::Map(_) | Node::Null => Ok(()),
        other => mismatch("structure", other),
    }
}

fn mismatch<T>(expected: &'static str, found: &Node) -> Result<T, NodeError> {
    Err(NodeError { expected, found: found.kind() })
}

impl FromNode for Node {
    fn from_node(node: Node) -> Result<Self, NodeError> {
        Ok(node)
    }
}

impl IntoNode for Node {
    fn into_node(self) -> Node {
        self
    }
}

impl FromNode for bool {
    fn from_node(node: Node) -> Result<Self, NodeError> {
        match node {
            Node::Bool(value) => Ok(value),
            other => mismatch("boolean", &other),
        }
    }
}

impl IntoNode for bool {
    fn into_node(self) -> Node {
        Node::Bool(self)
    }
}

impl FromNode for i64 {
    fn from_node(node: Node) -> Result<Self, NodeError> {
        match node {
            Node::Int(value) => Ok(value),
            other => mismatch("integer", &other),
        }
    }
}

impl IntoNode for i64 {
    fn into_node(self) -> Node {
        Node::Int(self)
    }
}

impl FromNode for f64 {
    fn from_node(node: Node) -> Result<Self, NodeError> {
        match node {
            Node::Float(value) => Ok(value),
            Node::Int(value) => Ok(value as f64),
            other => mismatch("number", &other),
        }
    }
}

impl IntoNode for f64 {
    fn into_node(self) -> Node {
        Node::Float(self)
    }
}

impl FromNode for String {
    fn from_node(node: Node) -> Result<Self, NodeError> {
        match node {
            Node::Str(value) => Ok(value),
            other => mismatch("string", &other),
        }
    }
}

impl IntoNode for String {
    fn into_node(self) -> Node {
        Node::Str(self)
    }
}

impl FromNode for Bytes {
    /// A string is read as base64: that is how a blob looks after a trip through JSON.
    fn from_node(node: Node) -> Result<Self, NodeError> {
        match node {
            Node::Blob(value) => Ok(value),
            Node::Str(text) => crate::id::base64_decode(&text)
                .map(Bytes::from)
                .ok_or(NodeError { expected: "blob", found: "string that is not base64" }),
            other => mismatch("blob", &other),
        }
    }
}

impl IntoNode for Bytes {
    fn into_node(self) -> Node {
        Node::Blob(self)
    }
}

impl FromNode for Timestamp {
    /// A number is read as seconds since the epoch: that is how a time looks after a trip through JSON.
    fn from_node(node: Node) -> Result<Self, NodeError> {
        match node {
            Node::Time(value) => Ok(value),
            Node::Int(seconds) => Ok(Timestamp::from_millis(seconds.saturating_mul(1000))),
            Node::Float(seconds) => Ok(Timestamp::from_seconds(seconds)),
            other => mismatch("timestamp", &other),
        }
    }
}

impl IntoNode for Timestamp {
    fn into_node(self) -> Node {
        Node::Time(self)
    }
}

impl<T: FromNode> FromNode for Option<T> {
    fn from_node(node: Node) -> Result<Self, NodeError> {
        if node.is_null() { Ok(None) } else { T::from_node(node).map(Some) }
    }
}

impl<T: IntoNode> IntoNode for Option<T> {
    fn into_node(self) -> Node {
        self.map(T::into_node).unwrap_or_default()
    }
}

impl<T: FromNode> FromNode for Box<T> {
    fn from_node(node: Node) -> Result<Self, NodeError> {
        T::from_node(node).map(Box::new)
    }
}

impl<T: IntoNode> IntoNode for Box<T> {
    fn into_node(self) -> Node {
        (*self).into_node()
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    fn from_node(node: Node) -> Result<Self, NodeError> {
        match node {
            Node::List(items) => items.into_iter().map(T::from_node).collect(),
            other => mismatch("list", &other),
        }
    }
}

impl<T: IntoNode> IntoNode for Vec<T> {
    fn into_node(self) -> Node {
        Node::List(self.into_iter().map(T::into_node).collect())
    }
}

impl<T: FromNode> FromNode for BTreeMap<String, T> {
    fn from_node(node: Node) -> Result<Self, NodeError> {
        match node {
            Node::Map(entries) => {
                entries.into_iter().map(|(key, value)| Ok((key.into_owned(), T::from_node(value)?))).collect()
            }
            other => mismatch("map", &other),
        }
    }
}

impl<T: IntoNode> IntoNode for BTreeMap<String, T> {
    fn into_node(self) -> Node {
        Node::Map(self.into_iter().map(|(key, value)| (Cow::Owned(key), value.into_node())).collect())
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Null => serializer.serialize_unit(),
            Node::Bool(value) => serializer.serialize_bool(*value),
            Node::Int(value) => serializer.serialize_i64(*value),
            Node::Float(value) => serializer.serialize_f64(*value),
            Node::Str(value) => serializer.serialize_str(value),
            Node::Blob(value) => serializer.serialize_str(&crate::id::base64_encode(value)),
            Node::Time(value) => serializer.serialize_f64(value.as_seconds()),
            Node::List(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Node::Map(entries) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        i64::try_from(value).map(Node::Int).map_err(|_| E::custom("integer out of range"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Str(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

/// Gives generated types `serde` through their [`Node`] form, so that a document can embed them.
#[macro_export]
macro_rules! serde_through_node {
    ($($name:ident),* $(,)?) => {$(
        impl $crate::serde::Serialize for $name {
            fn serialize<S: $crate::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::serde::Serialize::serialize(&$crate::IntoNode::into_node(self.clone()), serializer)
            }
        }
        impl<'de> $crate::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let node: $crate::Node = $crate::serde::Deserialize::deserialize(deserializer)?;
                <$name as $crate::FromNode>::from_node(node).map_err($crate::serde::de::Error::custom)
            }
        }
    )*};
}
