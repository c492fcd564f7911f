//! The AWS SDK for Rust as a child process: one JSON line in per call, one out.
//!
//! The SDK is typed, so the calls are generated from the scenario table (`generate.py`, `TOWPATH_STEPS` names the
//! file); an answer goes back as its own Debug text, which the Python side reads.

use aws_smithy_http_client::Builder;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Debug;
use std::io::{BufRead, Write};

type Res<T> = Result<T, String>;

/// What the server refused, or what went wrong before it could.
pub enum Failure {
    Refused { code: Option<String>, message: String, status: u16 },
    Broken(String),
}

impl From<String> for Failure {
    fn from(text: String) -> Failure {
        Failure::Broken(text)
    }
}

/// `builder.build()` is fallible for some structures and not for others; this takes both.
pub struct Wrap<T>(pub T);

pub trait FromResult {
    type Out;
    fn finished(&self) -> Res<Self::Out>;
}

impl<T: Clone, E: Debug> FromResult for Wrap<Result<T, E>> {
    type Out = T;
    fn finished(&self) -> Res<T> {
        self.0.as_ref().map(T::clone).map_err(|error| format!("{error:?}"))
    }
}

pub trait FromPlain {
    type Out;
    fn finished(&self) -> Res<Self::Out>;
}

impl<T: Clone> FromPlain for &Wrap<T> {
    type Out = T;
    fn finished(&self) -> Res<T> {
        Ok(self.0.clone())
    }
}

pub fn text(value: &Value) -> Res<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{value} is no text"))
}

pub fn int(value: &Value) -> Res<i32> {
    long(value)?.try_into().map_err(|_| format!("{value} is too large"))
}

pub fn long(value: &Value) -> Res<i64> {
    value.as_i64().ok_or_else(|| format!("{value} is no number"))
}

pub fn truth(value: &Value) -> Res<bool> {
    value.as_bool().ok_or_else(|| format!("{value} is no boolean"))
}

/// `{"$bytes": [1, 2]}`
pub fn bytes(value: &Value) -> Res<Vec<u8>> {
    let numbers = value["$bytes"].as_array().ok_or_else(|| format!("{value} is no blob"))?;
    numbers.iter().map(|one| int(one)?.try_into().map_err(|_| format!("{one} is no byte"))).collect()
}

pub fn list<T>(value: &Value, each: impl Fn(&Value) -> Res<T>) -> Res<Vec<T>> {
    value.as_array().ok_or_else(|| format!("{value} is no list"))?.iter().map(each).collect()
}

pub fn map<T>(value: &Value, each: impl Fn(&Value) -> Res<T>) -> Res<HashMap<String, T>> {
    let members = value.as_object().ok_or_else(|| format!("{value} is no map"))?;
    members.iter().map(|(name, inner)| Ok((name.clone(), each(inner)?))).collect()
}

/// The member, if the call has it.
pub fn get<T>(input: &Value, name: &str, read: impl Fn(&Value) -> Res<T>) -> Res<Option<T>> {
    input.get(name).map(read).transpose()
}

/// An SDK's error in our terms; a macro because each SDK has its own error types.
macro_rules! failure {
    ($error:expr) => {{
        let error = $error;
        let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
        match error.as_service_error() {
            Some(service) => Failure::Refused {
                code: service.meta().code().map(str::to_owned),
                message: service.meta().message().unwrap_or_default().to_owned(),
                status,
            },
            None => Failure::Broken(format!("{error:?}")),
        }
    }};
}

macro_rules! clients {
    ($($name:ident: $sdk:ident $(, $more:ident($value:expr))?;)*) => {
        pub struct Clients {
            $(pub $name: $sdk::Client,)*
        }

        impl Clients {
            fn new(endpoint: &str, access: &str, secret: &str) -> Clients {
                let http = Builder::new().build_http();
                Clients {
                    $($name: $sdk::Client::from_conf(
                        $sdk::Config::builder()
                            .behavior_version_latest()
                            .region($sdk::config::Region::new("us-east-1"))
                            .endpoint_url(endpoint)
                            .credentials_provider($sdk::config::Credentials::new(access, secret, None, None, "test"))
                            .http_client(http.clone())
                            .retry_config($sdk::config::retry::RetryConfig::disabled())
                            $(.$more($value))?
                            .build(),
                    ),)*
                }
            }
        }
    };
}

clients! {
    codebuild: aws_sdk_codebuild;
    codecommit: aws_sdk_codecommit;
    codedeploy: aws_sdk_codedeploy;
    codepipeline: aws_sdk_codepipeline;
    iam: aws_sdk_iam;
    logs: aws_sdk_cloudwatchlogs;
    s3: aws_sdk_s3, force_path_style(true);
    sts: aws_sdk_sts;
}

include!(env!("TOWPATH_STEPS"));

fn word<'a>(question: &'a Value, name: &str) -> &'a str {
    question[name].as_str().unwrap_or_default()
}

async fn answer(made: &mut HashMap<String, Clients>, question: &Value) -> Value {
    let (access, secret) = (word(question, "access"), word(question, "secret"));
    let clients = made
        .entry(access.to_owned())
        .or_insert_with(|| Clients::new(word(question, "endpoint"), access, secret));
    match dispatch(clients, word(question, "service"), word(question, "operation"), &question["input"]).await
    {
        Ok(told) => json!({ "answer": told }),
        Err(Failure::Refused { code, message, status }) => {
            json!({"refused": {"code": code, "message": message, "status": status}})
        }
        Err(Failure::Broken(text)) => json!({ "failed": text }),
    }
}

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut made = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let told = match serde_json::from_str(&line?) {
            Ok(question) => runtime.block_on(answer(&mut made, &question)),
            Err(error) => json!({"failed": error.to_string()}),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{told}")?;
        out.flush()?;
    }
    Ok(())
}
