//! Which service and operation a request is for, from its head alone, in the order in which the marks
//! are unambiguous: `X-Amz-Target`, a `smithy-protocol` header, the credential scope, a query or form
//! `Action`; whatever is left is S3's.
//!
//! Several services share one port, so a mark that names no service of ours leads to a refusal by name,
//! never to a guess.

use crate::protocol::rest;
use crate::sigv4;
use crate::uri;
use http::request::Parts;
use http::{Method, header};
use std::collections::BTreeMap;
use std::sync::Arc;
use towpath_api::Dispatch;
use towpath_api::model::{Operation, Protocol, Service};

/// Where a request goes.
pub enum Route<'r> {
    Rpc(Rpc),
    /// A handler mounted under a path prefix.
    Mount(&'r str),
    /// A browser's unsigned GET of `/`.
    Home,
    S3,
}

/// A request in one of the modelled protocols.
pub struct Rpc {
    pub protocol: Protocol,
    pub target: Target,
}

/// What it asks for.
pub enum Target {
    Operation {
        service: usize,
        operation: &'static Operation,
        labels: Vec<(&'static str, String)>,
    },
    /// The query protocol names its operation in the body, unless the URL does.
    Action {
        service: usize,
        action: Option<String>,
    },
    /// A service of ours, an operation that its model does not have.
    UnknownOperation {
        service: usize,
        name: String,
    },
    /// A service of ours, an operation that the manifest leaves out.
    Refused {
        service: usize,
        name: String,
    },
    /// No service of ours; as the request names it (`AmazonSSM.GetParameter`).
    UnknownService {
        name: String,
        signing_name: Option<String>,
    },
}

/// The services behind one port.
pub struct Router {
    services: Vec<Arc<dyn Dispatch>>,
    by_target: BTreeMap<&'static str, usize>,
    /// Several services may be signed for under one name.
    by_signing_name: BTreeMap<&'static str, Vec<usize>>,
}

const CBOR: &str = "rpc-v2-cbor";
const CBOR_TYPES: &[&str] = &["application/cbor"];
const JSON_TYPES: &[&str] = &["application/x-amz-json-1.1", "application/x-amz-json-1.0", "application/json"];

fn text<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name).and_then(|value| value.to_str().ok())
}

/// The media type without its parameters.
fn content_type(parts: &Parts) -> &str {
    text(parts, header::CONTENT_TYPE.as_str())
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
}

/// Whether a request is sent as the RPC protocols send theirs: by POST, and as a media type of `types` where
/// it names one. Another media type or method would be another protocol's.
fn is_post_of(parts: &Parts, types: &[&str]) -> bool {
    let sent = content_type(parts);
    parts.method == Method::POST && (sent.is_empty() || types.contains(&sent))
}

/// The service that a signature is scoped to, wherever it stands.
fn scope_service(parts: &Parts) -> Option<String> {
    let credential = match text(parts, "authorization") {
        Some(value) => value.split("Credential=").nth(1)?.split(',').next()?.trim().to_owned(),
        None => uri::query_value(parts.uri.query(), "X-Amz-Credential")?.into_owned(),
    };
    sigv4::parse_credential_scope(&credential).map(|scope| scope.service)
}

impl Router {
    pub fn new(services: Vec<Arc<dyn Dispatch>>) -> Self {
        let (mut by_target, mut by_signing_name) = (BTreeMap::new(), BTreeMap::<_, Vec<usize>>::new());
        for (index, service) in services.iter().enumerate() {
            let model = service.model();
            if let Some(prefix) = model.target_prefix {
                by_target.insert(prefix, index);
            }
            by_signing_name.entry(model.signing_name).or_default().push(index);
        }
        Router { services, by_target, by_signing_name }
    }

    pub fn service(&self, index: usize) -> &Arc<dyn Dispatch> {
        &self.services[index]
    }

    pub fn model(&self, index: usize) -> &'static Service {
        self.services[index].model()
    }

    /// `mounts` are path prefixes with a handler of their own.
    pub fn route<'r>(&self, parts: &Parts, mounts: impl Iterator<Item = &'r str>) -> Route<'r> {
        if let Some(target) = text(parts, "x-amz-target") {
            return Route::Rpc(self.by_target(target, parts));
        }
        if let (Some(protocol), Some((service, operation))) =
            (text(parts, "smithy-protocol"), smithy_path(parts.uri.path()))
        {
            return Route::Rpc(self.by_smithy(protocol, service, operation, parts));
        }
        let scope = scope_service(parts);
        if scope.as_deref() == Some("s3") || sigv4::v2::parse(parts).is_some() {
            return Route::S3;
        }
        let path = parts.uri.path();
        let mount = mounts.filter(|prefix| path.starts_with(prefix)).max_by_key(|prefix| prefix.len());
        if let Some(prefix) = mount {
            return Route::Mount(prefix);
        }
        if let Some(scope) = scope {
            return Route::Rpc(self.by_scope(&scope, parts));
        }
        if is_query(parts) {
            let name = uri::query_value(parts.uri.query(), "Action").unwrap_or_default().into_owned();
            let target = Target::UnknownService { name, signing_name: None };
            return Route::Rpc(Rpc { protocol: Protocol::AwsQuery, target });
        }
        let browser = parts.method == Method::GET || parts.method == Method::HEAD;
        if path == "/" && browser && parts.uri.query().is_none() && text(parts, "authorization").is_none() {
            return Route::Home;
        }
        Route::S3
    }

    fn named(&self, service: usize, name: &str) -> Target {
        let model = self.model(service);
        match model.operation(name) {
            Some(operation) => Target::Operation { service, operation, labels: Vec::new() },
            None if model.refused.contains(&name) => Target::Refused { service, name: name.to_owned() },
            None => Target::UnknownOperation { service, name: name.to_owned() },
        }
    }

    /// `CodePipeline_20150709.GetPipeline`.
    fn by_target(&self, target: &str, parts: &Parts) -> Rpc {
        let (prefix, name) = target.rsplit_once('.').unwrap_or((target, ""));
        let sent =
            if content_type(parts).ends_with("1.0") { Protocol::AwsJson10 } else { Protocol::AwsJson11 };
        match self.by_target.get(prefix) {
            None => {
                let signing_name = scope_service(parts);
                Rpc {
                    protocol: sent,
                    target: Target::UnknownService { name: target.to_owned(), signing_name },
                }
            }
            Some(&service) => {
                let listed = self.model(service).protocols;
                let either = [Protocol::AwsJson10, Protocol::AwsJson11];
                let own = listed.iter().copied().find(|protocol| either.contains(protocol));
                let protocol = if listed.contains(&sent) { sent } else { own.unwrap_or(sent) };
                let target = match is_post_of(parts, JSON_TYPES) {
                    true => self.named(service, name),
                    false => Target::UnknownOperation { service, name: name.to_owned() },
                };
                Rpc { protocol, target }
            }
        }
    }

    fn by_smithy(&self, protocol: &str, service: &str, operation: &str, parts: &Parts) -> Rpc {
        let scoped = scope_service(parts);
        let found = self.by_target.get(service).copied().or_else(|| {
            self.by_signing_name.get(scoped.as_deref()?).and_then(|services| services.first()).copied()
        });
        let name = format!("{service}.{operation}");
        let target = match found {
            Some(found) if protocol == CBOR && is_post_of(parts, CBOR_TYPES) => self.named(found, operation),
            Some(service) if protocol == CBOR => {
                Target::UnknownOperation { service, name: operation.to_owned() }
            }
            _ => Target::UnknownService { name, signing_name: scoped },
        };
        Rpc { protocol: Protocol::RpcV2Cbor, target }
    }

    fn by_scope(&self, scope: &str, parts: &Parts) -> Rpc {
        let services = self.by_signing_name.get(scope).map(Vec::as_slice).unwrap_or_default();
        if is_query(parts) {
            return Rpc { protocol: Protocol::AwsQuery, target: self.query_target(scope, services, parts) };
        }
        let rest = |protocol: &Protocol| matches!(protocol, Protocol::RestJson1 | Protocol::RestXml);
        for &service in services {
            let model = self.model(service);
            let Some(protocol) = model.protocols.iter().copied().find(rest) else { continue };
            if let Some((operation, labels)) = rest::find_operation(model, parts) {
                return Rpc { protocol, target: Target::Operation { service, operation, labels } };
            }
        }
        let name = format!("{} {}", parts.method, parts.uri.path());
        match services.first() {
            Some(&service) => {
                let protocol = self.model(service).protocols.first().copied().unwrap_or(Protocol::RestJson1);
                Rpc { protocol, target: Target::UnknownOperation { service, name } }
            }
            None => {
                let xml = content_type(parts).ends_with("xml");
                let protocol = if xml { Protocol::RestXml } else { Protocol::RestJson1 };
                let name = format!("{scope}:{name}");
                Rpc {
                    protocol,
                    target: Target::UnknownService { name, signing_name: Some(scope.to_owned()) },
                }
            }
        }
    }

    fn query_target(&self, scope: &str, services: &[usize], parts: &Parts) -> Target {
        let action = uri::query_value(parts.uri.query(), "Action").map(|action| action.into_owned());
        let query = |service: &&usize| self.model(**service).protocols.contains(&Protocol::AwsQuery);
        match services.iter().find(query).copied() {
            Some(service) => Target::Action { service, action },
            None => Target::UnknownService {
                name: format!("{scope}:{}", action.unwrap_or_default()),
                signing_name: Some(scope.to_owned()),
            },
        }
    }

    /// Resolves [`Target::Action`] once the form was read.
    pub fn action(&self, service: usize, name: &str) -> Target {
        self.named(service, name)
    }
}

/// `/service/X/operation/Y`, possibly below a prefix.
fn smithy_path(path: &str) -> Option<(&str, &str)> {
    let mut parts = path.rsplit('/');
    let operation = parts.next()?;
    let marks = (parts.next()?, parts.next()?, parts.next()?);
    match marks {
        ("operation", service, "service") if !service.is_empty() && !operation.is_empty() => {
            Some((service, operation))
        }
        _ => None,
    }
}

/// A form, or a query string with an `Action`.
fn is_query(parts: &Parts) -> bool {
    content_type(parts) == "application/x-www-form-urlencoded" && parts.method == Method::POST
        || uri::has_query(parts.uri.query(), "Action")
}
