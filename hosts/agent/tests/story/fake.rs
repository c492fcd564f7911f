//! A small blocking HTTP server that behaves as the service does: it holds polls open, hands a command out
//! again until it is acknowledged, takes results once, and serves bundles.

use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub const HOST: &str = "arn:aws:iam::000000000000:user/host";
const HOLD: Duration = Duration::from_millis(300);
const REDELIVERY: Duration = Duration::from_millis(300);

#[derive(Clone, Debug)]
pub struct Completed {
    pub status: String,
    pub diagnostics: Value,
}

#[derive(Clone, Debug)]
struct Open {
    id: String,
    name: String,
    execution: String,
    handed_out: Option<Instant>,
    acknowledged: bool,
}

#[derive(Default)]
pub struct State {
    queue: VecDeque<Open>,
    pub specs: HashMap<String, Value>,
    pub objects: HashMap<String, (String, Vec<u8>)>,
    pub results: HashMap<String, Completed>,
    /// How often each result arrived.
    pub deliveries: HashMap<String, usize>,
    pub noops: Vec<String>,
    pub updates: usize,
    pub registered: HashMap<String, String>,
    pub tags: Vec<(String, String)>,
    pub polls: usize,
    pub acknowledgements: usize,
    /// Credentials that may only talk as a host.
    pub host_only: bool,
    /// Whether a host-only identity is registered by somebody else.
    pub unregistered: bool,
    pub refuse_results: bool,
    /// The command whose acknowledgement is taken and not answered.
    pub lose_acknowledgement: String,
    /// What the server says of every command when it hears of it.
    pub over: bool,
    pub cut_download_after: Option<usize>,
    /// The first key is the root user's.
    pub root: bool,
    /// Keys that were made, and whose.
    pub keys: HashMap<String, String>,
    pub iam_calls: Vec<String>,
    connections: Vec<TcpStream>,
}

impl State {
    fn caller(&self, key: &str) -> Option<String> {
        match key {
            "AKID" if self.root => Some("arn:aws:iam::000000000000:root".into()),
            "AKID" => Some(HOST.into()),
            key => self.keys.get(key).cloned(),
        }
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub struct Fake {
    shared: Arc<Shared>,
    pub address: SocketAddr,
    running: Option<(Arc<std::sync::atomic::AtomicBool>, thread::JoinHandle<()>)>,
}

impl Fake {
    pub fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let mut fake = Fake { shared, address, running: None };
        fake.serve(listener);
        fake
    }

    fn serve(&mut self, listener: TcpListener) {
        let shared = self.shared.clone();
        let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = ended.clone();
        let thread = thread::spawn(move || {
            for connection in listener.incoming() {
                if told.load(std::sync::atomic::Ordering::SeqCst) {
                    return;
                }
                let connection = connection.unwrap();
                shared.state.lock().unwrap().connections.push(connection.try_clone().unwrap());
                let shared = shared.clone();
                thread::spawn(move || serve_connection(&shared, connection));
            }
        });
        self.running = Some((ended, thread));
    }

    /// As a killed server: nobody listens, and open connections break.
    pub fn go_down(&mut self) {
        let Some((ended, thread)) = self.running.take() else { return };
        ended.store(true, std::sync::atomic::Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        thread.join().unwrap();
        for connection in self.state(|state| std::mem::take(&mut state.connections)) {
            connection.shutdown(Shutdown::Both).ok();
        }
    }

    pub fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.serve(listener);
    }

    pub fn state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.shared.state.lock().unwrap());
        self.shared.changed.notify_all();
        result
    }

    pub fn send(&self, deployment: &str, event: &str) -> String {
        let id = format!("{deployment}.{event}");
        let execution = format!("000000000000/us-east-1/deployment/{deployment}");
        let open =
            Open { id: id.clone(), name: event.into(), execution, handed_out: None, acknowledged: false };
        self.state(|state| state.queue.push_back(open));
        id
    }

    /// Waits until the state is as wanted.
    pub fn until<T>(&self, what: &str, mut wanted: impl FnMut(&mut State) -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_secs(20);
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if let Some(found) = wanted(&mut state) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}");
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    pub fn result(&self, id: &str) -> Completed {
        self.until(id, |state| state.results.get(id).cloned())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.go_down();
    }
}

struct Asked {
    path: String,
    target: String,
    authorization: String,
    body: Vec<u8>,
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let (mut length, mut target, mut authorization) = (0, String::new(), String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "x-amz-target" => target = value.to_owned(),
            "authorization" => authorization = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { path, target, authorization, body })
}

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    cut: bool,
}

fn serve_connection(shared: &Shared, connection: TcpStream) {
    let mut writer = connection.try_clone().unwrap();
    let mut reader = BufReader::new(connection);
    while let Some(asked) = read_request(&mut reader) {
        let Some(answer) = respond(shared, &asked) else {
            writer.shutdown(Shutdown::Both).ok();
            return;
        };
        let length = if answer.cut { answer.body.len() + 1000 } else { answer.body.len() };
        let head =
            format!("HTTP/1.1 {} X\r\n{}Content-Length: {length}\r\n\r\n", answer.status, answer.headers);
        if writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&answer.body)).is_err()
            || answer.cut
        {
            writer.shutdown(Shutdown::Both).ok();
            return;
        }
    }
}

fn json_answer(value: Value) -> Option<Answer> {
    Some(Answer { status: 200, headers: String::new(), body: value.to_string().into_bytes(), cut: false })
}

fn error(code: &str) -> Option<Answer> {
    let body = json!({ "__type": code, "message": format!("the server says {code}") }).to_string();
    Some(Answer { status: 400, headers: String::new(), body: body.into_bytes(), cut: false })
}

fn xml(status: u16, text: String) -> Option<Answer> {
    Some(Answer { status, headers: String::new(), body: text.into_bytes(), cut: false })
}

/// `None` breaks the connection.
fn respond(shared: &Shared, asked: &Asked) -> Option<Answer> {
    let key =
        asked.authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=").unwrap().split('/').next().unwrap();
    let Some(caller) = shared.state.lock().unwrap().caller(key) else {
        return match asked.target.is_empty() {
            true => xml(403, "<Error><Code>InvalidClientTokenId</Code><Message>no</Message></Error>".into()),
            false => error("UnrecognizedClientException"),
        };
    };
    if asked.path != "/" {
        return object(shared, &asked.path);
    }
    if asked.target.is_empty() {
        return query(shared, &caller, std::str::from_utf8(&asked.body).unwrap());
    }
    let input: Value = serde_json::from_slice(&asked.body).unwrap();
    let (service, operation) = asked.target.split_once('.').unwrap();
    let answer = match service {
        "CodeDeploy_20141006" => register(shared, operation, &input),
        "CodeDeployCommandService_v20141006" => command(shared, operation, &input, &caller),
        _ => error("UnknownOperationException"),
    };
    shared.changed.notify_all();
    answer
}

fn query(shared: &Shared, caller: &str, form: &str) -> Option<Answer> {
    let field = |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let action = field("Action").unwrap();
    if action == "GetCallerIdentity" {
        return xml(
            200,
            format!("<R><GetCallerIdentityResult><Arn>{caller}</Arn></GetCallerIdentityResult></R>"),
        );
    }
    let mut state = shared.state.lock().unwrap();
    if !caller.ends_with(":root") && caller != HOST {
        return xml(403, "<E><Error><Code>AccessDenied</Code><Message>no</Message></Error></E>".into());
    }
    let user = field("UserName").unwrap().to_owned();
    let arn = format!("arn:aws:iam::000000000000:user/AWS/CodeDeploy/{user}");
    state.iam_calls.push(action.to_owned());
    match action {
        "CreateUser" if state.keys.values().any(|owner| *owner == arn) => {
            xml(409, "<E><Error><Code>EntityAlreadyExists</Code><Message>no</Message></Error></E>".into())
        }
        "GetUser" => xml(200, format!("<R><Arn>{arn}</Arn></R>")),
        "ListAccessKeys" => {
            let keys = state.keys.iter().filter(|(_, owner)| **owner == arn);
            xml(200, keys.map(|(key, _)| format!("<AccessKeyId>{key}</AccessKeyId>")).collect())
        }
        "DeleteAccessKey" => {
            state.keys.remove(field("AccessKeyId").unwrap());
            xml(200, String::new())
        }
        "CreateAccessKey" => {
            let key = format!("AKNEW{}", state.iam_calls.len());
            state.keys.insert(key.clone(), arn);
            xml(200, format!("<R><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey></R>"))
        }
        _ => xml(200, String::new()),
    }
}

fn object(shared: &Shared, path: &str) -> Option<Answer> {
    let mut state = shared.state.lock().unwrap();
    let Some((etag, content)) = state.objects.get(path).cloned() else {
        let body =
            b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
                .to_vec();
        return Some(Answer { status: 404, headers: String::new(), body, cut: false });
    };
    let headers = format!("ETag: \"{etag}\"\r\n");
    if let Some(length) = state.cut_download_after.take() {
        return Some(Answer { status: 200, headers, body: content[..length].to_vec(), cut: true });
    }
    Some(Answer { status: 200, headers, body: content, cut: false })
}

fn register(shared: &Shared, operation: &str, input: &Value) -> Option<Answer> {
    let mut state = shared.state.lock().unwrap();
    if state.host_only {
        return error("AccessDeniedException");
    }
    match operation {
        "RegisterOnPremisesInstance" => {
            let name = input["instanceName"].as_str().unwrap().to_owned();
            if state.registered.contains_key(&name) {
                return error("InstanceNameAlreadyRegisteredException");
            }
            let arn = input["iamUserArn"].as_str().unwrap().to_owned();
            if state.registered.values().any(|other| *other == arn) {
                return error("IamUserArnAlreadyRegisteredException");
            }
            state.registered.insert(name, arn);
            json_answer(json!({}))
        }
        "GetOnPremisesInstance" => {
            let name = input["instanceName"].as_str().unwrap();
            if !state.registered.contains_key(name) {
                return error("InstanceNotRegisteredException");
            }
            json_answer(
                json!({ "instanceInfo": { "instanceName": name, "iamUserArn": state.registered[name] } }),
            )
        }
        "AddTagsToOnPremisesInstances" => {
            for tag in input["tags"].as_array().unwrap() {
                let pair =
                    (tag["Key"].as_str().unwrap().to_owned(), tag["Value"].as_str().unwrap().to_owned());
                if !state.tags.contains(&pair) {
                    state.tags.push(pair);
                }
            }
            json_answer(json!({}))
        }
        _ => error("UnknownOperationException"),
    }
}

fn command(shared: &Shared, operation: &str, input: &Value, caller: &str) -> Option<Answer> {
    if operation == "PollHostCommand" {
        return poll(shared, input, caller);
    }
    let mut state = shared.state.lock().unwrap();
    if operation == "GetDeploymentSpecification" {
        let Some(spec) = state.specs.get(input["DeploymentExecutionId"].as_str().unwrap()) else {
            return error("ClientException");
        };
        let envelope = json!({ "Format": "TEXT/JSON", "Payload": spec.to_string() });
        return json_answer(json!({
            "DeploymentSystem": "CodeDeploy",
            "DeploymentSpecification": {
                "GenericEnvelope": { "Format": "PKCS7/JSON", "Payload": "-----BEGIN PKCS7-----" },
                "VariantId": "TEXT", "VariantEnvelope": envelope },
        }));
    }
    let id = input["HostCommandIdentifier"].as_str().unwrap().to_owned();
    let payload = input["Diagnostics"]["Payload"].as_str().unwrap_or("null");
    let diagnostics: Value = serde_json::from_str(payload).unwrap();
    match operation {
        "PutHostCommandAcknowledgement" => {
            state.acknowledgements += 1;
            if let Some(done) = state.results.get(&id) {
                return json_answer(json!({ "CommandStatus": done.status }));
            }
            let noop = diagnostics["IsCommandNoop"] == true;
            if noop {
                state.noops.push(id.clone());
                state.queue.retain(|open| open.id != id);
                state.results.insert(id, Completed { status: "Succeeded".into(), diagnostics });
            } else {
                state.queue.iter_mut().filter(|open| open.id == id).for_each(|open| open.acknowledged = true);
            }
            if state.lose_acknowledgement == input["HostCommandIdentifier"] {
                state.lose_acknowledgement.clear();
                return None;
            }
            json_answer(json!({ "CommandStatus": if noop { "Succeeded" } else { "InProgress" } }))
        }
        "PostHostCommandUpdate" => {
            state.updates += 1;
            json_answer(json!({ "CommandStatus": if state.over { "Failed" } else { "InProgress" } }))
        }
        "PutHostCommandComplete" => {
            if state.refuse_results {
                return None;
            }
            assert!(payload.len() <= 8192);
            *state.deliveries.entry(id.clone()).or_default() += 1;
            let status = input["CommandStatus"].as_str().unwrap().to_owned();
            state.queue.retain(|open| open.id != id);
            state.results.entry(id).or_insert(Completed { status, diagnostics });
            json_answer(json!({}))
        }
        _ => error("UnknownOperationException"),
    }
}

fn poll(shared: &Shared, input: &Value, caller: &str) -> Option<Answer> {
    assert_eq!(input["HostIdentifier"], caller);
    let until = Instant::now() + HOLD;
    let mut state = shared.state.lock().unwrap();
    state.polls += 1;
    shared.changed.notify_all();
    if state.unregistered {
        return error("AccessDeniedException");
    }
    loop {
        let due = |open: &&mut Open| {
            !open.acknowledged && open.handed_out.is_none_or(|at| at.elapsed() >= REDELIVERY)
        };
        if let Some(open) = state.queue.iter_mut().next().filter(due) {
            open.handed_out = Some(Instant::now());
            return json_answer(json!({ "HostCommand": {
                "HostCommandIdentifier": open.id, "HostIdentifier": caller, "CommandName": open.name,
                "DeploymentExecutionId": open.execution, "Nonce": 1 } }));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return json_answer(json!({}));
        }
        state = shared.changed.wait_timeout(state, left.min(Duration::from_millis(50))).unwrap().0;
    }
}
