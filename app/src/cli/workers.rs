//! `towpath workers` and `towpath token`: the machines that build for this server, and their tokens.

use super::CliError;
use super::output::{ago, bold, dim, harmless};
use crate::client::{Client, Target};
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;
use towpath_api::{Clock, SystemClock};

const WORKERS: &str = "/_towpath/workers";
const TOKENS: &str = "/_towpath/workers/tokens";

#[derive(clap::Args)]
#[command(after_help = "Example:\n  towpath workers\n  towpath workers --json")]
pub struct Workers {
    /// Print the listing as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Workers {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let listing = Client::connect(&self.target)?.own("GET", WORKERS, None)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&listing)?);
            return Ok(ExitCode::SUCCESS);
        }
        for worker in listing["workers"].as_array().into_iter().flatten() {
            let builds: Vec<String> = list(&worker["builds"]).map(harmless).collect();
            let doing = if builds.is_empty() { dim("idle") } else { builds.join(" ") };
            let name = bold(&harmless(worker["name"].as_str().unwrap_or("-")));
            println!("{name}  {} slots  seen {}  {doing}", worker["slots"], when(&worker["lastSeen"]));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn when(seconds: &Value) -> String {
    ago(seconds.as_f64().unwrap_or(0.0), SystemClock.now().as_millis() as f64 / 1000.0)
}

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  towpath token create worker --note 'rack 3' --days 90 > token\n  \
                        towpath token list\n  towpath token revoke 4w8k2j9x0c7d1f5a")]
pub struct Token {
    #[command(subcommand)]
    command: TokenCommand,
    #[command(flatten)]
    target: Target,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a token and print it; it is not shown again
    Create {
        /// Who it is for
        kind: Kind,
        /// A line that tells it apart in the listing
        #[arg(long, default_value = "")]
        note: String,
        /// Days until it ends [default: 365]
        #[arg(long)]
        days: Option<i64>,
        /// Print its id and end too, as JSON
        #[arg(long)]
        json: bool,
    },
    /// List tokens, without their secrets
    List {
        /// Print the listing as JSON
        #[arg(long)]
        json: bool,
    },
    /// End a token now; builds that run under it run again elsewhere
    Revoke {
        /// The token's id, as listed
        id: String,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// `towpath worker`
    Worker,
}

impl Token {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let client = Client::connect(&self.target)?;
        match self.command {
            TokenCommand::Create { kind: Kind::Worker, note, days, json: whole } => {
                let made = client.own("POST", TOKENS, Some(&json!({ "note": note, "days": days })))?;
                if whole {
                    println!("{}", serde_json::to_string_pretty(&made)?);
                } else {
                    println!("{}", made["token"].as_str().ok_or("the server sent no token")?);
                }
            }
            TokenCommand::List { json: true } => {
                println!("{}", serde_json::to_string_pretty(&client.own("GET", TOKENS, None)?)?);
            }
            TokenCommand::List { json: false } => {
                let listing = client.own("GET", TOKENS, None)?;
                for token in listing["tokens"].as_array().into_iter().flatten() {
                    let text = |name: &str| harmless(token[name].as_str().unwrap_or("-"));
                    let days = (token["expiresAt"].as_f64().unwrap_or(0.0)
                        - SystemClock.now().as_millis() as f64 / 1000.0)
                        / 86_400.0;
                    let ends = if days < 0.0 { "ended".into() } else { format!("ends in {days:.0} d") };
                    let made = when(&token["createdAt"]);
                    let (id, note) = (bold(&text("id")), text("note"));
                    println!("{id}  {ends}  made {made} by {}  {note}", dim(&text("createdBy")));
                }
            }
            TokenCommand::Revoke { id } => {
                if !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                    return Err(format!("{id} is no token's id; `towpath token list` shows them").into());
                }
                client.own("DELETE", &format!("{TOKENS}/{id}"), None)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
