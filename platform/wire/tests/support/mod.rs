//! A server on a real socket with a fixed identity, and a client that sends exactly what it is told.
#![allow(clippy::unwrap_used, dead_code)]

pub mod models;

use http::{HeaderMap, Method, Uri};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use towpath_api::model::Service;
use towpath_api::*;
use towpath_wire::sigv4::{SigningKeys, sign_request};
use towpath_wire::{Authenticator, Builder, Server};

pub const KEY: &str = "AKIDALICE";
pub const SECRET: &str = "alices-secret";
pub const TOKEN: &str = "alices-token";

/// Lets everything pass: what is tested here is who gets as far as a gate.
struct Open;

impl Gate for Open {
    fn check(&self, _: &AuthzRequest, _: &Call) -> Result<(), String> {
        Ok(())
    }
}

/// Knows Alice, with her long-lived key and with a session's.
pub struct Alice;

fn alice(access_key_id: &str) -> Credential {
    Credential {
        access_key_id: access_key_id.into(),
        secret_access_key: SECRET.into(),
        caller: Caller::User {
            arn: "arn:aws:iam::000000000000:user/alice".into(),
            name: "alice".into(),
            id: "AIDAALICE".into(),
        },
        gate: Arc::new(Open),
    }
}

#[async_trait]
impl Identity for Alice {
    async fn credential(&self, key: &str, token: Option<&str>) -> Result<Option<Credential>, ApiError> {
        match (key, token) {
            (KEY, None) => Ok(Some(alice(key))),
            ("ASIAALICE", Some(TOKEN)) => Ok(Some(alice(key))),
            ("ASIAALICE", Some("old")) => {
                Err(ApiError::client("ExpiredToken", "The security token included in the request is expired"))
            }
            _ => Ok(None),
        }
    }

    async fn service_specific(&self, _: &str, _: &str, _: &str) -> Result<Option<Credential>, ApiError> {
        Ok(None)
    }

    async fn service_call(&self, _: &str, _: &str, _: &str) -> Result<Call, ApiError> {
        Err(ApiError::not_implemented("roles in this test"))
    }

    async fn service_credentials(
        &self,
        _: &str,
        _: &str,
        _: &str,
        _: u32,
    ) -> Result<SessionCredentials, ApiError> {
        Err(ApiError::not_implemented("roles in this test"))
    }
}

type Respond = dyn Fn(&Call, &str, Node) -> Result<Node, ApiError> + Send + Sync;

/// A service of any model whose operations are one function.
pub struct Fake {
    pub model: &'static Service,
    pub respond: Box<Respond>,
    pub calls: AtomicUsize,
}

impl Fake {
    pub fn new(
        model: &'static Service,
        respond: impl Fn(&Call, &str, Node) -> Result<Node, ApiError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Fake { model, respond: Box::new(respond), calls: AtomicUsize::new(0) })
    }

    pub fn count(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Dispatch for Fake {
    fn model(&self) -> &'static Service {
        self.model
    }

    async fn dispatch(&self, call: &Call, operation: &str, input: Node) -> Result<Node, ApiError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if input.get("name").and_then(Node::as_str) == Some("slow") {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        (self.respond)(call, operation, input)
    }
}

pub fn map(entries: Vec<(&str, Node)>) -> Node {
    Node::Map(entries.into_iter().map(|(key, value)| (key.to_owned().into(), value)).collect())
}

pub fn str(text: &str) -> Node {
    Node::Str(text.into())
}

/// A running server; stops when it is dropped.
pub struct Running {
    pub address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

pub fn start(configure: impl FnOnce(Builder) -> Builder) -> Running {
    let authenticator =
        Authenticator::new(Arc::new(Alice), Arc::new(SystemClock), "000000000000", "us-east-1");
    let server = Arc::new(configure(Server::builder(authenticator)).build());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let shutdown = async {
                let _ = stopped.await;
            };
            server.serve(listener, shutdown).await.unwrap();
        });
    });
    Running { address, stop: Some(stop), thread: Some(thread) }
}

impl Running {
    /// Asks for shutdown; [`Running::join`] waits for its end.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        self.join();
    }
}

/// A request in the making.
#[derive(Clone)]
pub struct Ask {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub key: Option<(&'static str, &'static str, Option<&'static str>)>,
    pub service: &'static str,
    pub region: &'static str,
    pub at: Timestamp,
}

impl Ask {
    pub fn new(service: &'static str) -> Self {
        Ask {
            method: "POST",
            path: "/".into(),
            headers: Vec::new(),
            body: Vec::new(),
            key: Some((KEY, SECRET, None)),
            service,
            region: "us-east-1",
            at: SystemClock.now(),
        }
    }

    /// awsJson 1.1.
    pub fn json(service: &'static str, target: &str, body: &str) -> Self {
        Ask::new(service)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", target)
            .body(body)
    }

    /// awsQuery.
    pub fn form(service: &'static str, body: &str) -> Self {
        Ask::new(service).header("content-type", "application/x-www-form-urlencoded").body(body)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub fn unsigned(mut self) -> Self {
        self.key = None;
        self
    }

    /// The bytes on the wire.
    pub fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        headers.insert("host", address.to_string().parse().unwrap());
        if let Some((access_key_id, secret_access_key, session_token)) = self.key {
            let keys = SigningKeys {
                access_key_id,
                secret_access_key,
                session_token,
                region: self.region,
                service: self.service,
            };
            let uri: Uri = format!("http://{address}{}", self.path).parse().unwrap();
            let method: Method = self.method.parse().unwrap();
            sign_request(&keys, &method, &uri, &mut headers, Some(&self.body), self.at).unwrap();
        }
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.path).into_bytes();
        for (name, value) in &headers {
            out.extend_from_slice(format!("{name}: {}\r\n", value.to_str().unwrap()).as_bytes());
        }
        out.extend_from_slice(format!("content-length: {}\r\n\r\n", self.body.len()).as_bytes());
        out.extend_from_slice(&self.body);
        out
    }

    pub fn send(&self, running: &Running) -> Answer {
        let mut stream = TcpStream::connect(running.address).unwrap();
        stream.write_all(&self.bytes(running.address)).unwrap();
        Answer::read(&mut BufReader::new(stream), self.method == "HEAD")
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn read(stream: &mut impl BufRead, bodiless: bool) -> Answer {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let status =
            line.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {line:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .map(|(_, value)| value.parse().unwrap());
        let mut body = vec![0; if bodiless || status == 100 { 0 } else { length.unwrap_or(0) }];
        stream.read_exact(&mut body).unwrap();
        Answer { status, headers, body }
    }

    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        let value = found.next().map(|(_, value)| value.as_str()).unwrap_or_default();
        assert!(found.next().is_none(), "{name} came twice");
        value
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// `__type` and `message` of a JSON error, or code and message of an XML one.
    pub fn error(&self) -> (String, String) {
        if self.body.starts_with(b"<") {
            let text = self.text();
            let within = |name: &str| {
                let (_, rest) =
                    text.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {text}"));
                rest.split_once("</").unwrap().0.to_owned()
            };
            return (within("Code"), within("Message"));
        }
        let json: serde_json::Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        let message =
            json.get("message").or(json.get("Message")).and_then(|text| text.as_str()).unwrap_or_default();
        (json["__type"].as_str().unwrap_or_default().to_owned(), message.to_owned())
    }

    pub fn code(&self) -> String {
        self.error().0
    }
}

/// What observers saw.
pub type Seen = Arc<Mutex<Vec<String>>>;
