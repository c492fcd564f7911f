//! The other side of awsJson, for our own programs (the agent, the command line): a signed request's
//! head and body, and what the answer means. Whatever HTTP client there is carries them.

use crate::protocol::{EncodeError, json};
use crate::sigv4::{SigningKeys, sign_request};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use std::borrow::Cow;
use towpath_api::model::{Kind, Operation, Protocol, Service};
use towpath_api::{ApiError, Fault, Node, Timestamp};

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("{service} has no operation {operation}")]
    NoOperation { service: &'static str, operation: String },
    #[error("{0} is not called over JSON")]
    NoJson(&'static str),
    #[error(transparent)]
    Input(#[from] EncodeError),
    #[error(transparent)]
    Http(#[from] http::Error),
}

/// A POST to the endpoint's root.
#[derive(Debug)]
pub struct JsonRequest {
    pub operation: &'static Operation,
    /// Signed; `host` and `content-length` are for the HTTP client to send.
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Encodes and signs one call. `keys.service` should be the model's `signing_name`.
pub fn json_request(
    service: &'static Service,
    operation: &str,
    input: &Node,
    endpoint: &Uri,
    keys: &SigningKeys,
    at: Timestamp,
) -> Result<JsonRequest, RequestError> {
    let no_operation =
        || RequestError::NoOperation { service: service.name, operation: operation.to_owned() };
    let operation = service.operation(operation).ok_or_else(no_operation)?;
    let json = |protocol: &&Protocol| matches!(protocol, Protocol::AwsJson10 | Protocol::AwsJson11);
    let protocol = service.protocols.iter().find(json).ok_or(RequestError::NoJson(service.name))?;
    let prefix = service.target_prefix.ok_or(RequestError::NoJson(service.name))?;
    let body = match operation.input {
        Some(shape) => json::encode(service, shape, input)?,
        None => b"{}".to_vec(),
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(json::content_type(*protocol)));
    let target = HeaderValue::from_str(&format!("{prefix}.{}", operation.name)).map_err(http::Error::from)?;
    headers.insert("x-amz-target", target);
    sign_request(keys, &Method::POST, endpoint, &mut headers, Some(&body), at)?;
    headers.remove(header::HOST);
    Ok(JsonRequest { operation, headers, body })
}

/// The output, or the error as the server meant it.
pub fn json_answer(
    service: &'static Service,
    operation: &Operation,
    status: u16,
    body: &[u8],
) -> Result<Node, ApiError> {
    if (200..300).contains(&status) {
        return match operation.output {
            Some(shape) => json::decode(service, shape, body),
            None => Ok(Node::Map(Vec::new())),
        };
    }
    let content: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |names: &[&str]| names.iter().find_map(|name| content.get(name)?.as_str()).map(str::to_owned);
    let code = text(&["__type", "code"]).unwrap_or_else(|| format!("HTTP{status}"));
    let code = code.rsplit('#').next().unwrap_or_default().to_owned();
    let message = text(&["message", "Message"]).unwrap_or_else(|| {
        format!(
            "The server answered with status {status}: {}",
            String::from_utf8_lossy(&body[..body.len().min(200)])
        )
    });
    let mut error = ApiError::client(code, message).with_status(status);
    if status >= 500 {
        error.fault = Fault::Server;
    }
    if let Some(shape) = service.shape_named(&error.shape)
        && let Kind::Structure { error: Some(modelled), .. } = &shape.kind
    {
        error.code = Cow::Borrowed(modelled.code);
    }
    Err(error)
}
