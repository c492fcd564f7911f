//! A server with its own data folder, people with policies, and a git client that knows neither of them.

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use towpath_api::{
    ApiError, AuthzRequest, Call, Caller, Credential, Dispatch, Event, Gate, Identity, Node,
    SessionCredentials, Timestamp, async_trait, id,
};
use towpath_api_codecommit::{CodeCommit, Server};
use towpath_codecommit::{CodeCommitService, Config};
use towpath_store::blobs::Blobs;
use towpath_store::{Options, Store};
use towpath_wire::{Handler, Peer};

pub const ACCOUNT: &str = "000000000000";
pub const REGION: &str = "us-east-1";
pub const PASSWORD: &str = "pass/word+=";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A stand-in for a person's policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Everything,
    Nothing,
    /// Pulls, but does not push.
    ReadOnly,
    /// AWS's documented example: no change of `refs/heads/main`.
    ProtectedMain,
}

impl Gate for Policy {
    fn check(&self, request: &AuthzRequest, _call: &Call) -> Result<(), String> {
        let none = Err(format!("no identity-based policy allows the {} action", request.action));
        let protected = request.context.contains(&("codecommit:References", "refs/heads/main"));
        match self {
            Policy::Everything => Ok(()),
            Policy::Nothing => none,
            Policy::ReadOnly if request.action == "codecommit:GitPull" => Ok(()),
            Policy::ReadOnly => none,
            Policy::ProtectedMain if protected => {
                Err("with an explicit deny in an identity-based policy".into())
            }
            Policy::ProtectedMain => Ok(()),
        }
    }
}

fn caller(name: &str) -> Caller {
    Caller::User { arn: format!("arn:aws:iam::{ACCOUNT}:user/{name}"), name: name.into(), id: "AIDAX".into() }
}

/// Ann may do everything, Bob nothing, Rae reads, Pat may not touch main.
fn policy(name: &str) -> Option<Policy> {
    match name {
        "ann" => Some(Policy::Everything),
        "bob" => Some(Policy::Nothing),
        "rae" => Some(Policy::ReadOnly),
        "pat" => Some(Policy::ProtectedMain),
        _ => None,
    }
}

pub fn call(name: &str) -> Call {
    Call {
        request_id: id::uuid(),
        account: ACCOUNT.into(),
        region: REGION.into(),
        at: Timestamp::EPOCH,
        caller: caller(name),
        source_ip: None,
        secure: false,
        gate: Arc::new(policy(name).unwrap()),
    }
}

struct People;

fn credential(name: &str) -> Option<Credential> {
    Some(Credential {
        access_key_id: format!("AKIA{name}"),
        secret_access_key: SECRET.into(),
        caller: caller(name),
        gate: Arc::new(policy(name)?),
    })
}

#[async_trait]
impl Identity for People {
    async fn credential(&self, key_id: &str, token: Option<&str>) -> Result<Option<Credential>, ApiError> {
        match token {
            Some("bad") => {
                Err(ApiError::client("ExpiredToken", "The security token included in the request is expired"))
            }
            _ => Ok(key_id.strip_prefix("AKIA").and_then(credential)),
        }
    }

    async fn service_specific(
        &self,
        service: &str,
        user: &str,
        password: &str,
    ) -> Result<Option<Credential>, ApiError> {
        assert_eq!(service, "codecommit.amazonaws.com");
        let name = user.strip_suffix("-at-000000000000").filter(|_| password == PASSWORD);
        Ok(name.and_then(credential))
    }

    async fn service_call(&self, _: &str, _: &str, _: &str) -> Result<Call, ApiError> {
        Err(ApiError::not_implemented("service_call"))
    }

    async fn service_credentials(
        &self,
        _: &str,
        _: &str,
        _: &str,
        _: u32,
    ) -> Result<SessionCredentials, ApiError> {
        Err(ApiError::not_implemented("service_credentials"))
    }
}

pub struct World {
    pub folder: tempfile::TempDir,
    pub service: Arc<CodeCommitService>,
    pub store: Store,
    pub address: String,
    serving: tokio::task::JoinHandle<()>,
}

impl World {
    pub async fn new() -> World {
        World::at(tempfile::tempdir().unwrap()).await
    }

    pub async fn at(folder: tempfile::TempDir) -> World {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (service, store) = open(folder.path(), &address).await;
        let serving = tokio::spawn(serve(listener, service.clone()));
        World { folder, service, store, address, serving }
    }

    /// Stops the server and leaves its folder.
    pub async fn stop(self) -> tempfile::TempDir {
        let World { folder, service, store, serving, .. } = self;
        serving.abort();
        drop(service);
        store.close().await;
        folder
    }

    /// Stops the server and starts another on the same folder.
    pub async fn restart(self) -> World {
        World::at(self.stop().await).await
    }

    /// Calls an operation the way the wire layer does.
    pub async fn api_as(
        &self,
        name: &str,
        operation: &str,
        input: serde_json::Value,
    ) -> Result<serde_json::Value, ApiError> {
        api(&self.service, name, operation, input).await
    }

    pub async fn api(&self, operation: &str, input: serde_json::Value) -> serde_json::Value {
        self.api_as("ann", operation, input).await.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    /// The code of the error that an operation ends with.
    pub async fn fails(&self, operation: &str, input: serde_json::Value) -> String {
        match self.api_as("ann", operation, input).await {
            Ok(output) => panic!("{operation} succeeded: {output}"),
            Err(error) => error.code.trim_end_matches("Exception").to_owned(),
        }
    }

    pub async fn repository(&self, name: &str) -> String {
        let made = self.api("CreateRepository", serde_json::json!({ "repositoryName": name })).await;
        made["repositoryMetadata"]["repositoryId"].as_str().unwrap().to_owned()
    }

    pub fn bare(&self, repository_id: &str) -> PathBuf {
        self.folder.path().join(format!("codecommit/repositories/{repository_id}.git"))
    }

    pub fn url(&self, name: &str, repository: &str) -> String {
        url(&self.address, name, repository)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A work tree with `origin` at the repository, on branch main.
    pub async fn work_tree(&self, folder: &str, repository: &str) -> Tree {
        let tree = Tree { path: self.path(folder) };
        std::fs::create_dir_all(&tree.path).unwrap();
        tree.git(&["init", "-q", "-b", "main"]).await;
        tree.git(&["remote", "add", "origin", &self.url("ann", repository)]).await;
        tree
    }

    /// One request without a git client; the whole answer.
    pub async fn post(&self, path: &str, content_type: &str, body: &[u8]) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        let (address, basic) = (&self.address, basic("ann"));
        let head = format!(
            "POST /v1/repos/{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {basic}\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub async fn events(&self) -> Vec<Event> {
        events(&self.store).await
    }

    /// `created main`, `updated x`, … of all events so far.
    pub async fn story(&self) -> Vec<String> {
        story(&self.store).await
    }
}

/// Calls an operation the way the wire layer does.
pub async fn api(
    service: &Arc<CodeCommitService>,
    name: &str,
    operation: &str,
    input: serde_json::Value,
) -> Result<serde_json::Value, ApiError> {
    let server: Server<dyn CodeCommit> = Server(service.clone());
    let input: Node = serde_json::from_value(input).unwrap();
    let output = server.dispatch(&call(name), operation, input).await?;
    Ok(serde_json::to_value(output).unwrap())
}

pub async fn events(store: &Store) -> Vec<Event> {
    store.events_after(0, 1000).await.unwrap().into_iter().map(|(_, event)| event).collect()
}

pub async fn story(store: &Store) -> Vec<String> {
    let line = |event: &Event| {
        let text = |member: &str| event.detail[member].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("event").trim_start_matches("reference").to_lowercase(), text("referenceName"))
    };
    events(store).await.iter().map(line).collect()
}

pub fn basic(name: &str) -> String {
    id::base64_encode(format!("{name}-at-{ACCOUNT}:{PASSWORD}").as_bytes())
}

pub async fn open(folder: &Path, address: &str) -> (Arc<CodeCommitService>, Store) {
    let store = Store::open(Options::new(folder.join("store"))).await.unwrap();
    let data = folder.join("codecommit");
    std::fs::create_dir_all(&data).unwrap();
    let config = Config::new(data, format!("http://{address}"), REGION);
    let service = CodeCommitService::open(config, store.clone(), Arc::new(People)).await.unwrap();
    (service, store)
}

/// The same for one of several nodes, with a disk of its own.
pub async fn join(data: &Path, store: &Store, blobs: &Blobs, address: &str) -> Arc<CodeCommitService> {
    std::fs::create_dir_all(data).unwrap();
    let config = Config::new(data, format!("http://{address}"), REGION);
    CodeCommitService::join(config, store.clone(), Arc::new(People), blobs).await.unwrap()
}

pub async fn serve(listener: tokio::net::TcpListener, service: Arc<CodeCommitService>) {
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        let service = service.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
                let service = service.clone();
                request.extensions_mut().insert(Peer { address: peer, secure: false });
                async move { Ok::<_, Infallible>(service.handler().handle(request).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            drop(served);
        });
    }
}

pub fn url(address: &str, name: &str, repository: &str) -> String {
    let password = PASSWORD.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
    format!("http://{name}-at-{ACCOUNT}:{password}@{address}/v1/repos/{repository}")
}

/// A user's work tree.
#[derive(Clone)]
pub struct Tree {
    pub path: PathBuf,
}

pub async fn run_git(folder: &Path, arguments: &[&str]) -> Output {
    tokio::process::Command::new("git")
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .envs([("GIT_AUTHOR_NAME", "Ann"), ("GIT_AUTHOR_EMAIL", "ann@example.com")])
        .envs([("GIT_COMMITTER_NAME", "Ann"), ("GIT_COMMITTER_EMAIL", "ann@example.com")])
        .args(arguments)
        .output()
        .await
        .unwrap()
}

impl Tree {
    pub async fn try_git(&self, arguments: &[&str]) -> Result<String, String> {
        let output = run_git(&self.path, arguments).await;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(stderr)
        }
    }

    pub async fn git(&self, arguments: &[&str]) -> String {
        self.try_git(arguments).await.unwrap_or_else(|error| panic!("git {arguments:?}: {error}"))
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Writes a file and commits everything; the commit's id.
    pub async fn commit(&self, path: &str, content: impl AsRef<[u8]>) -> String {
        self.write(path, content);
        self.git(&["add", "-A"]).await;
        self.git(&["commit", "-q", "-m", &format!("Change {path}")]).await;
        self.git(&["rev-parse", "HEAD"]).await
    }
}
