//! `towpath retry`: a failed stage once more.

use super::CliError;
use crate::client::{Client, Target};
use serde_json::json;
use std::process::ExitCode;
use towpath_api_codepipeline::MODEL;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  towpath retry web                the failed actions of the failed stage\n  \
                        towpath retry web --stage Build --all"
)]
pub struct Retry {
    /// The pipeline
    pipeline: String,
    /// The stage, where more than one has failed
    #[arg(long)]
    stage: Option<String>,
    /// Run all actions of the stage again, not only the failed ones
    #[arg(long)]
    all: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Retry {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let client = Client::connect(&self.target)?;
        let state = client.call(&MODEL, "GetPipelineState", &json!({ "name": self.pipeline }))?;
        let failed: Vec<(&str, &str)> = state["stageStates"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|stage| matches!(stage["latestExecution"]["status"].as_str(), Some("Failed" | "Stopped")))
            .filter_map(|stage| {
                Some((
                    stage["stageName"].as_str()?,
                    stage["latestExecution"]["pipelineExecutionId"].as_str()?,
                ))
            })
            .filter(|(name, _)| self.stage.as_deref().is_none_or(|wanted| wanted == *name))
            .collect();
        let (stage, execution) = match failed.as_slice() {
            [] => return Err(format!("no stage of {} has failed", self.pipeline).into()),
            [one] => *one,
            several => {
                let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
                return Err(
                    format!("several stages have failed; choose with --stage: {}", names.join(", ")).into()
                );
            }
        };
        let answer = client.call(
            &MODEL,
            "RetryStageExecution",
            &json!({
                "pipelineName": self.pipeline,
                "stageName": stage,
                "pipelineExecutionId": execution,
                "retryMode": if self.all { "ALL_ACTIONS" } else { "FAILED_ACTIONS" },
            }),
        )?;
        if self.json {
            println!("{answer}");
        } else {
            println!("retrying {}/{stage} of execution {execution}", self.pipeline);
        }
        Ok(ExitCode::SUCCESS)
    }
}
