//! rpc-v2-cbor: CBOR (RFC 8949), read and written by the model.
//!
//! <https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html>

use super::limits::{Budget, MAX_DEPTH, Path};
use super::{EncodeError, MemberFinder, last_wins, malformed, members, scalar, set};
use towpath_api::model::{Kind, Location, Protocol, Service, Shape, ShapeId};
use towpath_api::{ApiError, Bytes, Node, Timestamp};

pub fn decode(service: &'static Service, shape: ShapeId, body: &[u8]) -> Result<Node, ApiError> {
    if body.is_empty() && members(service, shape).is_empty() {
        return Ok(Node::Map(Vec::new()));
    }
    let budget = Budget::default();
    let mut reader = Reader { service, body, at: 0, budget: &budget };
    let decoded = reader.value(service.shape(shape), &Path::ROOT).and_then(|node| {
        if reader.at == body.len() { Ok(node) } else { Err("Bytes follow the body's CBOR value".to_owned()) }
    });
    match decoded {
        Ok(Node::Null) => Err(malformed(Protocol::RpcV2Cbor, "The request body is null")),
        Ok(node) => Ok(node),
        Err(message) => Err(malformed(Protocol::RpcV2Cbor, message)),
    }
}

pub fn encode(service: &'static Service, shape: ShapeId, node: &Node) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Writer::new();
    writer.value(service, service.shape(shape), node)?;
    Ok(writer.finish())
}

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;
const BREAK: u8 = 0xff;

/// An item's head: its major type and its argument; `None` for an indefinite length.
struct Head {
    major: u8,
    info: u8,
    argument: Option<u64>,
}

struct Reader<'a> {
    service: &'static Service,
    body: &'a [u8],
    at: usize,
    budget: &'a Budget,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.body.len());
        let taken = end.map(|end| &self.body[self.at..end]).ok_or("The body ends within a CBOR item")?;
        self.at += count;
        Ok(taken)
    }

    fn head(&mut self) -> Result<Head, String> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 31);
        let argument = match info {
            0..=23 => Some(u64::from(info)),
            24..=27 => {
                let bytes = self.take(1 << (info - 24))?;
                Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
            }
            31 if matches!(major, BYTES | TEXT | ARRAY | MAP | SIMPLE) => None,
            _ => return Err("The body has an invalid CBOR head".to_owned()),
        };
        Ok(Head { major, info, argument })
    }

    /// Whether another item of an array or map follows; consumes the break that ends an indefinite one.
    fn more(&mut self, length: Option<u64>, done: u64) -> Result<bool, String> {
        match length {
            Some(length) => Ok(done < length),
            None if self.body.get(self.at) == Some(&BREAK) => {
                self.at += 1;
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// A byte or text string, whose pieces are joined when its length is indefinite.
    fn string(&mut self, major: u8, length: Option<u64>) -> Result<Vec<u8>, String> {
        if let Some(length) = length {
            return Ok(self.take(usize::try_from(length).unwrap_or(usize::MAX))?.to_vec());
        }
        let mut whole = Vec::new();
        while self.more(None, 0)? {
            match self.head()? {
                Head { major: piece, argument: Some(length), .. } if piece == major => {
                    whole.extend_from_slice(self.take(usize::try_from(length).unwrap_or(usize::MAX))?);
                }
                _ => return Err("A piece of a CBOR string has another type".to_owned()),
            }
        }
        Ok(whole)
    }

    fn text(&mut self, length: Option<u64>) -> Result<String, String> {
        String::from_utf8(self.string(TEXT, length)?).map_err(|_| "A CBOR text is not UTF-8".to_owned())
    }

    /// A map's key.
    fn key(&mut self) -> Result<String, String> {
        match self.head()? {
            Head { major: TEXT, argument, .. } => self.text(argument),
            _ => Err("A CBOR map has a key that is no text".to_owned()),
        }
    }

    fn value(&mut self, shape: &'static Shape, path: &Path) -> Result<Node, String> {
        self.budget.take(path)?;
        let head = self.head()?;
        match (head.major, &shape.kind) {
            (SIMPLE, _) if matches!(head.info, 22 | 23) => Ok(Node::Null),
            (MAP, Kind::Structure { members, .. }) => {
                let mut finder = MemberFinder::new(members);
                let mut entries = Vec::new();
                let mut done = 0;
                while self.more(head.argument, done)? {
                    done += 1;
                    let key = self.key()?;
                    match finder.find(|member| member.location == Location::Body && member.name == key) {
                        None => self.skip(0)?,
                        Some(member) => {
                            let value =
                                self.value(self.service.shape(member.shape), &path.member(member.name))?;
                            if !value.is_null() {
                                set(&mut entries, member, value);
                            }
                        }
                    }
                }
                Ok(Node::Map(entries))
            }
            (MAP, Kind::Map { value, .. }) => {
                let shape = self.service.shape(*value);
                let mut entries = Vec::new();
                while self.more(head.argument, entries.len() as u64)? {
                    let key = self.key()?;
                    let value = self.value(shape, &path.member(&key))?;
                    entries.push((key.into(), value));
                }
                Ok(Node::Map(last_wins(entries)))
            }
            (ARRAY, Kind::List { member, .. }) => {
                let shape = self.service.shape(*member);
                let mut items = Vec::new();
                while self.more(head.argument, items.len() as u64)? {
                    let item = self.value(shape, &path.index(items.len()))?;
                    items.push(item);
                }
                Ok(Node::List(items))
            }
            (TEXT, Kind::String { .. }) => Ok(Node::Str(self.text(head.argument)?)),
            (BYTES, Kind::Blob { .. }) => Ok(Node::Blob(Bytes::from(self.string(BYTES, head.argument)?))),
            (SIMPLE, Kind::Boolean) if matches!(head.info, 20 | 21) => Ok(Node::Bool(head.info == 21)),
            (TAG, Kind::Timestamp { .. }) if head.argument == Some(1) => {
                let head = self.head()?;
                let seconds =
                    number(&head).ok_or_else(|| mismatch("A time that is no number", shape, path))?;
                let at = scalar::time_from_seconds(seconds);
                at.map(Node::Time).ok_or_else(|| mismatch("A time out of range", shape, path))
            }
            (_, kind) => scalar_of(&head, kind).ok_or_else(|| mismatch(name(&head), shape, path)),
        }
    }

    /// Passes over one item of any kind.
    fn skip(&mut self, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("The request is nested deeper than {MAX_DEPTH} levels"));
        }
        let head = self.head()?;
        match head.major {
            BYTES | TEXT => self.string(head.major, head.argument).map(drop),
            ARRAY | MAP => {
                let mut done = 0;
                while self.more(head.argument, done)? {
                    if head.major == MAP {
                        self.skip(depth + 1)?;
                    }
                    self.skip(depth + 1)?;
                    done += 1;
                }
                Ok(())
            }
            TAG => self.skip(depth + 1),
            SIMPLE if head.argument.is_none() => Err("A CBOR break stands alone".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Numbers for the kinds that hold them.
fn scalar_of(head: &Head, kind: &Kind) -> Option<Node> {
    match kind {
        Kind::Integer { .. } => integer(head).filter(|value| i32::try_from(*value).is_ok()).map(Node::Int),
        Kind::Long { .. } => integer(head).map(Node::Int),
        Kind::Float | Kind::Double => number(head).map(Node::Float),
        _ => None,
    }
}

fn integer(head: &Head) -> Option<i64> {
    let argument = i64::try_from(head.argument?).ok()?;
    match head.major {
        UNSIGNED => Some(argument),
        NEGATIVE => Some(-1 - argument),
        SIMPLE => {
            number(head).filter(|value| value.fract() == 0.0 && value.abs() < 9e15).map(|value| value as i64)
        }
        _ => None,
    }
}

fn number(head: &Head) -> Option<f64> {
    match (head.major, head.info) {
        (SIMPLE, 25) => Some(half(head.argument? as u16)),
        (SIMPLE, 26) => Some(f64::from(f32::from_bits(head.argument? as u32))),
        (SIMPLE, 27) => Some(f64::from_bits(head.argument?)),
        (UNSIGNED, _) => Some(head.argument? as f64),
        (NEGATIVE, _) => Some(-1.0 - head.argument? as f64),
        _ => None,
    }
}

/// IEEE 754 half precision.
fn half(bits: u16) -> f64 {
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + mantissa) * 2f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

fn name(head: &Head) -> &'static str {
    match head.major {
        UNSIGNED | NEGATIVE => "A number",
        BYTES => "A byte string",
        TEXT => "A text",
        ARRAY => "A list",
        MAP => "A map",
        TAG => "A tagged value",
        _ => "A simple value",
    }
}

fn mismatch(found: &str, shape: &Shape, path: &Path) -> String {
    format!("{found} can not be converted to {} at '{path}'", shape.name)
}

/// Writes CBOR with definite lengths.
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Writer { out: Vec::with_capacity(256) }
    }

    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    fn head(&mut self, major: u8, argument: u64) {
        let major = major << 5;
        match argument {
            0..=23 => self.out.push(major | argument as u8),
            24..=0xff => self.out.extend_from_slice(&[major | 24, argument as u8]),
            0x100..=0xffff => {
                self.out.push(major | 25);
                self.out.extend_from_slice(&(argument as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.out.push(major | 26);
                self.out.extend_from_slice(&(argument as u32).to_be_bytes());
            }
            _ => {
                self.out.push(major | 27);
                self.out.extend_from_slice(&argument.to_be_bytes());
            }
        }
    }

    pub fn map(&mut self, length: usize) {
        self.head(MAP, length as u64);
    }

    pub fn text(&mut self, text: &str) {
        self.head(TEXT, text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
    }

    pub fn null(&mut self) {
        self.out.push(SIMPLE << 5 | 22);
    }

    fn float(&mut self, value: f64) {
        self.out.push(SIMPLE << 5 | 27);
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn time(&mut self, at: Timestamp) {
        self.head(TAG, 1);
        match at.as_millis() % 1000 {
            0 => self.integer(at.as_millis() / 1000),
            _ => self.float(at.as_seconds()),
        }
    }

    fn integer(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.head(UNSIGNED, value),
            Err(_) => self.head(NEGATIVE, !(value as u64)),
        }
    }

    pub fn value(
        &mut self,
        service: &'static Service,
        shape: &Shape,
        node: &Node,
    ) -> Result<(), EncodeError> {
        match (&shape.kind, node) {
            (_, Node::Null) => self.null(),
            (Kind::Structure { members, .. }, Node::Map(entries)) => {
                let mut finder = MemberFinder::new(members);
                self.map(entries.iter().filter(|(_, value)| !value.is_null()).count());
                for (name, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
                    let member = finder
                        .find(|member| member.name == name)
                        .ok_or_else(|| EncodeError::member(shape, name))?;
                    self.text(member.name);
                    self.value(service, service.shape(member.shape), value)?;
                }
            }
            (Kind::Map { value, .. }, Node::Map(entries)) => {
                self.map(entries.len());
                for (key, node) in entries {
                    self.text(key);
                    self.value(service, service.shape(*value), node)?;
                }
            }
            (Kind::List { member, .. }, Node::List(items)) => {
                self.head(ARRAY, items.len() as u64);
                for item in items {
                    self.value(service, service.shape(*member), item)?;
                }
            }
            (Kind::String { .. }, Node::Str(text)) => self.text(text),
            (Kind::Blob { .. }, Node::Blob(bytes)) => {
                self.head(BYTES, bytes.len() as u64);
                self.out.extend_from_slice(bytes);
            }
            (Kind::Boolean, Node::Bool(value)) => self.out.push(SIMPLE << 5 | (20 + u8::from(*value))),
            (Kind::Integer { .. } | Kind::Long { .. }, Node::Int(value)) => self.integer(*value),
            (Kind::Float | Kind::Double, Node::Int(value)) => self.float(*value as f64),
            (Kind::Float | Kind::Double, Node::Float(value)) => self.float(*value),
            (Kind::Timestamp { .. }, Node::Time(at)) => self.time(*at),
            _ => return Err(EncodeError::kind(shape, node)),
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "cbor_tests.rs"]
mod tests;
