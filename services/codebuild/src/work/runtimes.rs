//! `runtime-versions`: what the machine has, or a clear refusal. Nothing is installed.

use crate::sandbox::Sandbox;
use std::collections::BTreeMap;
use std::io::Read;
use towpath_runner::{Command, RunnerError};

/// The command that tells a runtime's version.
fn probe(runtime: &str) -> Option<&'static [&'static str]> {
    Some(match runtime {
        "python" => &["python3", "--version"],
        "nodejs" => &["node", "--version"],
        "java" => &["java", "-version"],
        "golang" => &["go", "version"],
        "ruby" => &["ruby", "--version"],
        "php" => &["php", "--version"],
        "dotnet" => &["dotnet", "--version"],
        "docker" => &["docker", "--version"],
        _ => return None,
    })
}

/// Why a runtime cannot be had.
#[derive(Debug)]
pub enum Unmet {
    /// AWS's message for the phase's context.
    Wish(String),
    /// Nothing could be asked.
    Runner(RunnerError),
}

/// Checks every entry; the lines for the log.
pub async fn check(
    sandbox: &dyn Sandbox,
    wanted: &BTreeMap<String, String>,
    variables: &[(String, String)],
) -> Result<Vec<String>, Unmet> {
    let mut lines = Vec::new();
    for (runtime, version) in wanted {
        let version = match version.strip_prefix('$') {
            Some(name) => {
                let name = name.trim_start_matches('{').trim_end_matches('}');
                let found = variables.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone()).unwrap_or_default()
            }
            None => version.clone(),
        };
        let Some(probe) = probe(runtime) else {
            return Err(Unmet::Wish(format!(
                "Unknown runtime named '{runtime}'. This build image has the following runtimes: \
                 docker, dotnet, golang, java, nodejs, php, python, ruby, where they are installed"
            )));
        };
        let found = ask(sandbox, probe).await.map_err(Unmet::Runner)?;
        let Some(found) = found.as_deref().and_then(version_in) else {
            return Err(Unmet::Wish(format!(
                "Unknown runtime version named '{version}' of {runtime}. This machine has no {runtime}: install it where the server's PATH finds it"
            )));
        };
        if !satisfies(found, &version) {
            return Err(Unmet::Wish(format!(
                "Unknown runtime version named '{version}' of {runtime}. This build image has the following versions: {found}"
            )));
        }
        lines.push(format!("Selecting '{runtime}' runtime version '{found}' based on manual selections..."));
    }
    Ok(lines)
}

/// What a program says of itself; `None` where there is none.
async fn ask(sandbox: &dyn Sandbox, argv: &[&str]) -> Result<Option<String>, RunnerError> {
    const MAX_BYTES: u64 = 4 << 10;
    let (reader, writer) = std::io::pipe()?;
    let second = writer.try_clone()?;
    let command = Command::new(argv.iter().copied())
        .stdout(std::os::fd::OwnedFd::from(writer))
        .stderr(std::os::fd::OwnedFd::from(second));
    let reading = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        reader.take(MAX_BYTES).read_to_end(&mut text).ok().map(|_| text)
    });
    let status = match sandbox.exec(command).await {
        Ok(status) => status,
        Err(RunnerError::Spawn { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = reading.await.ok().flatten().unwrap_or_default();
    Ok(status.success().then(|| String::from_utf8_lossy(&text).into_owned()))
}

/// The first thing that looks like a version: `3.11.2` in `Python 3.11.2`.
fn version_in(text: &str) -> Option<&str> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let rest = &text[start..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    Some(rest[..end].trim_end_matches('.'))
}

/// `latest`, `3.x`, `3`, `3.11`, `corretto17`.
fn satisfies(found: &str, wanted: &str) -> bool {
    let wanted = wanted.trim_start_matches("corretto").trim_start_matches("openjdk");
    if wanted == "latest" {
        return true;
    }
    // Java 8 calls itself 1.8.
    let found = found.strip_prefix("1.").filter(|_| wanted == "8").unwrap_or(found);
    let wanted = wanted.trim_end_matches(".x");
    !wanted.is_empty()
        && found.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn versions_are_found_and_compared() {
        assert_eq!(version_in("Python 3.11.2\n"), Some("3.11.2"));
        assert_eq!(version_in("v18.13.0"), Some("18.13.0"));
        assert_eq!(version_in("go version go1.22.1 linux/amd64"), Some("1.22.1"));
        assert_eq!(version_in("openjdk version \"17.0.9\" 2023"), Some("17.0.9"));
        for good in ["3", "3.x", "3.11", "3.11.2", "latest", "3.11.x"] {
            assert!(satisfies("3.11.2", good), "{good}");
        }
        for bad in ["3.1", "2", "3.12", "", "x"] {
            assert!(!satisfies("3.11.2", bad), "{bad}");
        }
        assert!(satisfies("17.0.9", "corretto17") && satisfies("1.8.0", "openjdk8"));
    }
}
