//! One command, carried out: which revision it is about, whether there is anything to do, and doing it.

use crate::appspec::{self, AppSpec, Event};
use crate::bundle;
use crate::client::Client;
use crate::control::Command;
use crate::diagnostics::{Diagnostics, ErrorCode, Outcome};
use crate::hooks::{self, Run};
use crate::install;
use crate::layout::{DeploymentDir, Layout};
use crate::spec::Spec;
use crate::stop::Stop;
use crate::work_error::WorkError;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use towpath_archive::{Follow, Root};

const MAX_APPSPEC_BYTES: u64 = 1 << 20;

/// What a command needs.
pub struct Work<'a> {
    pub client: &'a Client,
    pub layout: &'a Layout,
    pub spec: &'a Spec,
    pub stop: &'a Stop,
    /// Set when the server says that the command is over.
    pub over: &'a AtomicBool,
    pub stop_grace: Duration,
    pub keep_revisions: usize,
}

/// What a host command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    DownloadBundle,
    Install,
    Hook(Event),
}

impl Task {
    fn of(command: &Command) -> Result<Task, WorkError> {
        match command.name.as_str() {
            "DownloadBundle" => Ok(Task::DownloadBundle),
            "Install" => Ok(Task::Install),
            name => Event::parse(name)
                .map(Task::Hook)
                .ok_or_else(|| WorkError::new(format!("Unsupported command type: {name}."))),
        }
    }
}

impl Work<'_> {
    fn current(&self) -> DeploymentDir {
        self.layout.deployment(&self.spec.group_id, &self.spec.deployment_id)
    }

    /// The revision whose scripts an event runs; `None` when there is none, as on a first deployment.
    fn revision_of(&self, event: Event) -> Result<Option<DeploymentDir>, WorkError> {
        let current = self.current();
        if event.is_of_last_revision() && !current.archive().exists() {
            return Ok(self.layout.last_successful(&self.spec.group_id)?);
        }
        Ok(Some(current))
    }

    fn appspec(&self, dir: &DeploymentDir) -> Result<AppSpec, WorkError> {
        let archive = dir.archive();
        let missing = || {
            WorkError::new(format!(
                "The CodeDeploy agent did not find an AppSpec file within the unpacked revision directory at revision-relative path \"{}\". The revision was unpacked to directory \"{}\", and the AppSpec file was expected but not found there.",
                self.spec.appspec_filename,
                archive.display()
            ))
        };
        let root = Root::open(&archive).map_err(|_| missing())?;
        for name in [self.spec.appspec_filename.as_str(), "appspec.yaml", "appspec.yml"] {
            let Ok(file) = root.open_file(Path::new(name), Follow::Beneath) else { continue };
            let mut text = String::new();
            file.take(MAX_APPSPEC_BYTES + 1).read_to_string(&mut text)?;
            if text.len() as u64 > MAX_APPSPEC_BYTES {
                return Err(WorkError::new(format!("{name} is longer than {MAX_APPSPEC_BYTES} bytes")));
            }
            let spec = appspec::parse(&text)
                .map_err(|error| WorkError::new(format!("The AppSpec file {name} is not valid: {error}")))?;
            if let Some(possible) = &self.spec.possible_events
                && let Some(event) =
                    spec.events().find(|event| !possible.iter().any(|one| one == event.name()))
            {
                return Err(WorkError::new(format!(
                    "{name} file contains unknown lifecycle events: {event}"
                )));
            }
            return Ok(spec);
        }
        Err(missing())
    }

    /// Whether there is nothing to do: no script, or no earlier revision. DownloadBundle and Install are
    /// never that.
    pub fn is_noop(&self, command: &Command) -> Result<bool, WorkError> {
        let Task::Hook(event) = Task::of(command)? else { return Ok(false) };
        match self.revision_of(event)? {
            None => Ok(true),
            Some(dir) => Ok(self.appspec(&dir)?.scripts(event).is_empty()),
        }
    }

    pub fn carry_out(&self, command: &Command) -> Outcome {
        match self.attempt(command) {
            Ok(diagnostics) => Outcome::Succeeded(diagnostics),
            Err(WorkError(diagnostics)) => Outcome::Failed(diagnostics),
        }
    }

    fn attempt(&self, command: &Command) -> Result<Diagnostics, WorkError> {
        let mut done = Diagnostics::new(ErrorCode::Success, "Succeeded");
        match Task::of(command)? {
            Task::DownloadBundle => {
                bundle::fetch(self.client, self.layout, self.spec, self.keep_revisions, self.stop)?;
                self.appspec(&self.current())?;
            }
            Task::Install => {
                let current = self.current();
                let appspec = self.appspec(&current)?;
                let behavior = appspec.file_exists_behavior.unwrap_or(self.spec.file_exists_behavior);
                install::install(self.layout, &self.spec.group_id, &current.archive(), &appspec, behavior)?;
                self.layout.note_last_successful(&self.spec.group_id, &current)?;
            }
            Task::Hook(event) => {
                let Some(dir) = self.revision_of(event)? else { return Ok(done) };
                let appspec = self.appspec(&dir)?;
                let run = Run {
                    event,
                    archive: &dir.archive(),
                    log: &self.current().log(),
                    working_folder: self.layout.working_folder(),
                    env: self.environment(event),
                    stop: self.stop,
                    over: self.over,
                    stop_grace: self.stop_grace,
                };
                done.log = hooks::run(&run, appspec.scripts(event))?;
            }
        }
        Ok(done)
    }

    /// What AWS documents for scripts.
    /// <https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-hooks.html#reference-appspec-file-structure-environment-variable-availability>
    fn environment(&self, event: Event) -> Vec<(&'static str, String)> {
        let spec = self.spec;
        let mut env = vec![
            ("LIFECYCLE_EVENT", event.name().to_owned()),
            ("DEPLOYMENT_ID", spec.deployment_id.clone()),
            ("APPLICATION_NAME", spec.application_name.clone()),
            ("DEPLOYMENT_GROUP_NAME", spec.group_name.clone()),
            ("DEPLOYMENT_GROUP_ID", spec.group_id.clone()),
            ("BUNDLE_BUCKET", spec.revision.bucket.clone()),
            ("BUNDLE_KEY", spec.revision.key.clone()),
        ];
        env.extend(spec.revision.version.clone().map(|version| ("BUNDLE_VERSION", version)));
        env.extend(spec.revision.etag.clone().map(|etag| ("BUNDLE_ETAG", etag)));
        env
    }
}
