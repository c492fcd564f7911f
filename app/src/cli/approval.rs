//! `towpath approve` and `towpath reject`: a person's word on a manual approval.

use super::CliError;
use crate::client::{Client, Target};
use serde_json::{Value, json};
use std::process::ExitCode;
use towpath_api_codepipeline::MODEL;

#[derive(clap::Args)]
pub struct Decision {
    /// The pipeline
    pipeline: String,
    /// The stage, where more than one waits
    #[arg(long)]
    stage: Option<String>,
    /// The action, where more than one waits
    #[arg(long)]
    action: Option<String>,
    /// Why; kept with the execution
    #[arg(long, short = 'm', default_value = "")]
    comment: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  towpath approve web -m \"looked at staging\"")]
pub struct Approve {
    #[command(flatten)]
    decision: Decision,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  towpath reject web -m \"the header is broken\"")]
pub struct Reject {
    #[command(flatten)]
    decision: Decision,
}

impl Approve {
    pub fn run(self) -> Result<ExitCode, CliError> {
        self.decision.put("Approved")
    }
}

impl Reject {
    pub fn run(self) -> Result<ExitCode, CliError> {
        self.decision.put("Rejected")
    }
}

/// An approval that waits.
struct Waiting {
    stage: String,
    action: String,
    token: String,
}

fn waiting(state: &Value) -> Vec<Waiting> {
    let mut found = Vec::new();
    for stage in state["stageStates"].as_array().into_iter().flatten() {
        for action in stage["actionStates"].as_array().into_iter().flatten() {
            let latest = &action["latestExecution"];
            if let (Some(token), Some("InProgress")) = (latest["token"].as_str(), latest["status"].as_str()) {
                found.push(Waiting {
                    stage: stage["stageName"].as_str().unwrap_or_default().to_owned(),
                    action: action["actionName"].as_str().unwrap_or_default().to_owned(),
                    token: token.to_owned(),
                });
            }
        }
    }
    found
}

impl Decision {
    fn put(self, status: &str) -> Result<ExitCode, CliError> {
        let client = Client::connect(&self.target)?;
        let state = client.call(&MODEL, "GetPipelineState", &json!({ "name": self.pipeline }))?;
        let matches =
            |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
        let mut found: Vec<Waiting> = waiting(&state)
            .into_iter()
            .filter(|one| matches(&self.stage, &one.stage) && matches(&self.action, &one.action))
            .collect();
        let one = match found.len() {
            0 => {
                return Err(format!(
                    "no approval of {} waits; `towpath status {}` shows why",
                    self.pipeline, self.pipeline
                )
                .into());
            }
            1 => found.remove(0),
            _ => {
                let list: Vec<String> = found
                    .iter()
                    .map(|one| format!("--stage {} --action {}", one.stage, one.action))
                    .collect();
                return Err(format!("several approvals wait; choose one of:\n  {}", list.join("\n  ")).into());
            }
        };
        let answer = client.call(
            &MODEL,
            "PutApprovalResult",
            &json!({
                "pipelineName": self.pipeline,
                "stageName": one.stage,
                "actionName": one.action,
                "token": one.token,
                "result": { "status": status, "summary": self.comment },
            }),
        )?;
        if self.json {
            println!("{answer}");
        } else {
            println!("{} {}/{}/{}", status.to_lowercase(), self.pipeline, one.stage, one.action);
        }
        Ok(ExitCode::SUCCESS)
    }
}
