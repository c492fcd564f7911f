//! The HTTP server: one port for every service.

pub mod auth;
pub mod body;
mod connection;
pub mod handler;
mod rpc;
mod tls;

use crate::route::{Route, Router};
use auth::Authenticator;
use handler::{Handler, Peer, Request, RequestId, Response};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use towpath_api::{ApiError, Call, Dispatch, Node};

/// What became of one RPC request; for audit. Called after the answer is made and before it is sent.
pub struct Observation<'a> {
    pub request_id: &'a str,
    /// Towpath's name of the service (`codepipeline`); `None` when it is none of ours.
    pub service: Option<&'static str>,
    /// The operation's name as the client sent it, also when it is unknown or refused.
    pub operation: Option<&'a str>,
    /// `None` when the caller was not authenticated.
    pub call: Option<&'a Call>,
    /// `None` when it was not decoded.
    pub input: Option<&'a Node>,
    pub output: Option<&'a Node>,
    pub error: Option<&'a ApiError>,
    pub user_agent: Option<&'a str>,
    pub peer: Peer,
    pub duration: Duration,
}

pub type Observer = Arc<dyn Fn(&Observation) + Send + Sync>;

/// A body larger than this is refused, unless the service has a limit of its own.
pub const DEFAULT_BODY_LIMIT_BYTES: usize = 10 << 20;
/// How long a client may take for the head, and for the whole body of an RPC request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_CONNECTIONS: usize = 1024;
/// Operations at work at one time, those of clients that hung up among them.
const MAX_OPERATIONS: usize = 1024;
/// Operations that only wait for something to happen, at one time: an agent's open poll costs memory, not work.
const MAX_WAITING: usize = 16_384;
const REQUEST_ID: &str = "x-amzn-requestid";
const S3_REQUEST_ID: &str = "x-amz-request-id";

/// Says what the server serves; see [`Server::builder`].
pub struct Builder {
    authenticator: Authenticator,
    services: Vec<Arc<dyn Dispatch>>,
    mounts: BTreeMap<String, Arc<dyn Handler>>,
    s3: Option<Arc<dyn Handler>>,
    home: Option<Arc<dyn Handler>>,
    body_limits: BTreeMap<String, usize>,
    globals: Vec<String>,
    waiting: Vec<&'static str>,
    observer: Option<Observer>,
    max_connections: usize,
    max_operations: usize,
    drain: Duration,
}

impl Builder {
    pub fn service(mut self, service: Arc<dyn Dispatch>) -> Self {
        self.services.push(service);
        self
    }

    /// Answers every request that no mark assigns to another service, before any of its body is read.
    pub fn fallback_s3(mut self, handler: impl Handler) -> Self {
        self.s3 = Some(Arc::new(handler));
        self
    }

    /// Answers requests whose path begins with `prefix`, unless they are signed for S3. The longest
    /// prefix wins.
    pub fn mount(mut self, prefix: &str, handler: impl Handler) -> Self {
        self.mounts.insert(prefix.to_owned(), Arc::new(handler));
        self
    }

    /// Answers a browser's unsigned GET of `/`.
    pub fn home(mut self, handler: impl Handler) -> Self {
        self.home = Some(Arc::new(handler));
        self
    }

    /// A body limit for one service, by Towpath's name of it.
    pub fn body_limit(mut self, service: &str, bytes: usize) -> Self {
        self.body_limits.insert(service.to_owned(), bytes);
        self
    }

    /// A service that is signed for in any region (`iam` and `sts` are so without being named).
    pub fn global(mut self, service: &str) -> Self {
        self.globals.push(service.to_owned());
        self
    }

    /// An operation that is mostly held open until something happens: it takes no place among those at work.
    pub fn waits(mut self, operation: &'static str) -> Self {
        self.waiting.push(operation);
        self
    }

    pub fn observe(mut self, observer: impl Fn(&Observation) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    pub fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = count;
        self
    }

    /// Operations at work at one time; others wait their turn.
    pub fn max_operations(mut self, count: usize) -> Self {
        self.max_operations = count;
        self
    }

    /// How long requests in flight may take after shutdown was asked for.
    pub fn drain(mut self, longest: Duration) -> Self {
        self.drain = longest;
        self
    }

    pub fn build(self) -> Server {
        Server {
            router: Router::new(self.services),
            authenticator: self.authenticator,
            mounts: self.mounts,
            s3: self.s3,
            home: self.home,
            body_limits: self.body_limits,
            globals: self.globals,
            waiting: self.waiting,
            observer: self.observer,
            max_connections: self.max_connections,
            drain: self.drain,
            operations: Places::new(self.max_operations),
            held: Places::new(MAX_WAITING),
        }
    }
}

/// A bounded number of operations at one time.
struct Places {
    free: Arc<Semaphore>,
    count: u32,
}

impl Places {
    fn new(count: usize) -> Places {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Places { free: Arc::new(Semaphore::new(count as usize)), count }
    }

    /// Returns when none is taken.
    async fn all_free(&self) {
        let _ = self.free.acquire_many(self.count).await;
    }
}

/// All services behind one port.
pub struct Server {
    router: Router,
    authenticator: Authenticator,
    mounts: BTreeMap<String, Arc<dyn Handler>>,
    s3: Option<Arc<dyn Handler>>,
    home: Option<Arc<dyn Handler>>,
    body_limits: BTreeMap<String, usize>,
    globals: Vec<String>,
    waiting: Vec<&'static str>,
    observer: Option<Observer>,
    max_connections: usize,
    drain: Duration,
    /// One permit for each operation at work.
    operations: Places,
    /// One permit for each operation of `waiting` that is held open.
    held: Places,
}

impl Server {
    pub fn builder(authenticator: Authenticator) -> Builder {
        Builder {
            authenticator,
            services: Vec::new(),
            mounts: BTreeMap::new(),
            s3: None,
            home: None,
            body_limits: BTreeMap::new(),
            globals: vec!["iam".to_owned(), "sts".to_owned()],
            waiting: Vec::new(),
            observer: None,
            max_connections: MAX_CONNECTIONS,
            max_operations: MAX_OPERATIONS,
            drain: Duration::from_secs(10),
        }
    }

    /// Serves until `shutdown` completes, then lets the requests in flight finish (or the drain time
    /// run out). An accept that fails for want of descriptors is tried again.
    pub async fn serve(
        self: Arc<Self>,
        listener: tokio::net::TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        connection::serve(self, listener, connection::Transport::Plain, shutdown).await
    }

    /// Like [`Server::serve`], for a port that speaks TLS and nothing else. Its requests are `secure`.
    pub async fn serve_tls(
        self: Arc<Self>,
        listener: tokio::net::TcpListener,
        config: Arc<tokio_rustls::rustls::ServerConfig>,
        shutdown: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        let transport = connection::Transport::Tls(Arc::new(tls::Door::new(config)));
        connection::serve(self, listener, transport, shutdown).await
    }

    /// Answers one request. Never fails and never panics: what goes wrong becomes an answer.
    async fn answer(self: Arc<Self>, mut request: Request, peer: Peer) -> Response {
        let request_id = towpath_api::id::uuid();
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(RequestId(request_id.clone()));
        let (parts, body) = request.into_parts();
        let route = self.router.route(&parts, self.mounts.keys().map(String::as_str));
        let handler = match route {
            Route::Rpc(rpc) => return rpc::answer(self.clone(), rpc, parts, body, request_id, peer).await,
            Route::Mount(prefix) => self.mounts.get(prefix).cloned(),
            Route::Home => self.home.clone(),
            Route::S3 => self.s3.clone(),
        };
        let mut response = match (handler, matches!(route, Route::Home)) {
            (Some(handler), _) => guarded(handler, Request::from_parts(parts, body), &request_id).await,
            (None, true) => handler::answer(
                http::StatusCode::OK,
                "text/plain; charset=utf-8",
                "Towpath is running. Point an AWS client at this address: see `towpath env`.\n",
            ),
            (None, false) => handler::answer(
                http::StatusCode::FORBIDDEN,
                "application/json",
                r#"{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}"#,
            ),
        };
        let header = if matches!(route, Route::S3) { S3_REQUEST_ID } else { REQUEST_ID };
        stamp(&mut response, header, &request_id);
        response
    }

    /// The place that an operation takes while it runs.
    fn places(&self, operation: &str) -> Arc<Semaphore> {
        if self.waiting.contains(&operation) { self.held.free.clone() } else { self.operations.free.clone() }
    }

    fn body_limit_bytes(&self, service: &str) -> usize {
        self.body_limits.get(service).copied().unwrap_or(DEFAULT_BODY_LIMIT_BYTES)
    }
}

/// Gives an answer its request id, unless its maker gave it one.
fn stamp(response: &mut Response, header: &'static str, request_id: &str) {
    let headers = response.headers_mut();
    if !headers.contains_key(REQUEST_ID)
        && !headers.contains_key(S3_REQUEST_ID)
        && let Ok(value) = http::HeaderValue::from_str(request_id)
    {
        headers.insert(header, value);
    }
    // hyper adds the one that there must be.
    headers.remove(http::header::DATE);
}

/// Runs a handler; a panic in it is logged and answered with 500.
async fn guarded(handler: Arc<dyn Handler>, request: Request, request_id: &str) -> Response {
    use futures_util::FutureExt;
    match std::panic::AssertUnwindSafe(handler.handle(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            tracing::error!(request_id, panic = panic_text(&*panic), "a handler panicked");
            handler::json_error(&ApiError::internal("a handler panicked"))
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
