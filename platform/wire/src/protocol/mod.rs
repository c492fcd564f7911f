//! Bytes to [`Node`]s and back: one codec per protocol, each led by the static model alone.
//!
//! What they share: a member that the model does not have is ignored, as AWS does; an absent or null
//! member is absent from the `Node`; a value of another type is an error that names the path to it;
//! depth and number of values are bounded whatever the body's size.
//!
//! The protocols are specified at <https://smithy.io/2.0/aws/protocols/index.html>.

pub mod cbor;
mod errors;
pub mod json;
mod limits;
pub mod query;
pub mod rest;
mod scalar;
pub mod xml;

pub use errors::encode_error;
pub use limits::{Budget, Path};

use crate::sigv4::Dialect;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use towpath_api::model::{Kind, Member, Operation, Protocol, Service, Shape, ShapeId};
use towpath_api::{ApiError, Name, Node};

/// What an answer is made for.
pub struct Context<'a> {
    pub protocol: Protocol,
    /// `None` when the request names no service of ours.
    pub service: Option<&'static Service>,
    pub operation: Option<&'static Operation>,
    pub request_id: &'a str,
}

/// An answer's bytes.
#[derive(Debug)]
pub struct Encoded {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Encoded {
    fn new(status: u16, content_type: Option<&'static str>, body: Vec<u8>) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Encoded { status, headers, body: body.into() }
    }
}

/// An output that does not fit its model: a defect of the service that made it.
#[derive(Debug, thiserror::Error)]
#[error("the output does not fit the model: {shape} cannot hold {found}")]
pub struct EncodeError {
    pub shape: &'static str,
    pub found: String,
}

impl EncodeError {
    fn kind(shape: &Shape, node: &Node) -> Self {
        EncodeError { shape: shape.name, found: format!("a {}", node.kind()) }
    }

    fn member(shape: &Shape, name: &str) -> Self {
        EncodeError { shape: shape.name, found: format!("a member '{name}'") }
    }
}

/// The family whose codes authentication errors have.
pub fn dialect(protocol: Protocol) -> Dialect {
    match protocol {
        Protocol::AwsJson10 | Protocol::AwsJson11 | Protocol::RpcV2Cbor => Dialect::Json,
        Protocol::AwsQuery => Dialect::Query,
        Protocol::RestJson1 | Protocol::RestXml => Dialect::Rest,
    }
}

/// A request that cannot be decoded.
pub fn malformed(protocol: Protocol, message: impl Into<String>) -> ApiError {
    let code = match protocol {
        Protocol::AwsQuery => "MalformedInput",
        Protocol::RestXml => "MalformedXML",
        _ => "SerializationException",
    };
    ApiError::client(code, message)
}

/// Decodes every protocol but the query protocol, whose form was read to find the operation.
pub fn decode_input(
    protocol: Protocol,
    service: &'static Service,
    operation: &Operation,
    parts: &Parts,
    labels: &[(&'static str, String)],
    body: &[u8],
) -> Result<Node, ApiError> {
    match protocol {
        Protocol::AwsJson10 | Protocol::AwsJson11 => match operation.input {
            Some(shape) => json::decode(service, shape, body),
            None => Ok(Node::Map(Vec::new())),
        },
        Protocol::RpcV2Cbor => match operation.input {
            Some(shape) => cbor::decode(service, shape, body),
            None => Ok(Node::Map(Vec::new())),
        },
        Protocol::AwsQuery => query::decode(service, operation, query::parse_form(parts.uri.query(), body)?),
        Protocol::RestJson1 | Protocol::RestXml => {
            rest::decode(protocol, service, operation, parts, labels, body)
        }
    }
}

pub fn encode_output(
    context: &Context,
    operation: &Operation,
    output: &Node,
) -> Result<Encoded, EncodeError> {
    // Only an answer of a known service has an output; without one there is nothing to encode by.
    let Some(service) = context.service else {
        return Err(EncodeError { shape: "none", found: "an output".into() });
    };
    match context.protocol {
        protocol @ (Protocol::AwsJson10 | Protocol::AwsJson11) => {
            let body = match operation.output {
                Some(shape) => json::encode(service, shape, output)?,
                None => b"{}".to_vec(),
            };
            Ok(Encoded::new(200, Some(json::content_type(protocol)), body))
        }
        Protocol::RpcV2Cbor => {
            let mut encoded = match operation.output {
                Some(shape) => {
                    Encoded::new(200, Some("application/cbor"), cbor::encode(service, shape, output)?)
                }
                None => Encoded::new(200, None, Vec::new()),
            };
            encoded.headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
            Ok(encoded)
        }
        Protocol::AwsQuery => query::encode(service, operation, output, context.request_id),
        protocol @ (Protocol::RestJson1 | Protocol::RestXml) => {
            rest::encode(protocol, service, operation, output)
        }
    }
}

/// The members of a structure; none for other shapes.
fn members(service: &'static Service, shape: ShapeId) -> &'static [Member] {
    match &service.shape(shape).kind {
        Kind::Structure { members, .. } => members,
        _ => &[],
    }
}

/// Finds members by name, guessing that they come in the model's order.
struct MemberFinder {
    members: &'static [Member],
    next: usize,
}

impl MemberFinder {
    fn new(members: &'static [Member]) -> Self {
        MemberFinder { members, next: 0 }
    }

    fn find(&mut self, is_it: impl Fn(&Member) -> bool) -> Option<&'static Member> {
        let count = self.members.len();
        let index = (0..count)
            .map(|offset| (self.next + offset) % count)
            .find(|&index| is_it(&self.members[index]))?;
        self.next = (index + 1) % count;
        Some(&self.members[index])
    }
}

/// A map's entries without those that a later one of the same key replaces.
fn last_wins(entries: Vec<(Name, Node)>) -> Vec<(Name, Node)> {
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    let unique: Vec<bool> = entries.iter().rev().map(|(key, _)| seen.insert(key.as_ref())).collect();
    if unique.iter().all(|first| *first) {
        return entries;
    }
    let keep: Vec<bool> = unique.into_iter().rev().collect();
    entries.into_iter().zip(keep).filter_map(|(entry, keep)| keep.then_some(entry)).collect()
}

/// Sets a structure's member; a repeated one replaces the one before.
fn set(entries: &mut Vec<(Name, Node)>, member: &Member, value: Node) {
    match entries.iter_mut().find(|(name, _)| name == member.name) {
        Some((_, old)) => *old = value,
        None => entries.push((member.name.into(), value)),
    }
}

#[cfg(test)]
mod codec_tests;
