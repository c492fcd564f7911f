//! A worker's requests to its servers, over connections that are kept. The token is in no log and no error.
//!
//! Several servers are nodes over one database: each answers for every build. A worker stays with one for as
//! long as it answers, and then goes to the next.

use super::protocol::{COMMIT_HEADER, DELIVERY_HEADER, Delivery, KEEP_WAIT_MS};
use super::worker::WorkerError;
use http::{HeaderMap, Request, Response, Uri, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use ureq::AsSendBody;
use ureq::tls::TlsConfig;

const MAX_ANSWER_BYTES: u64 = 64 << 20;
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Longer than any server holds a request open.
const CALL_TIME: Duration = Duration::from_secs(15);
/// The same for a renewal: the lease must last for another server's answer.
const KEEP_TIME: Duration = Duration::from_millis(2 * KEEP_WAIT_MS);
const TRANSFER_TIME: Duration = Duration::from_secs(3600);

/// Why a request had no answer of use.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answered, or not to the end: the same request may succeed later.
    #[error("{0}")]
    Unreachable(String),
    #[error("{message} ({code})")]
    Refused { status: u16, code: String, message: String },
    #[error("{0}")]
    Local(String),
}

impl CallError {
    pub fn is_passing(&self) -> bool {
        match self {
            CallError::Unreachable(_) => true,
            CallError::Refused { status, .. } => *status >= 500 || *status == 429,
            CallError::Local(_) => false,
        }
    }

    /// The build is not this worker's any more, or nothing is.
    pub fn is_loss(&self) -> bool {
        matches!(self, CallError::Refused { status: 401 | 409, .. })
    }

    pub fn is_unknown_token(&self) -> bool {
        matches!(self, CallError::Refused { status: 401, .. })
    }
}

/// One server of several, and how to reach it.
struct Endpoint {
    url: String,
    agent: ureq::Agent,
}

/// The servers, as this worker's token opens them.
#[derive(Clone)]
pub struct Client {
    endpoints: Arc<[Endpoint]>,
    /// The number of requests that found nobody: the number of the server to ask, when counted in rounds.
    moves: Arc<AtomicUsize>,
    bearer: String,
}

impl Endpoint {
    fn new(endpoint: &str, tls: Option<TlsConfig>) -> Result<Endpoint, WorkerError> {
        let invalid = |reason: &str| WorkerError::Endpoint(endpoint.to_owned(), reason.to_owned());
        let url = endpoint.trim_end_matches('/').to_owned();
        let uri: Uri = url.parse().map_err(|_| invalid("it is no URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(invalid("it must begin with http:// or https://"));
        }
        if uri.path() != "/" && !uri.path().is_empty() || uri.query().is_some() {
            return Err(invalid("it must have no path"));
        }
        let host = uri.host().ok_or_else(|| invalid("it names no host"))?;
        let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        let proxy = if local { None } else { ureq::Proxy::try_from_env() };
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIME))
            .proxy(proxy)
            .user_agent(concat!("towpath-worker/", env!("CARGO_PKG_VERSION")));
        let config = match tls {
            Some(tls) => config.tls_config(tls),
            None => config,
        };
        Ok(Endpoint { url, agent: config.build().into() })
    }
}

impl Client {
    /// For at least one endpoint.
    pub fn new(
        endpoints: &[String],
        token: &str,
        tls: Option<TlsConfig>,
        moves: Arc<AtomicUsize>,
    ) -> Result<Client, WorkerError> {
        let bearer = format!("Bearer {token}");
        if http::HeaderValue::from_str(&bearer).is_err() {
            return Err(WorkerError::Token("it is not a token's text".to_owned()));
        }
        if endpoints.is_empty() {
            return Err(WorkerError::Endpoint(String::new(), "there is none".to_owned()));
        }
        let made = endpoints.iter().map(|endpoint| Endpoint::new(endpoint, tls.clone()));
        let endpoints = made.collect::<Result<Vec<_>, _>>()?.into();
        Ok(Client { endpoints, moves, bearer })
    }

    /// The server that is asked next.
    pub fn endpoint(&self) -> &str {
        &self.server(self.moves.load(Ordering::Relaxed)).url
    }

    fn server(&self, moves: usize) -> &Endpoint {
        &self.endpoints[moves % self.endpoints.len()]
    }

    /// From now on the next server is asked, unless another request has moved on from this one already.
    fn move_on(&self, from: usize) {
        let moved =
            self.moves.compare_exchange(from, from.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
        if moved.is_ok() && self.endpoints.len() > 1 {
            tracing::info!(from = self.server(from).url, to = self.endpoint(), "going to another server");
        }
    }

    /// Asks and is answered in JSON.
    pub async fn call<I, O>(&self, name: &'static str, input: &I) -> Result<O, CallError>
    where
        I: Serialize,
        O: DeserializeOwned + Send + 'static,
    {
        let content = serde_json::to_vec(input).map_err(|error| CallError::Local(error.to_string()))?;
        let client = self.clone();
        blocking(move || {
            client.turn(|server| {
                let head = (header::CONTENT_TYPE, "application/json");
                let longest = if name == "keep" { KEEP_TIME } else { CALL_TIME };
                parse(server.run(client.request(server, name, head, content.as_slice())?, longest)?)
            })
        })
        .await
    }

    /// Asks in JSON and writes the answer's body into a new file; the commit that it names.
    pub async fn download<I: Serialize>(
        &self,
        name: &'static str,
        input: &I,
        target: &Path,
    ) -> Result<Option<String>, CallError> {
        let content = serde_json::to_vec(input).map_err(|error| CallError::Local(error.to_string()))?;
        let (client, target) = (self.clone(), target.to_owned());
        blocking(move || {
            client.turn(|server| {
                let head = (header::CONTENT_TYPE, "application/json");
                let request = client.request(server, name, head, content.as_slice())?;
                let response = accepted(server.run(request, TRANSFER_TIME)?)?;
                let commit = text_of(response.headers(), COMMIT_HEADER);
                write_down(response, &target)?;
                Ok(commit)
            })
        })
        .await
    }

    /// Sends a file as the body.
    pub async fn upload<O>(
        &self,
        name: &'static str,
        delivery: &Delivery,
        source: PathBuf,
    ) -> Result<O, CallError>
    where
        O: DeserializeOwned + Send + 'static,
    {
        let head = serde_json::to_string(delivery).map_err(|error| CallError::Local(error.to_string()))?;
        let client = self.clone();
        blocking(move || {
            let file = File::open(&source)
                .map_err(|error| CallError::Local(format!("{}: {error}", source.display())))?;
            let head = (DELIVERY_HEADER, head.as_str());
            client
                .turn(|server| parse(server.run(client.request(server, name, head, &file)?, TRANSFER_TIME)?))
        })
        .await
    }

    /// One request to the server whose turn it is. One that does not answer, or only says that it cannot, is
    /// not asked again.
    fn turn<O>(&self, ask: impl FnOnce(&Endpoint) -> Result<O, CallError>) -> Result<O, CallError> {
        let moves = self.moves.load(Ordering::Relaxed);
        let answer = ask(self.server(moves));
        if answer.as_ref().is_err_and(CallError::is_passing) {
            self.move_on(moves);
        }
        answer
    }

    fn request<B>(
        &self,
        server: &Endpoint,
        name: &str,
        (header_name, value): (impl http::header::IntoHeaderName, &str),
        body: B,
    ) -> Result<Request<B>, CallError> {
        let local = |error: &dyn std::fmt::Display| CallError::Local(error.to_string());
        let uri: Uri = format!("{}{}{name}", server.url, super::PREFIX).parse().map_err(|e| local(&e))?;
        let mut request = Request::post(uri).body(body).map_err(|error| local(&error))?;
        let bearer = self.bearer.parse().map_err(|error| local(&error))?;
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        request.headers_mut().insert(header_name, value.parse().map_err(|error| local(&error))?);
        Ok(request)
    }
}

impl Endpoint {
    fn run(
        &self,
        request: Request<impl AsSendBody>,
        longest: Duration,
    ) -> Result<Response<ureq::Body>, CallError> {
        let request = self.agent.configure_request(request).timeout_global(Some(longest)).build();
        self.agent.run(request).map_err(|error| CallError::Unreachable(error.to_string()))
    }
}

fn write_down(response: Response<ureq::Body>, target: &Path) -> Result<(), CallError> {
    let local = |error: std::io::Error| CallError::Local(format!("{}: {error}", target.display()));
    let mut file = File::create(target).map_err(local)?;
    let mut reader = response.into_body().into_reader();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = reader
            .read(&mut buffer)
            .map_err(|error| CallError::Unreachable(format!("the answer broke off: {error}")))?;
        if count == 0 {
            return Ok(());
        }
        std::io::Write::write_all(&mut file, &buffer[..count]).map_err(local)?;
    }
}

async fn blocking<O: Send + 'static>(
    work: impl FnOnce() -> Result<O, CallError> + Send + 'static,
) -> Result<O, CallError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| CallError::Local(error.to_string()))?
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The answer, where it is no refusal.
fn accepted(response: Response<ureq::Body>) -> Result<Response<ureq::Body>, CallError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = body_of(response)?;
    let told: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let member = |name: &str| told[name].as_str().map(str::to_owned);
    Err(CallError::Refused {
        status: status.as_u16(),
        code: member("__type").unwrap_or_else(|| status.to_string()),
        message: member("message").unwrap_or_else(|| "the server refused the request".to_owned()),
    })
}

fn parse<O: DeserializeOwned>(response: Response<ureq::Body>) -> Result<O, CallError> {
    let text = body_of(accepted(response)?)?;
    serde_json::from_str(&text)
        .map_err(|error| CallError::Local(format!("not an answer of Towpath: {error}")))
}

fn body_of(response: Response<ureq::Body>) -> Result<String, CallError> {
    let mut text = String::new();
    let mut reader = response.into_body().into_reader().take(MAX_ANSWER_BYTES);
    reader
        .read_to_string(&mut text)
        .map_err(|error| CallError::Unreachable(format!("the answer broke off: {error}")))?;
    Ok(text)
}
