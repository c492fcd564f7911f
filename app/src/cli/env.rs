//! `towpath env`: a shell's exports.

use super::CliError;
use crate::client::{Connection, root_credentials};
use crate::config;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  eval \"$(towpath env)\" && aws codepipeline list-pipelines")]
pub struct Env {
    /// The server's data folder
    #[arg(long, env = "TOWPATH_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print a JSON object instead
    #[arg(long)]
    json: bool,
}

/// What a client needs to know, under the names of the variables that carry it.
pub fn variables(data: Option<PathBuf>) -> Result<Vec<(&'static str, String)>, CliError> {
    let data = data.unwrap_or_else(config::default_data);
    let missing =
        || format!("no server has been started on {}; `towpath up --data DIR` does", data.display());
    let connection = Connection::read(&data).ok_or_else(missing)?;
    let keys = root_credentials(&data).ok_or_else(missing)?;
    Ok(vec![
        ("AWS_ENDPOINT_URL", connection.endpoint.clone()),
        ("AWS_ENDPOINT_URL_S3", connection.endpoint),
        ("AWS_ACCESS_KEY_ID", keys.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", keys.secret_access_key),
        ("AWS_REGION", connection.region.clone()),
        ("AWS_DEFAULT_REGION", connection.region),
    ])
}

impl Env {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let variables = variables(self.data)?;
        if self.json {
            let object: serde_json::Map<String, serde_json::Value> =
                variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            println!("{}", serde_json::to_string_pretty(&object)?);
        } else {
            for (name, value) in variables {
                println!("export {name}='{}'", value.replace('\'', "'\\''"));
            }
            println!("unset AWS_SESSION_TOKEN AWS_PROFILE");
        }
        Ok(ExitCode::SUCCESS)
    }
}
