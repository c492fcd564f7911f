//! PROVISIONING: the role's credentials, the log, the attempt's folders and its sandbox.

use super::assignment::{Denied, Opened};
use super::build::Attempt;
use super::log::{ARCHIVE, Log};
use super::source::{self, SourcePlan};
use crate::sandbox::Sandbox;
use crate::state::{Context, State, Status};
use crate::store::BuildDoc;
use crate::{validate, view};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use towpath_api::SessionCredentials;
use towpath_runner::{Bind, Limits, Network, RunnerError, Spec};

/// What the service role must allow, as in "does not allow AWS CodeBuild to …".
pub(crate) const ASSUME: &str = "assume it";
pub(crate) const MAKE_CREDENTIALS: &str = "make credentials";
pub(crate) const OPEN_LOG: &str = "create Amazon CloudWatch Logs log streams";

/// Beyond the build's own timeout, which ends it first.
const SANDBOX_MARGIN_MS: u64 = 60_000;

/// Why a phase did not come to its commands, or between them.
pub(super) enum Failure {
    /// It failed, and the build with it.
    Phase { status: Status, context: Context },
    /// What it needed broke; another attempt may get through.
    Broken(String),
}

impl Failure {
    pub(super) fn client(message: impl Into<String>) -> Failure {
        Failure::Phase { status: Status::Failed, context: Context::new("CLIENT_ERROR", message) }
    }

    /// A sandbox that did not start. What this machine lacks it will lack at the next attempt, too.
    fn sandbox(error: RunnerError) -> Failure {
        let message = format!("cannot start the sandbox: {error}");
        match error {
            RunnerError::Unavailable { .. } | RunnerError::Invalid(_) => {
                let context = Context::new("INTERNAL_ERROR", message);
                Failure::Phase { status: Status::Fault, context }
            }
            _ => Failure::Broken(message),
        }
    }
}

/// What PROVISIONING made.
pub(super) struct Ready {
    pub(super) log: Log,
    pub(super) sandbox: Arc<dyn Sandbox>,
    pub(super) credentials: Option<SessionCredentials>,
    pub(super) plans: Vec<SourcePlan>,
    pub(super) base: PathBuf,
}

impl Attempt {
    pub(super) async fn provision(&mut self, doc: &BuildDoc, folder: &Path) -> Result<Ready, Failure> {
        let opened = self.assignment.open(doc).await.map_err(|denied| denial(doc, &denied))?;
        let Opened { credentials, log } = opened;
        let scratch = |error: std::io::Error| Failure::Broken(format!("the build's folder: {error}"));
        std::fs::create_dir_all(folder).map_err(scratch)?;
        let secrets = credentials.iter().flat_map(|credentials| {
            [&credentials.secret_access_key, &credentials.session_token, &credentials.access_key_id]
                .map(String::clone)
        });
        let archive = view::log_object(doc).map(|_| File::create(folder.join(ARCHIVE)));
        let log = Log::open(log, secrets.collect(), archive.transpose().map_err(scratch)?)
            .with_limit(self.machine.bounds.log_bytes);
        self.log = Some(log.clone());
        log.say("Running on Towpath, in a sandbox of the host").await;
        if let State::Running { attempt: attempt @ 2.. } = doc.progress.state {
            log.say(format!(
                "The attempt before was interrupted; the build runs again from the start (attempt {attempt})"
            ))
            .await;
        }
        let id = format!("build-{}-{}", doc.uuid(), folder_suffix(folder));
        let base = self.machine.sandboxes.base(&id);
        let plans = source::plan(doc, folder, &base);
        for plan in &plans {
            std::fs::create_dir_all(&plan.host).map_err(scratch)?;
        }
        let driver = folder.join("shell");
        std::fs::create_dir_all(&driver).map_err(scratch)?;
        open_to_all(&driver).map_err(scratch)?;
        let mut spec = self.sandbox_spec(doc, &id);
        spec.binds = plans.iter().map(|plan| Bind::writable(&plan.host, &plan.inside)).collect();
        spec.binds.push(Bind::writable(&driver, base.join("shell")));
        let sandbox = self.machine.sandboxes.start(spec).await;
        let sandbox = sandbox.map_err(Failure::sandbox)?;
        self.sandbox = Some(sandbox.clone());
        for weakness in sandbox.weaknesses() {
            log.say(format!("Note: {weakness}")).await;
        }
        Ok(Ready { log, sandbox, credentials, plans, base })
    }

    fn sandbox_spec(&self, doc: &BuildDoc, id: &str) -> Spec {
        let mut spec = Spec::new(id);
        let environment = doc.project.environment.as_ref();
        let compute = environment.and_then(|environment| environment.compute_type.as_deref());
        let limits = compute.and_then(validate::compute_limits);
        let minutes = doc.project.timeout_in_minutes.unwrap_or(60).max(1) as u64;
        spec.limits = Limits {
            memory_bytes: limits.map(|(bytes, _)| bytes),
            cpus: limits.map(|(_, cpus)| cpus),
            pids: None,
            wall_ms: Some(minutes * 60_000 + SANDBOX_MARGIN_MS),
            disk_bytes: Some(self.machine.bounds.disk_bytes),
        };
        spec.network = Network::Egress;
        spec.relays = self.machine.endpoint.iter().filter_map(|endpoint| endpoint.relay.clone()).collect();
        spec
    }
}

fn denial(doc: &BuildDoc, denied: &Denied) -> Failure {
    let Denied { what, error } = denied;
    if error.status >= 500 {
        return Failure::Broken(format!("cannot {what}: {}", error.message));
    }
    let message = format!(
        "Service role {} does not allow AWS CodeBuild to {what} for build {}. Error message: {}",
        doc.project.service_role.as_deref().unwrap_or_default(),
        doc.arn(),
        error.message
    );
    Failure::Phase { status: Status::Failed, context: Context::new("ACCESS_DENIED", message) }
}

fn folder_suffix(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit('-').next().unwrap_or("0").to_owned()
}

/// Commands of any user of the sandbox keep the shell's state there.
fn open_to_all(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777))
}
