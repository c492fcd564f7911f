//! One RPC request, from its head to its answer.

use super::auth::{Expected, Pending};
use super::handler::{Peer, Response, full};
use super::{BODY_TIMEOUT, Observation, Server, body, panic_text, stamp};
use crate::paging;
use crate::protocol::{self, Context, Encoded};
use crate::route::{Rpc, Target};
use crate::validate;
use bytes::Bytes;
use http::request::Parts;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Instant;
use towpath_api::model::{Operation, Protocol, Service};
use towpath_api::{ApiError, Call, Node};

/// What is known of a request, growing as it is worked on; kept so that it can be observed and answered
/// wherever the work ends.
struct Work {
    server: Arc<Server>,
    protocol: Protocol,
    parts: Parts,
    service: Option<usize>,
    operation: Option<&'static Operation>,
    operation_name: Option<String>,
    call: Option<Call>,
    /// Kept for the observer only.
    input: Option<Node>,
    output: Option<Node>,
}

pub(super) async fn answer(
    server: Arc<Server>,
    rpc: Rpc,
    parts: Parts,
    body: Incoming,
    request_id: String,
    peer: Peer,
) -> Response {
    let started = Instant::now();
    let mut work = Work {
        server,
        protocol: rpc.protocol,
        parts,
        service: None,
        operation: None,
        operation_name: None,
        call: None,
        input: None,
        output: None,
    };
    let outcome = work.run(rpc.target, body).await;
    let model = work.model();
    let context = Context {
        protocol: work.protocol,
        service: model,
        operation: work.operation,
        request_id: &request_id,
    };
    let (encoded, error) = match outcome {
        Ok(encoded) => (encoded, None),
        Err(error) => {
            log(&error, &request_id, &work);
            (protocol::encode_error(&context, &error), Some(error))
        }
    };
    if let Some(observer) = &work.server.observer {
        observer(&Observation {
            request_id: &request_id,
            service: model.map(|model| model.name),
            operation: work.operation_name.as_deref(),
            call: work.call.as_ref(),
            input: work.input.as_ref(),
            output: work.output.as_ref(),
            error: error.as_ref(),
            user_agent: work.parts.headers.get("user-agent").and_then(|value| value.to_str().ok()),
            peer,
            duration: started.elapsed(),
        });
    }
    let mut response = response(encoded);
    stamp(&mut response, super::REQUEST_ID, &request_id);
    response
}

fn response(encoded: Encoded) -> Response {
    let mut response = http::Response::new(full(encoded.body));
    *response.status_mut() =
        http::StatusCode::from_u16(encoded.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = encoded.headers;
    response
}

/// A server's fault is logged once, here, with its whole chain of causes.
fn log(error: &ApiError, request_id: &str, work: &Work) {
    let operation = work.operation_name.as_deref().unwrap_or("-");
    let service = work.model().map(|model| model.name).unwrap_or("-");
    if error.status < 500 || error.status == 501 {
        // The text of a wrong signature repeats the request's headers, a session token among them.
        let message = work.call.as_ref().map_or("", |_| error.message.as_str());
        tracing::debug!(request_id, service, operation, code = %error.code, message, "refused");
        return;
    }
    let mut causes = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        causes.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    tracing::error!(request_id, service, operation, code = %error.code, "failed{causes}");
}

impl Work {
    fn model(&self) -> Option<&'static Service> {
        self.service.map(|service| self.server.router.model(service))
    }

    async fn run(&mut self, target: Target, body: Incoming) -> Result<Encoded, ApiError> {
        let (service, name) = named(&target);
        (self.service, self.operation_name) = (service, name);
        let pending = match self.begin(&target).await {
            Ok(pending) => pending,
            Err(error) => {
                // Who waits for a 100 (Continue) sends nothing that would have to be taken; reading would
                // ask for it.
                if !self.parts.headers.contains_key(http::header::EXPECT) {
                    body::discard(body).await;
                }
                return Err(error);
            }
        };
        let limit_bytes =
            self.server.body_limit_bytes(self.model().map(|model| model.name).unwrap_or_default());
        let raw = body::read(body, limit_bytes, BODY_TIMEOUT).await.map_err(|error| error.to_api_error())?;
        let credential = pending
            .finish(&self.parts, super::auth::Payload::Bytes(&raw))
            .map_err(|error| error.into_api_error(protocol::dialect(self.protocol)))?;
        let call = self.server.authenticator.call(&self.parts, credential);
        self.call = Some(call.clone());
        let (service, operation, labels, form) = self.resolve(target, &raw)?;
        self.operation = Some(operation);
        let content = self.inflate(operation, raw, limit_bytes)?;
        let model = self.server.router.model(service);
        let mut input = match form {
            Some(form) => protocol::query::decode(model, operation, form)?,
            None => protocol::decode_input(self.protocol, model, operation, &self.parts, &labels, &content)?,
        };
        if self.server.observer.is_some() {
            self.input = Some(input.clone());
        }
        validate::check(model, operation, &input)?;
        let seal = paging::open(&call, model, operation, &mut input)?;
        let mut output = self.dispatch(service, operation.name, call.clone(), input).await?;
        if let Some(seal) = seal {
            seal.close(&mut output);
        }
        let context = Context {
            protocol: self.protocol,
            service: Some(model),
            operation: Some(operation),
            request_id: &call.request_id,
        };
        let encoded = protocol::encode_output(&context, operation, &output).map_err(ApiError::internal)?;
        if self.server.observer.is_some() {
            self.output = Some(output);
        }
        Ok(encoded)
    }

    /// What the head shows, before a byte of the body is read.
    async fn begin(&self, target: &Target) -> Result<Pending, ApiError> {
        let globals = &self.server.globals;
        let signing_name = match target {
            Target::UnknownService { signing_name, .. } => signing_name.clone().unwrap_or_default(),
            _ => self.model().map(|model| model.signing_name).unwrap_or_default().to_owned(),
        };
        let global = self.model().is_none_or(|model| globals.iter().any(|global| global == model.name));
        let expected = Expected { service: &signing_name, global };
        let begun = self.server.authenticator.begin(&self.parts, expected).await;
        begun.map_err(|error| error.into_api_error(protocol::dialect(self.protocol)))
    }

    /// Names the operation, or refuses by name.
    #[allow(clippy::type_complexity)]
    fn resolve(
        &mut self,
        target: Target,
        raw: &Bytes,
    ) -> Result<
        (usize, &'static Operation, Vec<(&'static str, String)>, Option<protocol::query::Form>),
        ApiError,
    > {
        let (target, form) = match target {
            Target::Action { service, action } => {
                let form = protocol::query::parse_form(self.parts.uri.query(), raw)?;
                let name = action.or_else(|| form.value("Action").map(str::to_owned));
                let Some(name) = name.filter(|name| !name.is_empty()) else {
                    return Err(ApiError::client(
                        "MissingAction",
                        "The request must contain the parameter Action.",
                    ));
                };
                let model = self.server.router.model(service);
                self.operation_name = Some(name.clone());
                if let Some(version) = form.value("Version").filter(|version| *version != model.api_version) {
                    return Err(unknown_operation(&name, version));
                }
                (self.server.router.action(service, &name), Some(form))
            }
            other => (other, None),
        };
        match target {
            Target::Operation { service, operation, labels } => Ok((service, operation, labels, form)),
            Target::Refused { service, name } => {
                Err(ApiError::not_implemented(format!("{}:{name}", self.server.router.model(service).name)))
            }
            Target::UnknownService { name, .. } => Err(ApiError::not_implemented(name)),
            Target::UnknownOperation { service, name } | Target::Action { service, action: Some(name) } => {
                Err(unknown_operation(&name, self.server.router.model(service).api_version))
            }
            Target::Action { service, action: None } => {
                Err(unknown_operation("", self.server.router.model(service).api_version))
            }
        }
    }

    fn inflate(&self, operation: &Operation, raw: Bytes, limit_bytes: usize) -> Result<Bytes, ApiError> {
        let encoding = self.parts.headers.get("content-encoding").map(|value| value.to_str().unwrap_or("?"));
        match encoding {
            // `amz-1.0` is what old SDKs put there for plain JSON.
            None | Some("" | "identity" | "amz-1.0") => Ok(raw),
            Some("gzip") if operation.request_compression.contains(&"gzip") => {
                body::gunzip(&raw, limit_bytes).map_err(|error| error.to_api_error())
            }
            Some(other) => Err(protocol::malformed(
                self.protocol,
                format!("The Content-Encoding '{other}' is not supported for {}.", operation.name),
            )),
        }
    }

    /// Runs the handler on a task of its own: a client that hangs up does not stop it half-way, and its
    /// panic is caught here.
    async fn dispatch(
        &self,
        service: usize,
        name: &'static str,
        call: Call,
        input: Node,
    ) -> Result<Node, ApiError> {
        let handler = self.server.router.service(service).clone();
        let permit = self.server.places(name).acquire_owned().await.map_err(ApiError::internal)?;
        let task = tokio::spawn(async move {
            let _permit = permit;
            handler.dispatch(&call, name, input).await
        });
        match task.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => {
                let panic = error.into_panic();
                Err(ApiError::internal(format!("the handler panicked: {}", panic_text(&*panic))))
            }
            Err(error) => Err(ApiError::internal(error)),
        }
    }
}

fn unknown_operation(name: &str, version: &str) -> ApiError {
    let message = format!("Could not find operation {name} for version {version}");
    ApiError::client("UnknownOperationException", message)
}

/// What a target says about service and operation, for logs and audit.
fn named(target: &Target) -> (Option<usize>, Option<String>) {
    match target {
        Target::Operation { service, operation, .. } => (Some(*service), Some(operation.name.to_owned())),
        Target::Action { service, action } => (Some(*service), action.clone()),
        Target::UnknownOperation { service, name } | Target::Refused { service, name } => {
            (Some(*service), Some(name.clone()))
        }
        Target::UnknownService { name, .. } => (None, Some(name.clone())),
    }
}
