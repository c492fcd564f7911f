//! DOWNLOAD_SOURCE: the sources, the buildspec, and the shell with its variables.

use super::assignment::Stopped;
use super::build::Attempt;
use super::commands::Prepared;
use super::environment::{self, Access};
use super::provision::{Failure, Ready};
use super::runtimes::{self, Unmet};
use super::shell::ShellError;
use super::source::{self, BuildspecFailure};
use crate::buildspec::{self, Buildspec, PhaseName};
use crate::state::{Context, Status};
use crate::store::BuildDoc;
use std::path::Path;

impl Attempt {
    /// The sources and the buildspec. The outer error ends the attempt, the inner one fails the phase.
    pub(super) async fn download(
        &self,
        mut doc: BuildDoc,
        ready: &Ready,
        folder: &Path,
    ) -> Result<Result<(Buildspec, BuildDoc), Failure>, Stopped> {
        let log = &ready.log;
        log.say("Waiting for DOWNLOAD_SOURCE").await;
        doc.resolved_source_version =
            doc.pipeline.as_ref().and_then(|pipeline| pipeline.source_version.clone());
        for (index, plan) in ready.plans.iter().enumerate() {
            match self.assignment.fetch((index, plan), folder).await {
                Ok(Some(commit)) if plan.identifier.is_none() => doc.resolved_source_version = Some(commit),
                Ok(_) => {}
                Err(error) => {
                    let which = match &plan.identifier {
                        None => "primary source".to_owned(),
                        Some(identifier) => format!("secondary source {identifier}"),
                    };
                    let version = plan.version.as_deref().unwrap_or("");
                    let at = if version.is_empty() {
                        String::new()
                    } else {
                        format!(" and source version {version}")
                    };
                    let message = format!("{error} for {which}{at}");
                    let broken = error.is_passing();
                    return Ok(Err(if broken { Failure::Broken(message) } else { Failure::client(message) }));
                }
            }
        }
        let Some(primary) = ready.plans.first() else {
            return Err(Stopped::Fault("a build without sources".to_owned()));
        };
        log.say("Phase is DOWNLOAD_SOURCE").await;
        log.say(format!("CODEBUILD_SRC_DIR={}", primary.inside.display())).await;
        let read = source::buildspec_text(self.assignment.as_ref(), &doc, &primary.host).await;
        let (text, place) = match read {
            Ok(read) => read,
            Err(BuildspecFailure::Api(error)) if error.status >= 500 => {
                return Ok(Err(Failure::Broken(format!("cannot read the buildspec: {error}"))));
            }
            Err(BuildspecFailure::Api(error)) => {
                return Ok(Err(Failure::client(format!("cannot read the buildspec: {error}"))));
            }
            Err(error) => return Ok(Err(yaml_error(error.to_string()))),
        };
        match place.as_str() {
            "inline" => log.say("YAML location is inline").await,
            place if place.starts_with("arn:") => log.say(format!("YAML location is {place}")).await,
            place => log.say(format!("YAML location is {}", primary.inside.join(place).display())).await,
        }
        Ok(match buildspec::parse(&text) {
            Ok(spec) => Ok((spec, doc)),
            Err(error) => Err(yaml_error(error.to_string())),
        })
    }

    /// Variables, runtimes and the shell.
    pub(super) async fn prepare(
        &self,
        doc: &BuildDoc,
        spec: &Buildspec,
        ready: &Ready,
        folder: &Path,
    ) -> Result<Prepared, Failure> {
        let log = &ready.log;
        log.say("Processing environment variables").await;
        let access = self.machine.endpoint.as_ref().zip(ready.credentials.as_ref());
        let access = access.map(|(endpoint, credentials)| Access {
            url: &endpoint.url,
            public_urls: &endpoint.public_urls,
            credentials,
        });
        let variables = environment::variables(doc, spec, &ready.plans, access.as_ref());
        let install = spec.phase(PhaseName::Install);
        if let Some(wanted) = install.map(|phase| &phase.runtime_versions).filter(|wanted| !wanted.is_empty())
        {
            for line in runtimes::check(ready.sandbox.as_ref(), wanted, &variables).await.map_err(unmet)? {
                log.say(line).await;
            }
        }
        let inside = ready.plans.first().map(|plan| plan.inside.clone()).unwrap_or_default();
        log.say(format!("Moving to directory {}", inside.display())).await;
        log.say(format!("Phases found in YAML: {}", spec.phases.len())).await;
        for phase in &spec.phases {
            log.say(format!(" {}: {} commands", phase.name, phase.commands.len())).await;
        }
        Prepared::new(
            ready.sandbox.clone(),
            (folder.join("shell"), ready.base.join("shell")),
            spec,
            &variables,
            (inside, log.clone()),
        )
        .await
        .map_err(|error| match error {
            ShellError::NoBash => Failure::client(error.to_string()),
            error => Failure::Broken(error.to_string()),
        })
    }
}

fn yaml_error(message: String) -> Failure {
    Failure::Phase { status: Status::Failed, context: Context::new("YAML_FILE_ERROR", message) }
}

fn unmet(error: Unmet) -> Failure {
    match error {
        Unmet::Wish(message) => yaml_error(message),
        Unmet::Runner(error) => Failure::Broken(error.to_string()),
    }
}
