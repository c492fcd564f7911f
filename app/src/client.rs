//! The command line's client of the public API: signed awsJson requests, as any SDK sends them.

use crate::config;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use towpath_agent::trust;
use towpath_api::{Clock, SystemClock, model};
use towpath_iam::RootCredentials;
use towpath_wire::sigv4::{SigningKeys, sign_request};

const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (`towpath env` prints them), or name the server's data folder with --data"
    )]
    NoCredentials,
    #[error("{endpoint} cannot be reached ({cause}); is `towpath up` running?")]
    Unreachable { endpoint: String, cause: String },
    #[error("{message} ({code})")]
    Refused { code: String, message: String },
    #[error("{0}")]
    Other(String),
}

/// Where the server is and who asks.
#[derive(Clone)]
pub struct Client {
    pub endpoint: String,
    pub region: String,
    /// The certificate of the server's own authority, where it is known.
    pub authority: Option<PathBuf>,
    agent: ureq::Agent,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// Where the server is: what `towpath up` writes into its data folder for the command line of the
/// same user. Root credentials that it made itself are beside it, with the identity service.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Connection {
    pub endpoint: String,
    pub region: String,
    pub account: String,
    /// The certificate of the server's own authority, where it speaks TLS by one.
    #[serde(default)]
    pub authority: Option<PathBuf>,
}

impl Connection {
    pub fn path(data: &Path) -> PathBuf {
        data.join("connection.json")
    }

    pub fn read(data: &Path) -> Option<Connection> {
        serde_json::from_slice(&std::fs::read(Self::path(data)).ok()?).ok()
    }

    pub fn write(&self, data: &Path) -> std::io::Result<()> {
        std::fs::write(Self::path(data), serde_json::to_vec_pretty(self)?)
    }
}

/// The root credentials of the server in `data`: given by the environment, or kept there.
pub fn root_credentials(data: &Path) -> Option<RootCredentials> {
    match config::root_keys() {
        Ok(Some(keys)) => Some(RootCredentials {
            access_key_id: keys.access_key_id,
            secret_access_key: keys.secret_access_key,
        }),
        _ => RootCredentials::read(&identity_dir(data)).ok().flatten(),
    }
}

/// Where the identity service keeps its secrets.
pub fn identity_dir(data: &Path) -> PathBuf {
    data.join("identity")
}

/// Which server and which credentials a command uses.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Target {
    /// The server's URL [default: AWS_ENDPOINT_URL, else what `towpath up` wrote into --data]
    #[arg(long, value_name = "URL", global = true)]
    pub endpoint_url: Option<String>,
    /// The server's data folder, for its address and root credentials [default: TOWPATH_DATA]
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
}

impl Client {
    /// Credentials come from the environment, as every AWS tool takes them, else from the data folder.
    pub fn connect(target: &Target) -> Result<Client, ClientError> {
        let data = target.data.clone().unwrap_or_else(config::default_data);
        let known = Connection::read(&data);
        let endpoint = target.endpoint_url.clone().or_else(|| set("AWS_ENDPOINT_URL"));
        let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"));
        let known_region = known.as_ref().map(|known| known.region.clone());
        let from_environment = match (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
            (Some(access_key_id), Some(secret_access_key)) if target.data.is_none() => {
                Some(RootCredentials { access_key_id, secret_access_key })
            }
            _ => None,
        };
        let session_token = from_environment.as_ref().and_then(|_| set("AWS_SESSION_TOKEN"));
        let keys = from_environment.or_else(|| root_credentials(&data)).ok_or(ClientError::NoCredentials)?;
        let authority = known.as_ref().and_then(|known| known.authority.clone());
        let endpoint = trim(endpoint.or(known.map(|known| known.endpoint)).unwrap_or_else(default_endpoint));
        let agent = agent(&endpoint, authority.as_deref())?;
        Ok(Client {
            endpoint,
            authority,
            agent,
            region: region.or(known_region).unwrap_or_else(|| config::DEFAULT_REGION.into()),
            access_key_id: keys.access_key_id,
            secret_access_key: keys.secret_access_key,
            session_token,
        })
    }

    /// Calls an operation of a service that speaks awsJson.
    pub fn call(
        &self,
        service: &model::Service,
        operation: &str,
        input: &Value,
    ) -> Result<Value, ClientError> {
        let target = format!("{}.{operation}", service.target_prefix.unwrap_or_default());
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        let body = input.to_string();
        json_answer(self.send("POST", "/", service.signing_name, &headers, body.as_bytes())?)
    }

    /// Calls an operation of a service that speaks awsQuery; the answer is its XML.
    pub fn query(
        &self,
        service: &model::Service,
        operation: &str,
        parameters: &[(&str, &str)],
    ) -> Result<String, ClientError> {
        let mut form = format!("Action={operation}&Version={}", service.api_version);
        for (name, value) in parameters {
            form += &format!("&{name}={}", percent_encode(value));
        }
        let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let (success, text) = self.send("POST", "/", service.signing_name, &headers, form.as_bytes())?;
        if success {
            return Ok(text);
        }
        let field = |name: &str| crate::xml::element(&text, name).map(str::to_owned);
        Err(ClientError::Refused {
            code: field("Code").unwrap_or_else(|| "Unknown".into()),
            message: field("Message").unwrap_or_else(|| "the server refused the request".into()),
        })
    }

    /// A GET of one of Towpath's own paths.
    pub fn get(&self, path: &str) -> Result<Value, ClientError> {
        json_answer(self.send("GET", path, "towpath", &[], b"")?)
    }

    /// Any of Towpath's own paths.
    pub fn own(&self, method: &str, path: &str, content: Option<&Value>) -> Result<Value, ClientError> {
        let body = content.map(Value::to_string).unwrap_or_default();
        let headers: &[_] = if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
        json_answer(self.send(method, path, "towpath", headers, body.as_bytes())?)
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        service: &str,
        headers: &[(&'static str, &str)],
        body: &[u8],
    ) -> Result<(bool, String), ClientError> {
        let other = |error: &dyn std::fmt::Display| ClientError::Other(error.to_string());
        let uri: http::Uri = format!("{}{path}", self.endpoint).parse().map_err(|error| other(&error))?;
        let mut signed = http::HeaderMap::new();
        for (name, value) in headers {
            signed.insert(
                *name,
                value.parse().map_err(|_| ClientError::Other(format!("bad header {value:?}")))?,
            );
        }
        let keys = SigningKeys {
            access_key_id: &self.access_key_id,
            secret_access_key: &self.secret_access_key,
            session_token: self.session_token.as_deref(),
            region: &self.region,
            service,
        };
        let method = http::Method::from_bytes(method.as_bytes()).map_err(|error| other(&error))?;
        sign_request(&keys, &method, &uri, &mut signed, Some(body), SystemClock.now())
            .map_err(|error| other(&error))?;
        let mut request = http::Request::builder()
            .method(method)
            .uri(uri)
            .body(body.to_vec())
            .map_err(|error| other(&error))?;
        request.headers_mut().extend(signed);
        let response = self.agent.run(request).map_err(|error| ClientError::Unreachable {
            endpoint: self.endpoint.clone(),
            cause: error.to_string(),
        })?;
        let success = response.status().is_success();
        let mut text = String::new();
        let mut reader = response.into_body().into_reader().take(MAX_ANSWER_BYTES);
        reader
            .read_to_string(&mut text)
            .map_err(|error| ClientError::Other(format!("the answer broke off: {error}")))?;
        Ok((success, text))
    }
}

/// Connections; over TLS they trust what the machine trusts, and the server's own authority.
fn agent(endpoint: &str, authority: Option<&Path>) -> Result<ureq::Agent, ClientError> {
    let mut config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT));
    if endpoint.starts_with("https://") {
        let trusted = trust::tls_config(authority.map(trust::Authority::File).as_slice());
        config = config.tls_config(trusted.map_err(|error| ClientError::Other(error.to_string()))?);
    }
    Ok(config.build().into())
}

fn json_answer((success, text): (bool, String)) -> Result<Value, ClientError> {
    let value: Value = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    if success {
        return Ok(value);
    }
    let field = |names: &[&str]| names.iter().find_map(|name| value[name].as_str()).map(str::to_owned);
    Err(ClientError::Refused {
        code: field(&["__type", "code"]).unwrap_or_else(|| "Unknown".into()),
        message: field(&["message", "Message"]).unwrap_or_else(|| "the server refused the request".into()),
    })
}

/// As forms have it: everything but unreserved characters as `%XX`.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn trim(endpoint: String) -> String {
    endpoint.trim_end_matches('/').to_owned()
}

fn default_endpoint() -> String {
    format!("http://{}", config::DEFAULT_LISTEN)
}
