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

/// Where AWS tools look for the authorities that they trust.
pub const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

const NODE_BUNDLE: &str = "NODE_EXTRA_CA_CERTS";
/// Git's own variable wins over all of its configuration; what it says moves there, as the general case.
const GIT_BUNDLE: &str = "GIT_SSL_CAINFO";

/// What a client needs to know, under the names of the variables that carry it.
pub fn variables(data: Option<PathBuf>) -> Result<Vec<(&'static str, String)>, CliError> {
    let data = data.unwrap_or_else(config::default_data);
    let missing =
        || format!("no server has been started on {}; `towpath up --data DIR` does", data.display());
    let connection = Connection::read(&data).ok_or_else(missing)?;
    let keys = root_credentials(&data).ok_or_else(missing)?;
    let mut variables = vec![
        ("AWS_ENDPOINT_URL", connection.endpoint.clone()),
        ("AWS_ENDPOINT_URL_S3", connection.endpoint.clone()),
        ("AWS_ACCESS_KEY_ID", keys.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", keys.secret_access_key),
        ("AWS_REGION", connection.region.clone()),
        ("AWS_DEFAULT_REGION", connection.region),
    ];
    if let Some(authority) = connection.authority {
        let path = authority.to_string_lossy().into_owned();
        variables.extend([
            (CA_BUNDLE, path.clone()),
            // Git trusts it for this server alone.
            ("GIT_CONFIG_KEY_0", format!("http.{}/.sslCAInfo", connection.endpoint)),
            ("GIT_CONFIG_VALUE_0", path),
        ]);
        // One file only: who has set it already adds the authority there.
        if std::env::var_os(NODE_BUNDLE).is_none_or(|set| set.is_empty()) {
            variables.push((NODE_BUNDLE, authority.to_string_lossy().into_owned()));
        }
        let general = std::env::var(GIT_BUNDLE).ok().filter(|path| !path.is_empty());
        let count = if general.is_some() { "2" } else { "1" };
        variables.push(("GIT_CONFIG_COUNT", count.to_owned()));
        if let Some(general) = general {
            variables.push(("GIT_CONFIG_KEY_1", "http.sslCAInfo".to_owned()));
            variables.push(("GIT_CONFIG_VALUE_1", general));
        }
    }
    Ok(variables)
}

impl Env {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let variables = variables(self.data)?;
        let has_authority = variables.iter().any(|(name, _)| *name == CA_BUNDLE);
        if self.json {
            let object: serde_json::Map<String, serde_json::Value> =
                variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            println!("{}", serde_json::to_string_pretty(&object)?);
        } else {
            for (name, value) in variables {
                println!("export {name}='{}'", value.replace('\'', "'\\''"));
            }
            let more = if has_authority { format!(" {GIT_BUNDLE}") } else { String::new() };
            println!("unset AWS_SESSION_TOKEN AWS_PROFILE{more}");
        }
        Ok(ExitCode::SUCCESS)
    }
}
