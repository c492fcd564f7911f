//! awsJson 1.0 and 1.1, and the bodies of restJson1. Decodes straight from the bytes into a [`Node`].
//!
//! <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>. What a value of a wrong type is told are
//! AWS's own words, as its services were seen to answer; they name the types and not the member
//! (<https://github.com/mhart/dynalite/blob/main/test/helpers.js>).

use super::limits::{Budget, Path};
use super::scalar;
use super::{EncodeError, MemberFinder, last_wins, malformed, members, set};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::io::Write;
use towpath_api::model::{Kind, Location, Member, Protocol, Service, Shape, ShapeId, TimeFormat};
use towpath_api::{ApiError, Bytes, Name, Node, Timestamp, id};

pub fn content_type(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::AwsJson10 => "application/x-amz-json-1.0",
        Protocol::AwsJson11 => "application/x-amz-json-1.1",
        _ => "application/json",
    }
}

/// Decodes a whole body. An empty one is an empty structure where there is nothing that could be sent.
pub fn decode(service: &'static Service, shape: ShapeId, body: &[u8]) -> Result<Node, ApiError> {
    if members(service, shape).is_empty() && body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Node::Map(Vec::new()));
    }
    let budget = Budget::default();
    let seed =
        Seed { service, shape: service.shape(shape), format: None, path: &Path::ROOT, budget: &budget };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let decoded = seed.deserialize(&mut deserializer).and_then(|node| deserializer.end().map(|()| node));
    match decoded {
        Ok(Node::Null) => Err(malformed(Protocol::AwsJson11, "The request body is null")),
        Ok(node) => Ok(node),
        Err(error) => Err(malformed(Protocol::AwsJson11, message(&error))),
    }
}

/// serde_json puts the place behind the text of our own errors too.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match (error.is_data(), text.rsplit_once(" at line ")) {
        (true, Some((message, _))) => message.to_owned(),
        _ => format!("The request body is not valid JSON: {text}"),
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    service: &'static Service,
    shape: &'static Shape,
    format: Option<TimeFormat>,
    path: &'a Path<'a>,
    budget: &'a Budget,
}

impl Seed<'_> {
    /// What a scalar of the wrong type is told.
    fn mismatch<T, E: de::Error>(&self, found: &str) -> Result<T, E> {
        let wanted = match self.shape.kind {
            Kind::Structure { .. } => return Err(E::custom("Expected null")),
            Kind::List { .. } => return Err(E::custom("Expected list or null")),
            Kind::Map { .. } => return Err(E::custom("Expected map or null")),
            Kind::String { .. } => "a String",
            Kind::Integer { .. } => "an Integer",
            Kind::Long { .. } => "a Long",
            Kind::Float => "a Float",
            Kind::Double => "a Double",
            Kind::Boolean => "a Boolean",
            Kind::Blob { .. } => "a Blob",
            Kind::Timestamp { .. } => "milliseconds since epoch",
        };
        Err(E::custom(format!("{found} can not be converted to {wanted}")))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.budget.take(self.path).map_err(de::Error::custom)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "a value of {}", self.shape.name)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        match self.shape.kind {
            Kind::Boolean => Ok(Node::Bool(value)),
            _ => self.mismatch(if value { "TRUE_VALUE" } else { "FALSE_VALUE" }),
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        match self.shape.kind {
            Kind::Integer { .. } if i32::try_from(value).is_err() => self.mismatch("NUMBER_VALUE"),
            Kind::Integer { .. } | Kind::Long { .. } => Ok(Node::Int(value)),
            Kind::Float | Kind::Double => Ok(Node::Float(value as f64)),
            Kind::Timestamp { .. } => self.visit_f64(value as f64),
            _ => self.mismatch("NUMBER_VALUE"),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        match self.shape.kind {
            Kind::Float | Kind::Double => Ok(Node::Float(value)),
            Kind::Integer { .. } | Kind::Long { .. } if value.fract() == 0.0 && value.abs() < 9e15 => {
                self.visit_i64(value as i64)
            }
            Kind::Timestamp { .. } => match scalar::time_from_seconds(value) {
                Some(at) => Ok(Node::Time(at)),
                None => self.mismatch("NUMBER_VALUE"),
            },
            _ => self.mismatch("NUMBER_VALUE"),
        }
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        match self.shape.kind {
            Kind::String { .. } => Ok(Node::Str(value.to_owned())),
            _ => self.text(value),
        }
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Node, E> {
        match self.shape.kind {
            Kind::String { .. } => Ok(Node::Str(value)),
            _ => self.text(&value),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let Kind::List { member, .. } = self.shape.kind else {
            return Err(de::Error::custom("Start of list found where not expected"));
        };
        let shape = self.service.shape(member);
        let mut items = Vec::new();
        loop {
            let path = self.path.index(items.len());
            match access.next_element_seed(Seed { shape, format: None, path: &path, ..self })? {
                Some(item) => items.push(item),
                None => return Ok(Node::List(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Node, A::Error> {
        match self.shape.kind {
            Kind::Structure { members, .. } => self.structure(members, access),
            Kind::Map { value, .. } => self.map(value, access),
            // The full stop is AWS's, here alone.
            _ => Err(de::Error::custom("Start of structure or map found where not expected.")),
        }
    }
}

impl Seed<'_> {
    /// Shapes other than strings that JSON writes as a string.
    fn text<E: de::Error>(self, value: &str) -> Result<Node, E> {
        let parsed = match self.shape.kind {
            Kind::Blob { .. } => id::base64_decode(value).map(|bytes| Node::Blob(Bytes::from(bytes))),
            Kind::Float | Kind::Double if matches!(value, "NaN" | "Infinity" | "-Infinity") => {
                scalar::parse_float(value).map(Node::Float)
            }
            Kind::Timestamp { .. } => {
                let format = scalar::time_format(self.format, self.shape, TimeFormat::Iso8601);
                scalar::parse_time(value, format).map(Node::Time)
            }
            _ => return self.mismatch("STRING_VALUE"),
        };
        parsed.map_or_else(|| self.mismatch("STRING_VALUE"), Ok)
    }

    fn structure<'de, A: MapAccess<'de>>(
        self,
        members: &'static [Member],
        mut access: A,
    ) -> Result<Node, A::Error> {
        let mut finder = MemberFinder::new(members);
        let mut entries = Vec::with_capacity(access.size_hint().unwrap_or(members.len().min(8)));
        while let Some(member) = access.next_key_seed(Key(&mut finder))? {
            let Some(member) = member else {
                access.next_value::<IgnoredAny>()?;
                continue;
            };
            let path = self.path.member(member.wire_name());
            let shape = self.service.shape(member.shape);
            let value =
                access.next_value_seed(Seed { shape, format: member.time_format, path: &path, ..self })?;
            if !value.is_null() {
                set(&mut entries, member, value);
            }
        }
        Ok(Node::Map(entries))
    }

    fn map<'de, A: MapAccess<'de>>(self, value: ShapeId, mut access: A) -> Result<Node, A::Error> {
        let shape = self.service.shape(value);
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = self.path.member(&key);
            let value = access.next_value_seed(Seed { shape, format: None, path: &path, ..self })?;
            entries.push((key.into(), value));
        }
        Ok(Node::Map(last_wins(entries)))
    }
}

/// A structure's key becomes its member without a string in between.
struct Key<'a>(&'a mut MemberFinder);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<&'static Member>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = Option<&'static Member>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.find(|member| member.location == Location::Body && member.wire_name() == name))
    }
}

/// Encodes a whole body: the members of the structure that belong there.
pub fn encode(service: &'static Service, shape: ShapeId, node: &Node) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Writer { service, out: Vec::with_capacity(256) };
    writer.value(service.shape(shape), None, node)?;
    Ok(writer.out)
}

struct Writer {
    service: &'static Service,
    out: Vec<u8>,
}

impl Writer {
    fn value(&mut self, shape: &Shape, format: Option<TimeFormat>, node: &Node) -> Result<(), EncodeError> {
        match (&shape.kind, node) {
            (_, Node::Null) => self.out.extend_from_slice(b"null"),
            (Kind::Structure { members, .. }, Node::Map(entries)) => {
                self.structure(shape, members, entries)?
            }
            (Kind::Map { value, .. }, Node::Map(entries)) => self.map(*value, entries)?,
            (Kind::List { member, .. }, Node::List(items)) => {
                let member = self.service.shape(*member);
                self.out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.out.push(b',');
                    }
                    self.value(member, None, item)?;
                }
                self.out.push(b']');
            }
            (Kind::String { .. }, Node::Str(text)) => write_string(&mut self.out, text),
            (Kind::Integer { .. } | Kind::Long { .. }, Node::Int(value)) => {
                // Writing to a vector cannot fail.
                let _ = write!(self.out, "{value}");
            }
            (Kind::Blob { .. }, Node::Blob(bytes)) => {
                self.out.push(b'"');
                self.out.extend_from_slice(id::base64_encode(bytes).as_bytes());
                self.out.push(b'"');
            }
            (Kind::Timestamp { .. }, Node::Time(at)) => self.time(shape, format, *at),
            (Kind::Float | Kind::Double, Node::Float(value)) if !value.is_finite() => {
                let mut text = String::new();
                scalar::write_float(&mut text, *value);
                write_string(&mut self.out, &text);
            }
            _ => {
                let mut text = String::new();
                scalar::write(&mut text, node, shape, TimeFormat::Epoch)
                    .ok_or_else(|| EncodeError::kind(shape, node))?;
                self.out.extend_from_slice(text.as_bytes());
            }
        }
        Ok(())
    }

    fn time(&mut self, shape: &Shape, format: Option<TimeFormat>, at: Timestamp) {
        let mut text = String::new();
        match scalar::time_format(format, shape, TimeFormat::Epoch) {
            TimeFormat::Epoch => {
                scalar::write_epoch(&mut text, at);
                self.out.extend_from_slice(text.as_bytes());
            }
            other => {
                scalar::write_time(&mut text, at, other);
                write_string(&mut self.out, &text);
            }
        }
    }

    fn structure(
        &mut self,
        shape: &Shape,
        members: &'static [Member],
        entries: &[(Name, Node)],
    ) -> Result<(), EncodeError> {
        let mut finder = MemberFinder::new(members);
        self.out.push(b'{');
        let mut first = true;
        for (name, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
            let member =
                finder.find(|member| member.name == name).ok_or_else(|| EncodeError::member(shape, name))?;
            if member.location != Location::Body {
                continue;
            }
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            write_string(&mut self.out, member.wire_name());
            self.out.push(b':');
            self.value(self.service.shape(member.shape), member.time_format, value)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn map(&mut self, value: ShapeId, entries: &[(Name, Node)]) -> Result<(), EncodeError> {
        let shape = self.service.shape(value);
        self.out.push(b'{');
        for (index, (key, value)) in entries.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write_string(&mut self.out, key);
            self.out.push(b':');
            self.value(shape, None, value)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// Writing to a vector cannot fail.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    let _ = serde_json::to_writer(out, text);
}
