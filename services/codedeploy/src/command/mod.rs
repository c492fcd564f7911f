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
//!   -> {"HostCommand": {"HostCommandIdentifier": "d-1A2B3C4D5.web-1.6f1c…", "HostIdentifier": ARN,
//!        "DeploymentExecutionId": "ACCOUNT/REGION/deployment/d-1A2B3C4D5", "CommandName": "BeforeInstall",
//!        "Nonce": 4711}}
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
//! # Crash
//! Every answer that changes something is committed before it is sent. What was handed out when is only
//! remembered in memory: after a restart of the server an unacknowledged command may come again at once.
