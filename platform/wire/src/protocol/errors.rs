//! An [`ApiError`] as each protocol shows it.

use super::{Context, Encoded, cbor, json, xml};
use http::HeaderValue;
use towpath_api::model::{Kind, Protocol, Service, Shape};
use towpath_api::{ApiError, Fault, Name, Node};

/// Errors that the shared vocabulary names as JSON does, and the query protocol by another name.
const QUERY_NAMES: &[(&str, &str)] = &[
    ("AccessDeniedException", "AccessDenied"),
    ("ExpiredTokenException", "ExpiredToken"),
    ("RequestEntityTooLargeException", "RequestEntityTooLarge"),
    ("RequestTimeoutException", "RequestTimeout"),
    ("SerializationException", "MalformedInput"),
    ("ThrottlingException", "Throttling"),
    ("UnknownOperationException", "InvalidAction"),
    ("UnrecognizedClientException", "InvalidClientTokenId"),
    ("ValidationException", "ValidationError"),
];

/// The other way round, for what an identity port says in the query protocol's words.
const JSON_NAMES: &[(&str, &str)] = &[
    ("AccessDenied", "AccessDeniedException"),
    ("ExpiredToken", "ExpiredTokenException"),
    ("InvalidClientTokenId", "UnrecognizedClientException"),
];

/// The error's own shape, where the model has it.
fn modelled(service: Option<&'static Service>, error: &ApiError) -> Option<&'static Shape> {
    let shape = service?.shape_named(&error.shape)?;
    matches!(shape.kind, Kind::Structure { error: Some(_), .. }).then_some(shape)
}

fn renamed<'e>(names: &'static [(&str, &'static str)], code: &'e str) -> &'e str {
    names.iter().find(|(name, _)| *name == code).map_or(code, |(_, other)| other)
}

/// The name of the member that holds the message: `message`, or `Message`.
fn message_member(shape: Option<&'static Shape>) -> &'static str {
    let Some(Shape { kind: Kind::Structure { members, .. }, .. }) = shape else { return "message" };
    members
        .iter()
        .find(|member| member.name.eq_ignore_ascii_case("message"))
        .map_or("message", |member| member.wire_name())
}

pub fn encode_error(context: &Context, error: &ApiError) -> Encoded {
    let shape = modelled(context.service, error);
    match context.protocol {
        Protocol::AwsJson10 | Protocol::AwsJson11 | Protocol::RestJson1 => json_error(context, error, shape),
        Protocol::RpcV2Cbor => cbor_error(context, error, shape),
        Protocol::AwsQuery | Protocol::RestXml => xml_error(context, error, shape),
    }
}

/// The name in `__type`: the shape for a modelled error, else the protocol's common name.
fn json_name<'e>(error: &'e ApiError, shape: Option<&'static Shape>) -> &'e str {
    shape.map_or_else(|| renamed(JSON_NAMES, &error.code), |shape| shape.name)
}

/// The error's members as its shape has them. A member that the shape does not have is a defect of the
/// service; the error itself matters more, so it goes out without.
fn members(error: &ApiError, shape: Option<&'static Shape>) -> Vec<(Name, Node)> {
    let Some(Shape { kind: Kind::Structure { members, .. }, .. }) = shape else { return Vec::new() };
    error
        .members
        .iter()
        .filter(|(name, _)| members.iter().any(|member| member.name == name))
        .cloned()
        .collect()
}

fn json_error(context: &Context, error: &ApiError, shape: Option<&'static Shape>) -> Encoded {
    let name = json_name(error, shape);
    let mut body = b"{\"__type\":".to_vec();
    json::write_string(&mut body, name);
    body.extend_from_slice(b",\"");
    body.extend_from_slice(message_member(shape).as_bytes());
    body.extend_from_slice(b"\":");
    json::write_string(&mut body, &error.message);
    if let (Some(service), Some(shape)) = (context.service, shape)
        && let Some(id) = service.shapes.iter().position(|other| std::ptr::eq(other, shape))
        && let Ok(extra) = json::encode(service, id as u16, &Node::Map(members(error, Some(shape))))
        && extra.len() > 2
    {
        body.push(b',');
        body.extend_from_slice(&extra[1..extra.len() - 1]);
    }
    body.push(b'}');
    let rest = context.protocol == Protocol::RestJson1;
    let status = if rest { error.status } else { rpc_status(error, shape) };
    let mut encoded = Encoded::new(status, Some(json::content_type(context.protocol)), body);
    if rest && let Ok(value) = HeaderValue::from_str(name) {
        encoded.headers.insert("x-amzn-errortype", value);
    }
    query_compatible(context, error, &mut encoded);
    encoded
}

/// awsJson services answer a denial with 400, unless they model another status for it.
fn rpc_status(error: &ApiError, shape: Option<&'static Shape>) -> u16 {
    match (error.status, shape.map(|shape| &shape.kind)) {
        (403, Some(Kind::Structure { error: Some(modelled), .. })) => modelled.status,
        (403, _) => 400,
        (status, _) => status,
    }
}

/// Services that once spoke the query protocol give its codes beside.
fn query_compatible(context: &Context, error: &ApiError, encoded: &mut Encoded) {
    if context.service.is_some_and(|service| service.query_compatible) {
        let fault = if error.fault == Fault::Client { "Sender" } else { "Receiver" };
        let code = renamed(QUERY_NAMES, &error.code);
        if let Ok(value) = HeaderValue::from_str(&format!("{code};{fault}")) {
            encoded.headers.insert("x-amzn-query-error", value);
        }
    }
}

fn cbor_error(context: &Context, error: &ApiError, shape: Option<&'static Shape>) -> Encoded {
    let namespace = context.service.map(|service| service.name).unwrap_or("towpath");
    let mut writer = cbor::Writer::new();
    let members = members(error, shape);
    writer.map(2 + members.len());
    writer.text("__type");
    writer.text(&format!("com.amazonaws.{namespace}#{}", json_name(error, shape)));
    writer.text(message_member(shape));
    writer.text(&error.message);
    if let (Some(service), Some(Shape { kind: Kind::Structure { members: modelled, .. }, .. })) =
        (context.service, shape)
    {
        for (name, value) in &members {
            let Some(member) = modelled.iter().find(|member| member.name == name) else { continue };
            writer.text(name);
            if writer.value(service, service.shape(member.shape), value).is_err() {
                writer.null();
            }
        }
    }
    let mut encoded = Encoded::new(rpc_status(error, shape), Some("application/cbor"), writer.finish());
    encoded.headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    query_compatible(context, error, &mut encoded);
    encoded
}

fn xml_error(context: &Context, error: &ApiError, shape: Option<&'static Shape>) -> Encoded {
    let code = if shape.is_some() { error.code.as_ref() } else { renamed(QUERY_NAMES, &error.code) };
    let fault = if error.fault == Fault::Client { "Sender" } else { "Receiver" };
    let mut body = String::from("<ErrorResponse");
    if let Some(namespace) = context.service.and_then(|service| service.xml_namespace) {
        body.push_str(" xmlns=\"");
        xml::escape(&mut body, namespace);
        body.push('"');
    }
    body.push_str(&format!("><Error><Type>{fault}</Type><Code>"));
    xml::escape(&mut body, code);
    body.push_str("</Code><Message>");
    xml::escape(&mut body, &error.message);
    body.push_str("</Message>");
    if let (Some(service), Some(Shape { kind: Kind::Structure { members: modelled, .. }, .. })) =
        (context.service, shape)
    {
        for (name, value) in members(error, shape) {
            let Some(member) = modelled.iter().find(|member| member.name == name) else { continue };
            let mut writer = xml::Writer::new(service);
            if writer
                .value(member.wire_name(), member.shape, member.flattened, member.time_format, &value)
                .is_ok()
            {
                body.push_str(&String::from_utf8_lossy(&writer.finish()));
            }
        }
    }
    body.push_str("</Error><RequestId>");
    xml::escape(&mut body, context.request_id);
    body.push_str("</RequestId></ErrorResponse>");
    Encoded::new(error.status, Some("text/xml"), body.into_bytes())
}
