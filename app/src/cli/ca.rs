//! `towpath ca`: what clients have to trust.

use super::CliError;
use crate::client::Connection;
use crate::config;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  towpath ca > towpath.pem && AWS_CA_BUNDLE=towpath.pem aws s3 ls\n  \
                        towpath ca | sudo tee /usr/local/share/ca-certificates/towpath.crt && sudo update-ca-certificates")]
pub struct Ca {
    /// The server's data folder
    #[arg(long, env = "TOWPATH_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print the file's path instead
    #[arg(long)]
    path: bool,
}

impl Ca {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let data = self.data.unwrap_or_else(config::default_data);
        let connection = Connection::read(&data).ok_or_else(|| {
            format!("no server has been started on {}; `towpath up --tls --data DIR` does", data.display())
        })?;
        let Some(authority) = connection.authority else {
            return Err(match connection.endpoint.starts_with("https://") {
                true => "the server's certificate was given to it (--tls-cert): trust whoever issued that",
                false => {
                    "the server speaks plain HTTP, which needs no certificate; `towpath up --tls` speaks TLS"
                }
            }
            .into());
        };
        if self.path {
            println!("{}", authority.display());
        } else {
            print!(
                "{}",
                std::fs::read_to_string(&authority)
                    .map_err(|error| format!("{}: {error}", authority.display()))?
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
