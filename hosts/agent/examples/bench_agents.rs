//! Many agents in one process, for `cargo xtask bench agents`: each polls, acknowledges and completes as a real
//! one does, and does nothing in between. The plan is JSON: `{"endpoint", "region", "agents": [{"host", "key",
//! "secret"}]}`; standard input's end stops them; the answer is one line of JSON.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use towpath_api::{Clock, Node, SystemClock};
use towpath_api_codedeploycommand::MODEL;
use towpath_wire::client::{json_answer, json_request};
use towpath_wire::sigv4::SigningKeys;

const STACK_BYTES: usize = 256 << 10;
const LAST_EVENT: &str = "ValidateService";

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    polls: AtomicU64,
    commands: AtomicU64,
    failures: AtomicU64,
    /// Hosts between their first and their last command, and the most there ever were.
    busy: Mutex<(BTreeSet<usize>, usize)>,
    /// Of every call but the polls.
    times_us: Mutex<Vec<u64>>,
}

struct Agent<'a> {
    http: ureq::Agent,
    endpoint: http::Uri,
    region: &'a str,
    host: &'a str,
    key: &'a str,
    secret: &'a str,
}

impl Agent<'_> {
    fn call(&self, operation: &str, input: &Value) -> Option<Value> {
        let keys = SigningKeys {
            access_key_id: self.key,
            secret_access_key: self.secret,
            session_token: None,
            region: self.region,
            service: MODEL.signing_name,
        };
        let now = SystemClock.now();
        let built = json_request(&MODEL, operation, &node(input), &self.endpoint, &keys, now).unwrap();
        let mut request = http::Request::post(&self.endpoint).body(built.body).unwrap();
        *request.headers_mut() = built.headers;
        let mut response = self.http.run(request).ok()?;
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_vec().ok()?;
        json_answer(&MODEL, built.operation, status, &body).ok()?;
        serde_json::from_slice(&body).ok()
    }

    fn timed(&self, operation: &str, input: &Value, tally: &Tally) -> Option<Value> {
        let asked = Instant::now();
        let answer = self.call(operation, input);
        tally.times_us.lock().unwrap().push(asked.elapsed().as_micros() as u64);
        answer
    }

    fn command(&self, number: usize, command: &Value, tally: &Tally) -> Option<()> {
        let (id, name) = (command["HostCommandIdentifier"].as_str()?, command["CommandName"].as_str()?);
        {
            let mut busy = tally.busy.lock().unwrap();
            busy.0.insert(number);
            busy.1 = busy.1.max(busy.0.len());
            if name == LAST_EVENT {
                // Before the answer, after which the server may take the next host.
                busy.0.remove(&number);
            }
        }
        let works = matches!(name, "DownloadBundle" | "Install");
        let noop = json!({"IsCommandNoop": !works}).to_string();
        let given = json!({"HostCommandIdentifier": id, "Diagnostics": {"Format": "JSON", "Payload": noop}});
        let standing = self.timed("PutHostCommandAcknowledgement", &given, tally)?;
        if standing["CommandStatus"] == "InProgress" {
            let done = json!({"error_code": 0, "script_name": "", "message": "Succeeded", "log": ""});
            let given = json!({"HostCommandIdentifier": id, "CommandStatus": "Succeeded",
                               "Diagnostics": {"Format": "JSON", "Payload": done.to_string()}});
            self.timed("PutHostCommandComplete", &given, tally)?;
        }
        tally.commands.fetch_add(1, Ordering::Relaxed);
        Some(())
    }

    fn run(&self, number: usize, tally: &Tally) {
        while !tally.stop.load(Ordering::Relaxed) {
            let polled = self.call("PollHostCommand", &json!({"HostIdentifier": self.host}));
            tally.polls.fetch_add(1, Ordering::Relaxed);
            let done = polled.and_then(|answer| match answer.get("HostCommand") {
                Some(command) if command.is_object() => self.command(number, command, tally),
                _ => Some(()),
            });
            if done.is_none() && !tally.stop.load(Ordering::Relaxed) {
                tally.failures.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }
}

/// Every input here is made of texts and maps.
fn node(value: &Value) -> Node {
    match value {
        Value::Object(members) => {
            Node::Map(members.iter().map(|(name, value)| (name.clone().into(), node(value))).collect())
        }
        other => Node::Str(other.as_str().unwrap_or_default().to_owned()),
    }
}

fn main() {
    let path = std::env::args().nth(1).expect("a plan");
    let plan: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let (endpoint, region) = (text(&plan["endpoint"]), text(&plan["region"]));
    let agents = plan["agents"].as_array().expect("agents");
    let tally = Tally::default();
    std::thread::scope(|scope| {
        for (number, agent) in agents.iter().enumerate() {
            let (tally, region, endpoint) = (&tally, region.as_str(), endpoint.as_str());
            let name = |of: &str| agent[of].as_str().expect("a text");
            let (host, key, secret) = (name("host"), name("key"), name("secret"));
            let started =
                std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, move || {
                    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
                    let endpoint = endpoint.parse().expect("a URL");
                    Agent { http: config.build().into(), endpoint, region, host, key, secret }
                        .run(number, tally);
                });
            started.expect("a thread");
        }
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        tally.stop.store(true, Ordering::Relaxed);
        report(&tally);
        // Open polls end within their hold; nobody waits for them.
        std::process::exit(0);
    });
}

fn report(tally: &Tally) {
    let mut times_us = std::mem::take(&mut *tally.times_us.lock().unwrap());
    times_us.sort_unstable();
    let at = |share: f64| times_us.get((times_us.len().saturating_sub(1) as f64 * share) as usize);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{}",
        json!({ "polls": count(&tally.polls), "commands": count(&tally.commands),
                "failures": count(&tally.failures), "most_busy": tally.busy.lock().unwrap().1,
                "median_us": at(0.5), "p99_us": at(0.99) })
    );
}
