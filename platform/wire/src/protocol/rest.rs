//! restJson1 and restXml: an operation is a method and a URI template, and its members are spread over
//! labels, query, headers, status and body.
//!
//! <https://smithy.io/2.0/spec/http-bindings.html>

use super::limits::{Budget, Path};
use super::{EncodeError, Encoded, json, last_wins, malformed, scalar, xml};
use crate::uri;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use towpath_api::model::{Kind, Location, Member, Operation, Protocol, Service, Shape, ShapeId, TimeFormat};
use towpath_api::{ApiError, Bytes, Node};

/// The operation whose method and template fit, and its labels. The template with more literal segments
/// wins over one with labels, one with literal query parts over one without.
pub fn find_operation(
    service: &'static Service,
    parts: &Parts,
) -> Option<(&'static Operation, Vec<(&'static str, String)>)> {
    let fits = |operation: &'static Operation| {
        if operation.http_method != parts.method.as_str() {
            return None;
        }
        let (labels, weight) = match_template(operation.http_uri, parts.uri.path(), parts.uri.query())?;
        Some((weight, operation, labels))
    };
    let best = service.operations.iter().filter_map(fits).max_by_key(|(weight, ..)| *weight)?;
    Some((best.1, best.2))
}

type Labels = Vec<(&'static str, String)>;

/// Labels and how specific the match is.
fn match_template(template: &'static str, path: &str, query: Option<&str>) -> Option<(Labels, usize)> {
    let (template_path, template_query) = template.split_once('?').unwrap_or((template, ""));
    let mut labels = Vec::new();
    let mut weight = 0;
    let mut rest: &str = path.strip_prefix('/').unwrap_or(path);
    let mut segments = template_path.trim_start_matches('/').split('/').peekable();
    while let Some(segment) = segments.next() {
        let after = segments.clone().count();
        let label = segment.strip_prefix('{').and_then(|label| label.strip_suffix('}'));
        let (value, remaining) = match label {
            // A greedy label leaves exactly as many segments as follow it in the template.
            Some(label) if label.ends_with('+') => {
                let cut = match after {
                    0 => rest.len(),
                    _ => rest.rmatch_indices('/').nth(after - 1)?.0,
                };
                (&rest[..cut], rest[cut..].strip_prefix('/'))
            }
            _ => match rest.split_once('/') {
                Some((value, remaining)) => (value, Some(remaining)),
                None => (rest, None),
            },
        };
        match label {
            Some(label) => {
                let value = uri::decode(value, false).filter(|value| !value.is_empty())?;
                labels.push((label.trim_end_matches('+'), value.into_owned()));
            }
            None if segment == value => weight += 2,
            None => return None,
        }
        match (remaining, after) {
            (Some(remaining), 1..) => rest = remaining,
            // A single trailing slash is tolerated.
            (None | Some(""), 0) => {}
            _ => return None,
        }
    }
    for (name, value) in uri::raw_pairs(template_query) {
        let given = uri::query_value(query, name);
        if !uri::has_query(query, name) || !value.is_empty() && given.as_deref() != Some(value) {
            return None;
        }
        weight += 1;
    }
    Some((labels, weight))
}

/// The parts of an input structure that rest protocols care about.
fn structure(service: &'static Service, id: ShapeId) -> (&'static [Member], Option<&'static str>) {
    match &service.shape(id).kind {
        Kind::Structure { members, payload, .. } => (members, *payload),
        _ => (&[], None),
    }
}

pub fn decode(
    protocol: Protocol,
    service: &'static Service,
    operation: &Operation,
    parts: &Parts,
    labels: &[(&'static str, String)],
    body: &[u8],
) -> Result<Node, ApiError> {
    let Some(input) = operation.input else { return Ok(Node::Map(Vec::new())) };
    let (members, payload) = structure(service, input);
    let binder = Binder { service, parts, labels };
    let mut entries = Vec::new();
    for member in members {
        let value = match member.location {
            Location::Body if payload == Some(member.name) => payload_in(protocol, service, member, body)?,
            Location::Body | Location::StatusCode => continue,
            _ => binder
                .read(member)
                .map_err(|message| malformed(protocol, format!("{message} at '{}'", member.name)))?,
        };
        if !value.is_null() {
            entries.push((member.name.into(), value));
        }
    }
    if payload.is_none() && members.iter().any(|member| member.location == Location::Body) {
        let node = match protocol {
            Protocol::RestXml => read_xml(service, members, body)?,
            // Where path and query carry the rest, a request without a body says nothing more.
            _ if body.iter().all(u8::is_ascii_whitespace) => Node::Null,
            _ => json::decode(service, input, body)?,
        };
        if let Node::Map(body) = node {
            entries.extend(body);
        }
    }
    Ok(Node::Map(entries))
}

fn read_xml(service: &'static Service, members: &'static [Member], body: &[u8]) -> Result<Node, ApiError> {
    if body.is_empty() {
        return Ok(Node::Null);
    }
    let reader = xml::Reader { service, budget: Budget::default() };
    xml::parse(body)
        .and_then(|element| reader.structure(members, &element, &Path::ROOT))
        .map_err(|message| malformed(Protocol::RestXml, message))
}

/// The member that is the whole body.
fn payload_in(
    protocol: Protocol,
    service: &'static Service,
    member: &Member,
    body: &[u8],
) -> Result<Node, ApiError> {
    match &service.shape(member.shape).kind {
        _ if body.is_empty() => Ok(Node::Null),
        Kind::Blob { .. } => Ok(Node::Blob(Bytes::copy_from_slice(body))),
        Kind::String { .. } => String::from_utf8(body.to_vec())
            .map(Node::Str)
            .map_err(|_| malformed(protocol, format!("The body is not UTF-8 at '{}'", member.name))),
        Kind::Structure { members, .. } if protocol == Protocol::RestXml => read_xml(service, members, body),
        _ => json::decode(service, member.shape, body),
    }
}

/// Reads members from everywhere but the body.
struct Binder<'a> {
    service: &'static Service,
    parts: &'a Parts,
    labels: &'a [(&'static str, String)],
}

impl Binder<'_> {
    fn read(&self, member: &Member) -> Result<Node, String> {
        let shape = self.service.shape(member.shape);
        let name = member.wire_name();
        match member.location {
            Location::Uri => match self.labels.iter().find(|(label, _)| *label == name) {
                Some((_, text)) => self.scalar(shape, member.time_format, text, TimeFormat::Iso8601),
                None => Ok(Node::Null),
            },
            Location::Query => self.query(member, shape, name),
            Location::Header => self.header(member, shape, name),
            Location::Headers => Ok(self.headers(name)),
            Location::Body | Location::StatusCode => Ok(Node::Null),
        }
    }

    fn scalar(
        &self,
        shape: &Shape,
        format: Option<TimeFormat>,
        text: &str,
        default: TimeFormat,
    ) -> Result<Node, String> {
        scalar::parse(text, shape, scalar::time_format(format, shape, default))
    }

    fn query(&self, member: &Member, shape: &Shape, name: &str) -> Result<Node, String> {
        let mut given = Vec::new();
        for (key, value) in uri::raw_pairs(self.parts.uri.query().unwrap_or_default()) {
            let (key, value) = (uri::decode(key, true), uri::decode(value, true));
            given.push((key.ok_or("The query is not UTF-8")?, value.ok_or("The query is not UTF-8")?));
        }
        match shape.kind {
            Kind::List { member: item, .. } => {
                let item = self.service.shape(item);
                let values = given.iter().filter(|(key, _)| key == name);
                let items: Vec<Node> = values
                    .map(|(_, value)| self.scalar(item, None, value, TimeFormat::Iso8601))
                    .collect::<Result<_, _>>()?;
                Ok(if items.is_empty() { Node::Null } else { Node::List(items) })
            }
            // Every parameter, as `httpQueryParams` has it.
            Kind::Map { .. } => Ok(Node::Map(last_wins(
                given
                    .iter()
                    .map(|(key, value)| (key.to_string().into(), Node::Str(value.to_string())))
                    .collect(),
            ))),
            _ => match given.iter().find(|(key, _)| key == name) {
                Some((_, value)) => self.scalar(shape, member.time_format, value, TimeFormat::Iso8601),
                None => Ok(Node::Null),
            },
        }
    }

    fn header(&self, member: &Member, shape: &Shape, name: &str) -> Result<Node, String> {
        let mut texts = Vec::new();
        for value in self.parts.headers.get_all(name) {
            texts.push(
                value.to_str().map_err(|_| format!("The header {name} is not printable ASCII"))?.trim(),
            );
        }
        match (&shape.kind, texts.first()) {
            (_, None) => Ok(Node::Null),
            (Kind::List { member: item, .. }, _) => {
                let item = self.service.shape(*item);
                let parse = |text: &str| self.scalar(item, None, text, TimeFormat::Rfc822);
                // A date holds a comma of its own.
                let items = match item.kind {
                    Kind::Timestamp { .. } => {
                        texts.iter().map(|text| parse(text)).collect::<Result<_, _>>()?
                    }
                    _ => {
                        let split = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
                        split.map(parse).collect::<Result<_, _>>()?
                    }
                };
                Ok(Node::List(items))
            }
            (_, Some(text)) => self.scalar(shape, member.time_format, text, TimeFormat::Rfc822),
        }
    }

    fn headers(&self, prefix: &str) -> Node {
        let prefix = prefix.to_ascii_lowercase();
        let entry = |(name, value): (&HeaderName, &HeaderValue)| {
            let key = name.as_str().strip_prefix(&prefix)?;
            Some((key.to_owned().into(), Node::Str(value.to_str().ok()?.to_owned())))
        };
        let entries: Vec<_> = self.parts.headers.iter().filter_map(entry).collect();
        if entries.is_empty() { Node::Null } else { Node::Map(last_wins(entries)) }
    }
}

pub fn encode(
    protocol: Protocol,
    service: &'static Service,
    operation: &Operation,
    output: &Node,
) -> Result<Encoded, EncodeError> {
    let mut status = operation.http_status;
    let mut headers = HeaderMap::new();
    let Some(id) = operation.output else { return Ok(Encoded::new(status, None, Vec::new())) };
    let shape = service.shape(id);
    let (members, payload) = structure(service, id);
    for member in members {
        let Some(value) = output.get(member.name) else { continue };
        match (member.location, value) {
            (Location::StatusCode, Node::Int(code)) => status = u16::try_from(*code).unwrap_or(status),
            (Location::Header, value) => write_header(service, &mut headers, member, value)?,
            (Location::Headers, Node::Map(entries)) => {
                for (key, value) in entries {
                    let name = format!("{}{key}", member.wire_name());
                    insert(&mut headers, shape, &name, value.as_str().unwrap_or_default())?;
                }
            }
            _ => {}
        }
    }
    let (content_type, body) = match payload {
        Some(name) => {
            let member = members.iter().find(|member| member.name == name);
            let member = member.ok_or_else(|| EncodeError::member(shape, name))?;
            match output.get(name) {
                Some(value) => payload_out(protocol, service, member, value)?,
                None => (None, Vec::new()),
            }
        }
        None if !members.iter().any(|member| member.location == Location::Body) => (None, Vec::new()),
        None if protocol == Protocol::RestXml => {
            let mut writer = xml::Writer::new(service);
            writer.open_with_namespace(shape.name, service.xml_namespace);
            writer.members(id, output)?;
            writer.close(shape.name);
            (Some("application/xml"), writer.finish())
        }
        None => (Some("application/json"), json::encode(service, id, output)?),
    };
    let mut encoded = Encoded::new(status, content_type, body);
    encoded.headers.extend(headers);
    Ok(encoded)
}

fn insert(headers: &mut HeaderMap, shape: &Shape, name: &str, text: &str) -> Result<(), EncodeError> {
    let refuse = || EncodeError { shape: shape.name, found: format!("a header '{name}' of that value") };
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse())?;
    let value = HeaderValue::from_str(text).map_err(|_| refuse())?;
    headers.insert(name, value);
    Ok(())
}

fn write_header(
    service: &'static Service,
    headers: &mut HeaderMap,
    member: &Member,
    value: &Node,
) -> Result<(), EncodeError> {
    let shape = service.shape(member.shape);
    let text = |shape: &Shape, format: Option<TimeFormat>, node: &Node| {
        let mut text = String::new();
        let format = scalar::time_format(format, shape, TimeFormat::Rfc822);
        scalar::write(&mut text, node, shape, format)
            .map(|()| text)
            .ok_or_else(|| EncodeError::kind(shape, node))
    };
    let line = match (&shape.kind, value) {
        (Kind::List { member: item, .. }, Node::List(items)) => {
            let item = service.shape(*item);
            items.iter().map(|node| text(item, None, node)).collect::<Result<Vec<_>, _>>()?.join(", ")
        }
        _ => text(shape, member.time_format, value)?,
    };
    insert(headers, shape, member.wire_name(), &line)
}

fn payload_out(
    protocol: Protocol,
    service: &'static Service,
    member: &Member,
    value: &Node,
) -> Result<(Option<&'static str>, Vec<u8>), EncodeError> {
    let shape = service.shape(member.shape);
    match (&shape.kind, value) {
        (Kind::Blob { .. }, Node::Blob(bytes)) => Ok((Some("application/octet-stream"), bytes.to_vec())),
        (Kind::String { .. }, Node::Str(text)) => Ok((Some("text/plain"), text.clone().into_bytes())),
        (Kind::Structure { .. }, _) if protocol == Protocol::RestXml => {
            let mut writer = xml::Writer::new(service);
            // The element is called as the member where it says so, else as the shape.
            let name = member.location_name.unwrap_or(shape.name);
            writer.value(name, member.shape, false, None, value)?;
            Ok((Some("application/xml"), writer.finish()))
        }
        _ => Ok((Some("application/json"), json::encode(service, member.shape, value)?)),
    }
}

#[cfg(test)]
#[path = "rest_tests.rs"]
mod tests;
