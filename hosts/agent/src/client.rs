//! Signed requests to the server, over a connection that is kept.
//!
//! Credentials stay in here: they are in no log, no error and no script's environment.

use crate::reach::Reach;
use crate::trust::{self, Authority};
use crate::{AgentError, Config, Credentials};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use std::fmt;
use std::io::Read;
use std::time::Duration;
use towpath_api::model::Service;
use towpath_api::{ApiError, Clock, Fault, Node, SystemClock};
use towpath_wire::client::{json_answer, json_request};
use towpath_wire::sigv4::{SigningKeys, sign_request};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::DefaultConnector;

/// An answer is small; a bundle is streamed and not read through here.
const MAX_ANSWER_BYTES: u64 = 4 << 20;
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Longer than any server holds a poll open.
const POLL_TIMEOUT: Duration = Duration::from_secs(90);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a call gave no output.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there: a server that restarts. Asking again soon costs nothing.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Network(String),
    #[error("{} ({})", .0.message, .0.code)]
    Api(ApiError),
    #[error("{0}")]
    Protocol(String),
}

impl CallError {
    /// Whether the same call may succeed later. What the server refused for good does not.
    pub fn is_passing(&self) -> bool {
        const PASSING: [&str; 12] = [
            "ThrottlingException",
            "Throttling",
            "TooManyRequestsException",
            "RequestLimitExceeded",
            "SlowDown",
            "RequestTimeTooSkewed",
            "ExpiredToken",
            "ExpiredTokenException",
            "UnrecognizedClientException",
            "InvalidSignatureException",
            "InvalidClientTokenId",
            "SignatureDoesNotMatch",
        ];
        match self {
            CallError::Refused(_) | CallError::Network(_) => true,
            CallError::Api(error) => error.status >= 500 || PASSING.contains(&error.code.as_ref()),
            CallError::Protocol(_) => false,
        }
    }

    pub fn is_denied(&self) -> bool {
        matches!(self, CallError::Api(error)
            if matches!(error.code.as_ref(), "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation"))
    }

    pub fn code(&self) -> &str {
        match self {
            CallError::Api(error) => &error.code,
            _ => "",
        }
    }
}

/// The server, as this agent's identity sees it.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    endpoint: Uri,
    region: String,
    credentials: Credentials,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "Client({})", self.endpoint)
    }
}

impl Client {
    pub fn new(config: &Config) -> Result<Client, AgentError> {
        let Config { endpoint, region, credentials, connect_to, .. } = config;
        let invalid = |reason: &str| AgentError::Endpoint(endpoint.clone(), reason.to_owned());
        let uri: Uri = endpoint.trim_end_matches('/').parse().map_err(|_| invalid("it is no URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(invalid("it must begin with http:// or https://"));
        }
        if uri.path() != "/" && !uri.path().is_empty() || uri.query().is_some() {
            return Err(invalid("it must have no path"));
        }
        let host = uri.host().ok_or_else(|| invalid("it names no host"))?;
        let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]") || connect_to.is_some();
        let proxy = if local { None } else { ureq::Proxy::try_from_env() };
        let mut settings = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(2)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .proxy(proxy)
            .user_agent(concat!("towpath-agent/", env!("CARGO_PKG_VERSION")));
        if uri.scheme_str() == Some("https") {
            let authority = config.authority.as_deref().map(Authority::parse);
            settings = settings.tls_config(trust::tls_config(authority.as_slice())?);
        }
        let reach = Reach { connect_to: *connect_to, by_name: DefaultResolver::default() };
        let agent = ureq::Agent::with_parts(settings.build(), DefaultConnector::new(), reach);
        Ok(Client { agent, endpoint: uri, region: region.clone(), credentials: credentials.clone() })
    }

    pub fn endpoint(&self) -> String {
        self.endpoint.to_string().trim_end_matches('/').to_owned()
    }

    /// The same server, under another identity.
    pub fn with_credentials(&self, credentials: Credentials) -> Client {
        Client { credentials, ..self.clone() }
    }

    fn keys<'a>(&'a self, service: &'a str) -> SigningKeys<'a> {
        SigningKeys {
            access_key_id: &self.credentials.access_key_id,
            secret_access_key: &self.credentials.secret_access_key,
            session_token: self.credentials.session_token.as_deref(),
            region: &self.region,
            service,
        }
    }

    /// Calls an operation of a service that speaks awsJson.
    pub fn call(&self, service: &'static Service, operation: &str, input: &Node) -> Result<Node, CallError> {
        let keys = self.keys(service.signing_name);
        let built = json_request(service, operation, input, &self.endpoint, &keys, SystemClock.now())
            .map_err(|error| CallError::Protocol(error.to_string()))?;
        let timeout = if operation == "PollHostCommand" { POLL_TIMEOUT } else { CALL_TIMEOUT };
        let (status, body) = self.post(built.headers, built.body, timeout)?;
        json_answer(service, built.operation, status, &body).map_err(CallError::Api)
    }

    /// Calls an operation of a service that speaks awsQuery; the answer is its XML.
    pub fn query(
        &self,
        service: &'static Service,
        operation: &str,
        parameters: &[(&str, &str)],
    ) -> Result<String, CallError> {
        let mut form = format!("Action={operation}&Version={}", service.api_version);
        for (name, value) in parameters {
            form += &format!("&{name}={}", towpath_wire::uri::encode(value));
        }
        let mut headers = HeaderMap::new();
        headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"),
        );
        let keys = self.keys(service.signing_name);
        let body = form.into_bytes();
        sign_request(&keys, &Method::POST, &self.endpoint, &mut headers, Some(&body), SystemClock.now())
            .map_err(|error| CallError::Protocol(error.to_string()))?;
        headers.remove(http::header::HOST);
        let (status, body) = self.post(headers, body, CALL_TIMEOUT)?;
        let text = String::from_utf8_lossy(&body).into_owned();
        if (200..300).contains(&status) {
            return Ok(text);
        }
        Err(CallError::Api(xml_error(status, &text)))
    }

    fn post(
        &self,
        headers: HeaderMap,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<(u16, Vec<u8>), CallError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.endpoint)
            .body(body)
            .map_err(|error| CallError::Protocol(error.to_string()))?;
        *request.headers_mut() = headers;
        let request = self.agent.configure_request(request).timeout_global(Some(timeout)).build();
        let response = self.agent.run(request).map_err(|error| self.failed(error))?;
        let status = response.status().as_u16();
        let mut content = Vec::new();
        let mut reader = response.into_body().into_reader().take(MAX_ANSWER_BYTES);
        reader
            .read_to_end(&mut content)
            .map_err(|error| CallError::Network(format!("the answer broke off: {error}")))?;
        Ok((status, content))
    }

    /// GETs an object; the body is for the caller to read.
    pub fn get_object(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Response<ureq::Body>, CallError> {
        let protocol = |error: &dyn fmt::Display| CallError::Protocol(error.to_string());
        let path: Vec<String> = key.split('/').map(towpath_wire::uri::encode).collect();
        let mut url = format!("{}/{}/{}", self.endpoint(), towpath_wire::uri::encode(bucket), path.join("/"));
        if let Some(version) = version {
            url += &format!("?versionId={}", towpath_wire::uri::encode(version));
        }
        let uri: Uri = url.parse().map_err(|error| protocol(&error))?;
        let mut headers = HeaderMap::new();
        sign_request(&self.keys("s3"), &Method::GET, &uri, &mut headers, Some(b""), SystemClock.now())
            .map_err(|error| protocol(&error))?;
        headers.remove(http::header::HOST);
        let mut request =
            Request::builder().method(Method::GET).uri(uri).body(()).map_err(|error| protocol(&error))?;
        *request.headers_mut() = headers;
        let request = self.agent.configure_request(request).timeout_recv_response(Some(CALL_TIMEOUT)).build();
        let response = self.agent.run(request).map_err(|error| self.failed(error))?;
        let status = response.status().as_u16();
        if status == 200 {
            return Ok(response);
        }
        let mut text = String::new();
        response.into_body().into_reader().take(64 << 10).read_to_string(&mut text).ok();
        Err(CallError::Api(xml_error(status, &text)))
    }

    fn failed(&self, error: ureq::Error) -> CallError {
        let text = format!("{} cannot be reached: {error}", self.endpoint());
        match error {
            ureq::Error::Io(cause) if cause.kind() == std::io::ErrorKind::ConnectionRefused => {
                CallError::Refused(text)
            }
            ureq::Error::ConnectionFailed => CallError::Refused(text),
            _ => CallError::Network(text),
        }
    }
}

/// The error of a service that answers in XML.
fn xml_error(status: u16, text: &str) -> ApiError {
    let code = element(text, "Code").map(str::to_owned).unwrap_or_else(|| format!("HTTP{status}"));
    let message = element(text, "Message")
        .map(str::to_owned)
        .unwrap_or_else(|| format!("the server answered with status {status}"));
    let mut error = ApiError::client(code, message).with_status(status);
    if status >= 500 {
        error.fault = Fault::Server;
    }
    error
}

/// The text of an answer's first element of that name.
pub fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    elements(xml, name).next()
}

/// The texts of all elements of that name, in order.
pub fn elements<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let start = rest.find(&open)? + open.len();
        let end = start + rest[start..].find(&close)?;
        let text = &rest[start..end];
        rest = &rest[end..];
        Some(text)
    })
}
