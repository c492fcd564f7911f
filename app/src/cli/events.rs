//! `towpath events`: everything that happened, in EventBridge's shape.

use super::CliError;
use super::output::{bold, dim, harmless};
use crate::client::{Client, Target};
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(300);

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  towpath events -f                          as they happen\n  \
                        towpath events --source aws.codepipeline --json")]
pub struct Events {
    /// Only events of this source, such as aws.codebuild
    #[arg(long)]
    source: Option<String>,
    /// Go on with new ones, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Print one whole event per line, as a rule's target would receive it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Events {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let client = Client::connect(&self.target)?;
        let mut after = 0;
        loop {
            let source = self.source.as_ref().map(|source| format!("&source={source}")).unwrap_or_default();
            let page = client.get(&format!("/_towpath/events?after={after}{source}"))?;
            for recorded in page["events"].as_array().into_iter().flatten() {
                let event = &recorded["event"];
                if self.json { println!("{event}") } else { println!("{}", line(event)) }
            }
            let next = page["nextSequence"].as_u64().unwrap_or(after);
            let more = next > after;
            after = next;
            if !more && !self.follow {
                return Ok(ExitCode::SUCCESS);
            }
            if !more {
                std::thread::sleep(POLL);
            }
        }
    }
}

fn line(event: &Value) -> String {
    let text = |name: &str| harmless(event[name].as_str().unwrap_or("-"));
    let detail = &event["detail"];
    let told = ["pipeline", "stage", "action", "state", "project-name", "build-status", "completed-phase"]
        .iter()
        .chain(&["deploymentId", "instanceId", "repositoryName", "referenceName", "event"])
        .filter_map(|name| Some(format!("{name}={}", harmless(detail[name].as_str()?))));
    let object = ["bucket", "object"].into_iter().filter_map(|part| {
        let value = detail[part]["name"].as_str().or(detail[part]["key"].as_str())?;
        Some(format!("{part}={}", harmless(value)))
    });
    let told = told.chain(object);
    format!("{} {} {}", text("time"), bold(&text("detail-type")), dim(&told.collect::<Vec<_>>().join(" ")))
}
