//! `towpath logs BUILD`: a build's log, from its beginning or while it is written.

use super::CliError;
use super::output::harmless;
use crate::client::{Client, Target};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(300);

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  towpath logs web-build:0d5c…      the whole log\n  \
                        towpath logs -f web-build         follow the project's newest build; exits 1 if it fails")]
pub struct Logs {
    /// A build's id (`project:uuid`), or a project's name for its newest build
    build: String,
    /// Go on until the build has ended; the exit code says whether it succeeded
    #[arg(long, short)]
    follow: bool,
    /// Print one JSON object per log event
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Logs {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let client = Client::connect(&self.target)?;
        let id = match self.build.contains(':') {
            true => self.build.clone(),
            false => newest_build(&client, &self.build)?,
        };
        let mut token = Value::Null;
        loop {
            let build = find(&client, &id)?;
            let ended = build["buildComplete"] == true;
            self.print_new(&client, &build, &mut token)?;
            if ended || !self.follow {
                let failed = self.follow && build["buildStatus"] != "SUCCEEDED";
                return Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Prints what came since `token`, up to the end of the stream.
    fn print_new(&self, client: &Client, build: &Value, token: &mut Value) -> Result<(), CliError> {
        let (group, stream) = (&build["logs"]["groupName"], &build["logs"]["streamName"]);
        if group.is_null() || stream.is_null() {
            return Ok(());
        }
        loop {
            let mut input = json!({ "logGroupName": group, "logStreamName": stream, "startFromHead": true });
            if !token.is_null() {
                input["nextToken"] = token.clone();
            }
            let page = match client.call(&towpath_api_logs::MODEL, "GetLogEvents", &input) {
                Ok(page) => page,
                Err(crate::client::ClientError::Refused { code, .. })
                    if code.contains("ResourceNotFound") =>
                {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            let mut out = io::stdout().lock();
            for event in page["events"].as_array().into_iter().flatten() {
                if self.json {
                    writeln!(out, "{event}")?;
                } else {
                    writeln!(
                        out,
                        "{}",
                        harmless(event["message"].as_str().unwrap_or_default().trim_end_matches('\n'))
                    )?;
                }
            }
            out.flush()?;
            let next = page["nextForwardToken"].clone();
            if next == *token {
                return Ok(());
            }
            *token = next;
        }
    }
}

fn newest_build(client: &Client, project: &str) -> Result<String, CliError> {
    let page = client.call(
        &towpath_api_codebuild::MODEL,
        "ListBuildsForProject",
        &json!({ "projectName": project, "sortOrder": "DESCENDING" }),
    )?;
    let newest = page["ids"][0].as_str().map(str::to_owned);
    newest.ok_or_else(|| format!("project {project} has no builds yet").into())
}

fn find(client: &Client, id: &str) -> Result<Value, CliError> {
    let answer = client.call(&towpath_api_codebuild::MODEL, "BatchGetBuilds", &json!({ "ids": [id] }))?;
    match answer["builds"].get(0) {
        Some(build) => Ok(build.clone()),
        None => Err(format!("there is no build {id}").into()),
    }
}
