//! `towpath status`: what every pipeline is doing, and what it waits for.

use super::CliError;
use super::output::{self, Live, bold, dim, harmless, status_word};
use crate::client::{Client, Target};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;
use towpath_api::{Clock, SystemClock};
use towpath_api_codepipeline::MODEL;

const REFRESH: Duration = Duration::from_millis(500);
const MAX_PIPELINES: usize = 1000;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  towpath status                 one line a stage, for every pipeline\n  \
                        towpath status web --watch     a live view, until Ctrl-C\n  \
                        towpath status web --json      GetPipelineState, for a script"
)]
pub struct Status {
    /// Only these pipelines
    pipelines: Vec<String>,
    /// Go on showing changes; on a terminal in place, in a pipe as lines
    #[arg(long, short)]
    watch: bool,
    /// Print the pipelines' states as JSON
    #[arg(long)]
    json: bool,
    /// Show the nodes of `towpath server` instead
    #[arg(long, conflicts_with_all = ["pipelines", "watch"])]
    nodes: bool,
    #[command(flatten)]
    target: Target,
}

impl Status {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let client = Client::connect(&self.target)?;
        if self.nodes {
            let listing = client.get("/_towpath/nodes")?;
            match self.json {
                true => println!("{}", serde_json::to_string_pretty(&listing)?),
                false => print!("{}", nodes(&listing)),
            }
            return Ok(ExitCode::SUCCESS);
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&self.states(&client)?)?);
            return Ok(ExitCode::SUCCESS);
        }
        if !self.watch {
            print!("{}", frame(&self.states(&client)?));
            return Ok(ExitCode::SUCCESS);
        }
        let mut live = Live::new();
        let mut before = String::new();
        loop {
            let states = self.states(&client)?;
            if output::is_terminal() {
                live.draw(&frame(&states))?;
            } else {
                let now = frame(&states);
                for line in now.lines().filter(|line| !before.lines().any(|old| old == *line)) {
                    println!("{line}");
                }
                before = now;
            }
            std::thread::sleep(REFRESH);
        }
    }

    fn states(&self, client: &Client) -> Result<Vec<Value>, CliError> {
        let names = if self.pipelines.is_empty() { all_pipelines(client)? } else { self.pipelines.clone() };
        names
            .iter()
            .map(|name| Ok(client.call(&MODEL, "GetPipelineState", &json!({ "name": name }))?))
            .collect()
    }
}

fn nodes(listing: &Value) -> String {
    let listed = listing["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    if listed.is_empty() {
        return "this server is alone; `towpath server` is a node of several\n".into();
    }
    let now = SystemClock.now().as_seconds();
    let line = |node: &Value| {
        let text = |name: &str| harmless(node[name].as_str().unwrap_or("-"));
        let seen = node["seenAt"].as_f64().map(|seen| output::ago(seen, now)).unwrap_or_default();
        format!("{:<24} {:<8} {}  {}\n", text("name"), text("state"), text("endpoint"), dim(&seen))
    };
    listed.iter().map(line).collect()
}

fn all_pipelines(client: &Client) -> Result<Vec<String>, CliError> {
    let mut names = Vec::new();
    let mut token = Value::Null;
    loop {
        let mut input = json!({});
        if !token.is_null() {
            input["nextToken"] = token;
        }
        let page = client.call(&MODEL, "ListPipelines", &input)?;
        let listed = page["pipelines"].as_array().into_iter().flatten();
        names.extend(listed.filter_map(|pipeline| Some(pipeline["name"].as_str()?.to_owned())));
        token = page["nextToken"].clone();
        if token.is_null() || names.len() >= MAX_PIPELINES {
            return Ok(names);
        }
    }
}

fn frame(states: &[Value]) -> String {
    if states.is_empty() {
        return "no pipelines yet; `aws codepipeline create-pipeline` makes one\n".into();
    }
    states.iter().map(pipeline).collect::<Vec<_>>().join("\n")
}

fn pipeline(state: &Value) -> String {
    let mut text = format!("{}\n", bold(&harmless(state["pipelineName"].as_str().unwrap_or("?"))));
    for stage in state["stageStates"].as_array().into_iter().flatten() {
        let name = harmless(stage["stageName"].as_str().unwrap_or("?"));
        let status = stage["latestExecution"]["status"].as_str().unwrap_or("-");
        let closed = stage["inboundTransitionState"]["enabled"] == false;
        let note = if closed {
            let reason = stage["inboundTransitionState"]["disabledReason"].as_str().unwrap_or("");
            format!("  transition disabled: {}", harmless(reason))
        } else {
            String::new()
        };
        text += &format!("  {name:<20} {}{}\n", status_word(status), dim(&note));
        for action in stage["actionStates"].as_array().into_iter().flatten() {
            text += &action_line(action);
        }
    }
    text
}

fn action_line(action: &Value) -> String {
    let latest = &action["latestExecution"];
    let name = harmless(action["actionName"].as_str().unwrap_or("?"));
    let status = latest["status"].as_str().unwrap_or("-");
    let mut notes = Vec::new();
    let now = SystemClock.now().as_seconds();
    if let Some(changed) = latest["lastStatusChange"].as_f64() {
        notes.push(output::ago(changed, now));
    }
    if let Some(summary) = latest["summary"].as_str().filter(|summary| !summary.is_empty()) {
        notes.push(harmless(summary.lines().next().unwrap_or_default()));
    }
    if let Some(message) = latest["errorDetails"]["message"].as_str() {
        notes.push(harmless(message));
    }
    if latest["token"].is_string() {
        notes.push("waits for `towpath approve` or `towpath reject`".into());
    } else if let Some(id) = latest["externalExecutionId"].as_str() {
        notes.push(harmless(id));
    }
    format!("    {name:<18} {}  {}\n", status_word(status), dim(&notes.join("; ")))
}
