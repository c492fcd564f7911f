//! `towpath profile`: writes a profile into the AWS tools' own files.

use super::{CliError, env};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  towpath profile && aws --profile towpath s3 ls")]
pub struct Profile {
    /// The profile's name
    #[arg(long, default_value = "towpath")]
    name: String,
    /// The server's data folder
    #[arg(long, env = "TOWPATH_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Profile {
    pub fn run(self) -> Result<ExitCode, CliError> {
        if self.name.is_empty() || !self.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        {
            return Err(
                format!("{:?} is no profile name: use letters, digits, '-', '_' and '.'", self.name).into()
            );
        }
        let variables = env::variables(self.data)?;
        let value = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        let home = std::env::var_os("HOME").map(PathBuf::from).ok_or("HOME is not set")?;
        let file = |variable: &str, usual: &str| {
            std::env::var_os(variable).map_or_else(|| home.join(".aws").join(usual), PathBuf::from)
        };
        let config = file("AWS_CONFIG_FILE", "config");
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let section =
            if self.name == "default" { "default".into() } else { format!("profile {}", self.name) };
        let mut pairs = vec![("region", value("AWS_REGION")), ("endpoint_url", value("AWS_ENDPOINT_URL"))];
        pairs.extend(Some(("ca_bundle", value(env::CA_BUNDLE))).filter(|(_, path)| !path.is_empty()));
        write_section(&config, &section, &pairs)?;
        write_section(
            &credentials,
            &self.name,
            &[
                ("aws_access_key_id", value("AWS_ACCESS_KEY_ID")),
                ("aws_secret_access_key", value("AWS_SECRET_ACCESS_KEY")),
            ],
        )?;
        println!("wrote profile {} to {} and {}", self.name, config.display(), credentials.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// Replaces or adds `[section]`, leaving everything else as it is; whole or not at all.
fn write_section(path: &Path, section: &str, pairs: &[(&str, String)]) -> Result<(), CliError> {
    let old = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let fresh = path.with_extension("towpath-new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(replace_section(&old, section, pairs).as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    Ok(())
}

fn replace_section(old: &str, section: &str, pairs: &[(&str, String)]) -> String {
    let header = format!("[{section}]");
    let mut kept = String::new();
    let mut inside = false;
    for line in old.lines() {
        if line.trim_start().starts_with('[') {
            inside = line.trim() == header;
        }
        if !inside {
            kept += line;
            kept.push('\n');
        }
    }
    if !kept.is_empty() && !kept.ends_with("\n\n") {
        kept.push('\n');
    }
    kept += &header;
    kept.push('\n');
    for (name, value) in pairs {
        kept += &format!("{name} = {value}\n");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_profiles_stay_as_they_are() {
        let old = "[default]\nregion = x\n\n[towpath]\nregion = old\nextra = 1\n[other]\na = b\n";
        let new = replace_section(old, "towpath", &[("region", "new".into())]);
        assert_eq!(new, "[default]\nregion = x\n\n[other]\na = b\n\n[towpath]\nregion = new\n");
        assert_eq!(replace_section("", "a", &[("b", "c".into())]), "[a]\nb = c\n");
    }
}
