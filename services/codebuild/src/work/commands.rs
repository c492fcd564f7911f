//! INSTALL, PRE_BUILD, BUILD and POST_BUILD: the buildspec's commands in the build's shell.

use super::log::Log;
use super::output::Output;
use super::shell::{Shell, ShellError};
use crate::buildspec::{Artifacts, Buildspec, OnFailure, Phase, PhaseName};
use crate::sandbox::Sandbox;
use crate::state::{Context, Status};
use std::path::PathBuf;
use std::sync::Arc;
use towpath_runner::{ExitStatus, RunnerError};

/// A context's message holds the command, which may be a whole script.
const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// Why a build's commands cannot go on.
#[derive(Debug)]
pub enum Broken {
    /// Our own failure.
    Fault(String),
    /// The build wrote more than it may, and its sandbox was ended.
    OverDisk(String),
}

impl From<ShellError> for Broken {
    fn from(error: ShellError) -> Self {
        match error {
            ShellError::Runner(ref runner) if runner.is_over_disk() => Broken::OverDisk(runner.to_string()),
            error => Broken::Fault(error.to_string()),
        }
    }
}

/// A shell and its output, ready for the first command.
pub struct Prepared {
    shell: Shell,
    output: Output,
}

impl Prepared {
    pub async fn new(
        sandbox: Arc<dyn Sandbox>,
        files: (PathBuf, PathBuf),
        spec: &Buildspec,
        variables: &[(String, String)],
        (folder, log): (PathBuf, Log),
    ) -> Result<Prepared, ShellError> {
        let shell = Shell::new(sandbox, files, (spec.shell, spec.version), variables, &folder).await?;
        Ok(Prepared { shell, output: Output::new(log)? })
    }
}

pub struct Commands {
    prepared: Prepared,
    pub spec: Arc<Buildspec>,
    log: Log,
}

/// What the commands say about results, with variables filled in.
pub struct Results {
    pub spec: Arc<Buildspec>,
    pub exported: Vec<(String, String)>,
    /// In the order: the primary artifacts, then the secondary ones by identifier.
    pub artifacts: Vec<(Option<String>, Artifacts)>,
    /// As in the buildspec, filled in: base directory and files.
    pub reports: Vec<(String, Vec<String>)>,
    pub failure: Option<String>,
}

impl Commands {
    pub fn new(prepared: Prepared, spec: Buildspec, log: Log) -> Commands {
        Commands { prepared, spec: Arc::new(spec), log }
    }

    /// Runs one phase, again where `on-failure` says so.
    pub async fn phase(&mut self, name: PhaseName, succeeding: bool) -> Result<(Status, Context), Broken> {
        let shown = name.to_string();
        self.prepared.shell.set_succeeding(succeeding).map_err(ShellError::Io)?;
        let spec = self.spec.clone();
        let mut retries = 0;
        loop {
            self.log.say(format!("Entering phase {shown}")).await;
            self.prepared.output.settle(true).await;
            let failure = match spec.phase(name) {
                Some(phase) => self.once(phase).await?,
                None => None,
            };
            let tail = self.prepared.output.settle(true).await;
            let Some(context) = failure else {
                self.log.end_of(&shown, Status::Succeeded, &Context::default()).await;
                return Ok((Status::Succeeded, Context::default()));
            };
            self.log.end_of(&shown, Status::Failed, &context).await;
            let on_failure = spec.phase(name).and_then(|phase| phase.on_failure.as_ref());
            match on_failure {
                Some(OnFailure::Retry { times, pattern })
                    if retries < *times
                        && pattern.as_ref().is_none_or(|regex| {
                            regex.is_match(&tail) || regex.is_match(&context.message)
                        }) =>
                {
                    retries += 1;
                    self.log.say(format!("Retrying phase {shown}: retry {retries} of {times}")).await;
                }
                _ => return Ok((Status::Failed, context)),
            }
        }
    }

    /// `commands` up to the first that fails, then `finally`; why the phase failed.
    async fn once(&mut self, phase: &Phase) -> Result<Option<Context>, Broken> {
        let mut failure = None;
        for list in [&phase.commands, &phase.finally] {
            for text in list {
                if let Some(context) = self.command(text, phase).await? {
                    failure.get_or_insert(context);
                    break;
                }
            }
        }
        Ok(failure)
    }

    async fn command(&mut self, text: &str, phase: &Phase) -> Result<Option<Context>, Broken> {
        self.log.say(format!("Running command {text}")).await;
        let user = phase.run_as.as_deref().or(self.spec.run_as.as_deref()).map(str::to_owned);
        let Prepared { shell, output } = &mut self.prepared;
        let ended = shell.run(text, user.as_deref(), output).await;
        output.settle(false).await;
        let reason = match ended {
            Ok(status) if status.success() => return Ok(None),
            Ok(status) => reason(&status),
            Err(ShellError::Runner(ref error @ RunnerError::Spawn { .. })) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        if let Ok(ExitStatus { out_of_memory: true, .. }) = ended {
            self.log.say("The memory limit of the build's compute type ended a process").await;
        }
        self.log.say(format!("Command did not exit successfully {text} {reason}")).await;
        let text = crate::reports::cut(text.trim_end(), MAX_MESSAGE_BYTES);
        let message = format!("Error while executing command: {text}. Reason: {reason}");
        Ok(Some(Context::new("COMMAND_EXECUTION_ERROR", message)))
    }

    /// Exported variables, and names and patterns filled in by the shell. Ends the shell.
    pub async fn results(mut self) -> Result<Results, Broken> {
        let mut results = Results {
            spec: self.spec.clone(),
            exported: Vec::new(),
            artifacts: Vec::new(),
            reports: Vec::new(),
            failure: None,
        };
        let filled = self.fill(&mut results).await;
        match filled {
            Ok(()) => {}
            Err(error @ ShellError::Runner(_)) => return Err(error.into()),
            Err(error) => results.failure = Some(error.to_string()),
        }
        Ok(results)
    }

    async fn fill(&mut self, results: &mut Results) -> Result<(), ShellError> {
        let spec = self.spec.clone();
        let names = &spec.exported_variables;
        if !names.is_empty() {
            let script: String =
                names.iter().map(|name| format!("printf '%s\\0' \"${{{name}-}}\"\n")).collect();
            let printed = self.prepared.shell.capture(&script).await?;
            let values =
                printed.split(|byte| *byte == 0).map(|value| String::from_utf8_lossy(value).into_owned());
            results.exported = names.iter().cloned().zip(values).collect();
        }
        let primary = spec.artifacts.iter().map(|artifacts| (None, artifacts));
        let secondary = spec.secondary_artifacts.iter().map(|(id, artifacts)| (Some(id.clone()), artifacts));
        for (identifier, declared) in primary.chain(secondary) {
            let mut artifacts = declared.clone();
            for text in artifacts.files.iter_mut().chain(&mut artifacts.exclude_paths) {
                *text = self.expand(text).await?;
            }
            let optional = [&mut artifacts.name, &mut artifacts.base_directory, &mut artifacts.s3_prefix];
            for text in optional.into_iter().flatten() {
                *text = self.expand(text).await?;
            }
            results.artifacts.push((identifier, artifacts));
        }
        for report in &spec.reports {
            let base = self.expand(report.base_directory.as_deref().unwrap_or("")).await?;
            let mut files = Vec::new();
            for file in &report.files {
                files.push(self.expand(file).await?);
            }
            results.reports.push((base, files));
        }
        Ok(())
    }

    /// `name-$(date +%F)` as the build's shell expands it between double quotes.
    async fn expand(&mut self, text: &str) -> Result<String, ShellError> {
        if !text.contains(['$', '`']) {
            return Ok(text.to_owned());
        }
        let script = format!("printf '%s' \"{}\"", text.replace('"', "\\\""));
        let printed = self.prepared.shell.capture(&script).await?;
        Ok(String::from_utf8_lossy(&printed).trim().to_owned())
    }
}

/// As AWS's agent says it.
fn reason(status: &ExitStatus) -> String {
    match status.signal {
        Some(9) => "signal: killed".to_owned(),
        Some(11) => "signal: segmentation fault".to_owned(),
        Some(15) => "signal: terminated".to_owned(),
        Some(signal) => format!("signal: {signal}"),
        None => format!("exit status {}", status.code),
    }
}
