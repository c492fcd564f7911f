//! The host-agent protocol: what a deployment agent on a host and this service say to each other.
//!
//! It is the protocol of AWS's own open-source agent (<https://github.com/aws/aws-codedeploy-agent>), so
//! that agent and Towpath's see the same host commands. awsJson1.1, target prefix
//! `CodeDeployCommandService_v20141006`, SigV4 signing name `codedeploy-commands`; the model is
//! `models/codedeploycommand.json`.
//!
//! # Identity
//! The agent signs as the IAM user, or the session, under which its on-premises instance was registered.
//! Its `HostIdentifier` is that IAM ARN (`arn:aws:iam::ACCOUNT:user/NAME`, or
//! `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`). It may ask and report about its own host only;
//! everything else is `AccessDeniedException`. The registration is the grant: no IAM action is needed.
//!
//! # The loop
//! ```text
//! PollHostCommand {"HostIdentifier": ARN}
//!   -> {}                                   nothing to do (answered after a bounded hold: poll again at once)
//!   -> {"HostCommand": {"HostCommandIdentifier": "d-1A2B3C4D5.2.web-1", "HostIdentifier": ARN,
//!        "DeploymentExecutionId": "ACCOUNT/REGION/deployment/d-1A2B3C4D5", "CommandName": "BeforeInstall",
//!        "Nonce": 2}}
//! GetDeploymentSpecification {"DeploymentExecutionId": …, "HostIdentifier": ARN}
//!   -> {"DeploymentSystem": "CodeDeploy", "DeploymentSpecification": {
//!        "GenericEnvelope": {"Format": "PKCS7/JSON", "Payload": PEM}
//!        "VariantId": "TEXT", "VariantEnvelope": {"Format": "TEXT/JSON", "Payload": JSON}}}
//! PutHostCommandAcknowledgement {"HostCommandIdentifier": …,
//!        "Diagnostics": {"Format": "JSON", "Payload": "{\"IsCommandNoop\":false}"}}
//!   -> {"CommandStatus": "InProgress"}      go on
//!   -> {"CommandStatus": "Succeeded" | "Failed"}   it is over: do not run it
//! PostHostCommandUpdate {"HostCommandIdentifier": …}          optional sign of life while it runs
//!   -> {"CommandStatus": "InProgress" | "Succeeded" | "Failed"}
//! PutHostCommandComplete {"HostCommandIdentifier": …, "CommandStatus": "Succeeded" | "Failed",
//!        "Diagnostics": {"Format": "JSON", "Payload": "{\"error_code\":4,\"script_name\":\"scripts/check.sh\",
//!                        \"message\":\"Script at specified location: … failed with exit code 1\",\"log\":\"…\"}"}}
//!   -> {}
//! ```
//! Each life-cycle event is one host command; `CommandName` is the event's name, in this order:
//! ApplicationStop, DownloadBundle, BeforeInstall, Install, AfterInstall, ApplicationStart,
//! ValidateService. One command per host is open at a time, also when several deployments want the host.
//!
//! * There is no poll interval in the protocol. An empty answer comes after a hold of up to
//!   [`crate::Config::poll_hold_ms`]; a command wakes the hold. An agent reads with a longer timeout.
//! * A command that was handed out and not acknowledged is handed out again after
//!   [`crate::Config::redelivery_ms`], with the same identifier; so an agent that died before its
//!   acknowledgement gets it again. After the acknowledgement it is never handed out again: an agent that
//!   dies then must, when it is back, complete it as Failed with error code 7 (AWS's agent does the same).
//! * `IsCommandNoop: true` (no script for this event, or no earlier revision for ApplicationStop) completes
//!   the command with the acknowledgement: the answer is `Succeeded`. DownloadBundle and Install are never
//!   no-ops.
//! * Acknowledging or completing twice, or late, changes nothing; the answer to an acknowledgement is the
//!   command's true status. `Succeeded` without an acknowledgement is refused (`ClientException`); `Failed`
//!   without one is accepted (the agent could not read the specification).
//! * An identifier that was never given out is a `ClientException`; another host's is denied.
//! * `error_code`: 0 Success, 1 ScriptMissing, 2 ScriptNotExecutable, 3 ScriptTimedOut, 4 ScriptFailed,
//!   5 UnknownError, 6 outputs left open, 7 failed after the agent's restart. 6 and 7, and anything else,
//!   are shown as UnknownError. `log` is kept to its last 2,048 bytes.
//! * A command that no agent takes for [`crate::Config::agent_timeout_ms`] fails its host, and so does one
//!   that runs longer than [`crate::Config::event_timeout_ms`]. An agent that sends PostHostCommandUpdate
//!   is held to it: silence of `agent_timeout_ms` after the first update fails the host. So send it at
//!   least once a minute, or not at all.
//!
//! # The deployment specification
//! ```json
//! {"ApplicationId": "…", "ApplicationName": "web", "AppSpecFilename": "appspec.yml",
//!  "DeploymentId": "d-1A2B3C4D5", "DeploymentGroupId": "uuid", "DeploymentGroupName": "prod",
//!  "DeploymentCreator": "user", "DeploymentType": "IN_PLACE",
//!  "AgentActionOverrides": {"AgentOverrides": {"FileExistsBehavior": "DISALLOW"}},
//!  "AllPossibleLifecycleEvents": ["BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop", "DownloadBundle",
//!    "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService", "BeforeAllowTraffic",
//!    "AfterAllowTraffic"],
//!  "Revision": {"RevisionType": "S3", "S3Revision": {"Bucket": "b", "Key": "k.zip", "BundleType": "zip",
//!    "Version": "…", "ETag": "…"}}}
//! ```
//! `DeploymentCreator` is `user` or `codeDeployRollback`. `Version` and `ETag` are there when the service
//! could read the object: a host must refuse a bundle whose ETag differs. The agent fetches the bundle from
//! S3 with its own credentials.
//!
//! # Pointing AWS's agent at Towpath
//! AWS's agent takes a specification only as `PKCS7/JSON` (unsigned `TEXT/JSON` is for its `codedeploy-local`
//! tool alone). It checks the signature but not who made the certificate (its verification passes OpenSSL's
//! `NOVERIFY`), so a signature by this server's own key is enough; see [`pkcs7`]. In its
//! `codedeployagent.yml`: `:deploy_control_endpoint: http://HOST:4566`, `:s3_endpoint_override:
//! http://HOST:4566`, and, as long as the endpoint is plain http, `:codedeploy_test_profile: beta` (other
//! profiles insist on a TLS handshake at start). Its `codedeploy.onpremises.yml` has `region`, `iam_user_arn`,
//! `aws_access_key_id` and `aws_secret_access_key`, as AWS documents at
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/register-on-premises-instance-iam-user-arn.html>.
//!
//! Agent 1.8.1, its code as published, was seen to deploy, to fail and to be rolled back this way.
//!
//! # Crash
//! Every answer that changes something is committed before it is sent. What was handed out when is only
//! remembered in memory: after a restart of the server an unacknowledged command may come again at once.

mod diagnostics;
pub mod pkcs7;
mod spec;

use crate::CodeDeployService;
use crate::error::WorkError;
use crate::state::host::{CommandState, LIFECYCLE_EVENTS, Report};
use crate::store::{Deployment, HostQueue, InstanceIdentity, Target};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use towpath_api::{ApiError, Call, async_trait};
use towpath_api_codedeploycommand::*;
use towpath_store::{Document, key};

/// How much later a held poll hears of a command that another node gave.
const GATHER: Duration = Duration::from_millis(300);

/// The name that agents check for.
const DEPLOYMENT_SYSTEM: &str = "CodeDeploy";

/// One host command's identifier: deployment, event, host. Host names may have dots, so they come last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CommandId {
    deployment: String,
    event: usize,
    instance: String,
}

impl CommandId {
    fn text(&self) -> String {
        format!("{}.{}.{}", self.deployment, self.event, self.instance)
    }

    fn parse(text: Option<&str>) -> Result<CommandId, ApiError> {
        let parsed = text.and_then(|text| {
            let mut parts = text.splitn(3, '.');
            let deployment = parts.next()?.to_owned();
            let event = parts.next()?.parse().ok().filter(|event| *event < LIFECYCLE_EVENTS.len())?;
            Some(CommandId { deployment, event, instance: parts.next()?.to_owned() })
        });
        parsed.ok_or_else(|| unknown_command(text.unwrap_or_default()))
    }
}

fn unknown_command(text: &str) -> ApiError {
    let start: String = text.chars().take(200).collect();
    errors::client_exception(format!("There is no host command with the identifier {start:?}"))
}

fn out_of_order(id: &CommandId) -> ApiError {
    errors::client_exception(format!(
        "The host command {} ({}) cannot be reported now: acknowledge it first, in the order in which commands are given",
        id.text(),
        LIFECYCLE_EVENTS[id.event]
    ))
}

/// Agents sign as the identity of their host; a report in another's name is denied.
fn denied(call: &Call, host: &str) -> ApiError {
    ApiError::access_denied(format!(
        "{} is not the identity of a registered on-premises instance with the host identifier {host}. Register the instance with this identity, and send its ARN as the host identifier.",
        call.caller.arn()
    ))
}

/// What to do after looking for a command.
enum Look {
    Found(Box<HostCommandInstance>),
    Nothing,
    /// Something was tidied up: look at once.
    Again,
}

impl CodeDeployService {
    /// The registered instance that the caller is the agent of.
    async fn own_host(&self, call: &Call, host_identifier: Option<&str>) -> Result<String, ApiError> {
        let claimed = host_identifier.unwrap_or_default();
        let caller = call.caller.arn();
        if claimed != caller {
            return Err(denied(call, claimed));
        }
        let identity = self.store.get::<InstanceIdentity>(&key(&[&caller])).await?;
        identity.map(|identity| identity.instance.clone()).ok_or_else(|| denied(call, claimed))
    }

    /// The target that a command belongs to, if it is the caller's own.
    async fn own_target(&self, call: &Call, id: &CommandId) -> Result<Target, ApiError> {
        let target = self.store.get::<Target>(&Target::key_of(&id.deployment, &id.instance)).await?;
        let target = target.ok_or_else(|| unknown_command(&id.text()))?;
        if target.principal_arn != call.caller.arn() {
            return Err(denied(call, &target.principal_arn));
        }
        // A host that was deregistered meanwhile has no say.
        let identity = self.store.get::<InstanceIdentity>(&key(&[&target.principal_arn])).await?;
        if identity.is_none_or(|identity| identity.instance != id.instance) {
            return Err(denied(call, &target.principal_arn));
        }
        Ok(target.into_doc())
    }

    /// Returns when another node may have given some host a command. It says not which: all held polls of
    /// this node look then, so it gathers what comes in a moment.
    async fn taken_elsewhere(&self, changed: &mut watch::Receiver<u64>) {
        if !self.store.is_shared() || changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(GATHER).await;
    }

    /// The host's open command, if nobody has acknowledged it and it was not handed out just now.
    async fn look(&self, call: &Call, instance: &str) -> Result<Look, ApiError> {
        let Some(queue) = self.store.get::<HostQueue>(&key(&[instance])).await? else {
            return Ok(Look::Nothing);
        };
        let Some(deployment_id) = queue.deployments.first() else { return Ok(Look::Nothing) };
        let Some(target) = self.store.get::<Target>(&Target::key_of(deployment_id, instance)).await? else {
            return Ok(Look::Nothing);
        };
        let Some(command) = target.host.command() else { return Ok(Look::Nothing) };
        if matches!(command.state, CommandState::Running { .. }) || target.principal_arn != call.caller.arn()
        {
            return Ok(Look::Nothing);
        }
        let Some(deployment) = self.store.get::<Deployment>(&key(&[deployment_id])).await? else {
            return Ok(Look::Nothing);
        };
        if deployment.takes_no_more() {
            self.take_back(deployment_id, instance).await?;
            return Ok(Look::Again);
        }
        let id = CommandId {
            deployment: deployment_id.clone(),
            event: command.event,
            instance: instance.to_owned(),
        }
        .text();
        if !self.hub.hand_out(&id, self.store.now(), self.config.redelivery_ms) {
            return Ok(Look::Nothing);
        }
        Ok(Look::Found(Box::new(HostCommandInstance {
            host_command_identifier: Some(id),
            host_identifier: Some(target.principal_arn.clone()),
            deployment_execution_id: Some(deployment.execution_id()),
            command_name: Some(LIFECYCLE_EVENTS[command.event].to_owned()),
            nonce: Some(command.event as i64),
        })))
    }

    async fn report_for(&self, call: &Call, id: &CommandId, report: Report) -> Result<String, ApiError> {
        self.own_target(call, id).await?;
        match self.report(&id.deployment, &id.instance, id.event, report).await {
            Ok(Ok(status)) => Ok(status.to_owned()),
            Ok(Err(())) => Err(out_of_order(id)),
            Err(WorkError::NoDeployment(_) | WorkError::NoTarget { .. }) => Err(unknown_command(&id.text())),
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl CodeDeployCommand for CodeDeployService {
    async fn poll_host_command(
        &self,
        call: &Call,
        input: PollHostCommandInput,
    ) -> Result<PollHostCommandOutput, ApiError> {
        let instance = self.own_host(call, input.host_identifier.as_deref()).await?;
        let waiter = self.hub.waiter(&instance);
        let mut closing = self.hub.closing();
        let mut elsewhere = self.store.kind_changed(HostQueue::KIND);
        let until = Instant::now() + Duration::from_millis(self.config.poll_hold_ms);
        loop {
            // Listening begins before looking, so a command between the two is not missed.
            let woken = waiter.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            elsewhere.borrow_and_update();
            match self.look(call, &instance).await? {
                Look::Found(command) => return Ok(PollHostCommandOutput { host_command: Some(*command) }),
                Look::Again => continue,
                Look::Nothing => {}
            }
            let stopped = closing.wait_for(|closing| *closing);
            let waited = async {
                tokio::select! {
                    () = woken => true,
                    _ = stopped => false,
                    () = self.taken_elsewhere(&mut elsewhere) => true,
                }
            };
            match timeout_at(until, waited).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return Ok(PollHostCommandOutput::default()),
            }
        }
    }

    async fn get_deployment_specification(
        &self,
        call: &Call,
        input: GetDeploymentSpecificationInput,
    ) -> Result<GetDeploymentSpecificationOutput, ApiError> {
        let instance = self.own_host(call, input.host_identifier.as_deref()).await?;
        let execution = input.deployment_execution_id.unwrap_or_default();
        let unknown = || errors::client_exception(format!("There is no deployment execution {execution:?}"));
        let id = execution.rsplit('/').next().unwrap_or_default();
        let target = self.store.get::<Target>(&Target::key_of(id, &instance)).await?.ok_or_else(unknown)?;
        if target.principal_arn != call.caller.arn() {
            return Err(denied(call, &target.principal_arn));
        }
        let deployment = self.store.get::<Deployment>(&key(&[id])).await?.ok_or_else(unknown)?;
        if deployment.execution_id() != execution {
            return Err(unknown());
        }
        Ok(GetDeploymentSpecificationOutput {
            deployment_system: Some(DEPLOYMENT_SYSTEM.to_owned()),
            deployment_specification: Some(self.specification(&deployment).await?),
        })
    }

    async fn put_host_command_acknowledgement(
        &self,
        call: &Call,
        input: PutHostCommandAcknowledgementInput,
    ) -> Result<PutHostCommandAcknowledgementOutput, ApiError> {
        let id = CommandId::parse(input.host_command_identifier.as_deref())?;
        let noop = diagnostics::is_noop(input.diagnostics.as_ref());
        let status = self.report_for(call, &id, Report::Acknowledged { noop }).await?;
        self.hub.acknowledged(&id.text());
        Ok(PutHostCommandAcknowledgementOutput { command_status: Some(status) })
    }

    async fn post_host_command_update(
        &self,
        call: &Call,
        input: PostHostCommandUpdateInput,
    ) -> Result<PostHostCommandUpdateOutput, ApiError> {
        let id = CommandId::parse(input.host_command_identifier.as_deref())?;
        let status = self.report_for(call, &id, Report::Heard).await?;
        Ok(PostHostCommandUpdateOutput { command_status: Some(status) })
    }

    async fn put_host_command_complete(
        &self,
        call: &Call,
        input: PutHostCommandCompleteInput,
    ) -> Result<PutHostCommandCompleteOutput, ApiError> {
        let id = CommandId::parse(input.host_command_identifier.as_deref())?;
        let report = match input.command_status.as_deref() {
            Some("Succeeded") => Report::Succeeded(diagnostics::read(input.diagnostics.as_ref(), true)),
            Some("Failed") => Report::Failed(diagnostics::read(input.diagnostics.as_ref(), false)),
            other => {
                return Err(errors::client_exception(format!(
                    "A host command completes as Succeeded or Failed, not as {:?}",
                    other.unwrap_or_default()
                )));
            }
        };
        self.report_for(call, &id, report).await?;
        self.hub.acknowledged(&id.text());
        Ok(PutHostCommandCompleteOutput::default())
    }
}
