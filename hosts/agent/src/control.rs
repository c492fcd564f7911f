//! The host-agent protocol, call by call: what AWS's own agent says, with its names.
//! <https://github.com/aws/aws-codedeploy-agent>

use crate::client::{CallError, Client};
use crate::diagnostics::{Diagnostics, Outcome};
use crate::spec::Spec;
use serde::{Deserialize, Serialize};
use towpath_api::{FromNode, IntoNode};
use towpath_api_codedeploycommand::*;

const DEPLOYMENT_SYSTEM: &str = "CodeDeploy";

/// One life-cycle event that the server wants carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub id: String,
    /// The event's name.
    pub name: String,
    pub execution_id: String,
}

/// What the server says about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    InProgress,
    Over,
}

pub struct Control {
    pub client: Client,
    /// The ARN under which this host is registered.
    pub host: String,
}

fn read<T: FromNode>(node: towpath_api::Node) -> Result<T, CallError> {
    T::from_node(node).map_err(|error| CallError::Protocol(error.to_string()))
}

fn json_envelope(payload: String) -> Option<Envelope> {
    Some(Envelope { format: Some("JSON".into()), payload: Some(payload) })
}

fn standing(status: Option<&str>) -> Standing {
    match status {
        Some("Succeeded" | "Failed") => Standing::Over,
        _ => Standing::InProgress,
    }
}

impl Control {
    /// The next command; the server holds the question open for a while when there is none.
    pub fn poll(&self) -> Result<Option<Command>, CallError> {
        let input = PollHostCommandInput { host_identifier: Some(self.host.clone()) };
        let output: PollHostCommandOutput =
            read(self.client.call(&MODEL, "PollHostCommand", &input.into_node())?)?;
        let Some(given) = output.host_command else { return Ok(None) };
        if given.host_identifier.as_ref().is_some_and(|host| *host != self.host) {
            return Err(CallError::Protocol("the server gave a command for another host".into()));
        }
        match (given.host_command_identifier, given.command_name, given.deployment_execution_id) {
            (Some(id), Some(name), Some(execution_id)) => Ok(Some(Command { id, name, execution_id })),
            _ => Err(CallError::Protocol("the server gave a command that is not whole".into())),
        }
    }

    pub fn specification(&self, command: &Command) -> Result<Spec, CallError> {
        let input = GetDeploymentSpecificationInput {
            deployment_execution_id: Some(command.execution_id.clone()),
            host_identifier: Some(self.host.clone()),
        };
        let output: GetDeploymentSpecificationOutput =
            read(self.client.call(&MODEL, "GetDeploymentSpecification", &input.into_node())?)?;
        let refuse = |reason: String| Err(CallError::Protocol(reason));
        if output.deployment_system.as_deref() != Some(DEPLOYMENT_SYSTEM) {
            return refuse(format!("the deployment system is not {DEPLOYMENT_SYSTEM}"));
        }
        let given = output.deployment_specification.unwrap_or_default();
        let readable =
            [given.variant_envelope, given.generic_envelope].into_iter().flatten().find_map(|envelope| {
                (envelope.format.as_deref() == Some("TEXT/JSON")).then_some(envelope.payload).flatten()
            });
        match readable {
            Some(text) => Spec::parse(&text).map_err(CallError::Protocol),
            None => {
                refuse("the deployment specification has no TEXT/JSON form, which this agent reads".into())
            }
        }
    }

    pub fn acknowledge(&self, command: &Command, noop: bool) -> Result<Standing, CallError> {
        let input = PutHostCommandAcknowledgementInput {
            host_command_identifier: Some(command.id.clone()),
            diagnostics: json_envelope(serde_json::json!({ "IsCommandNoop": noop }).to_string()),
        };
        let output: PutHostCommandAcknowledgementOutput =
            read(self.client.call(&MODEL, "PutHostCommandAcknowledgement", &input.into_node())?)?;
        Ok(standing(output.command_status.as_deref()))
    }

    /// A sign of life.
    pub fn update(&self, command: &Command) -> Result<Standing, CallError> {
        let input = PostHostCommandUpdateInput {
            host_command_identifier: Some(command.id.clone()),
            ..PostHostCommandUpdateInput::default()
        };
        let output: PostHostCommandUpdateOutput =
            read(self.client.call(&MODEL, "PostHostCommandUpdate", &input.into_node())?)?;
        Ok(standing(output.command_status.as_deref()))
    }

    pub fn complete(&self, command: &Command, outcome: &Outcome) -> Result<(), CallError> {
        let (status, diagnostics) = match outcome {
            Outcome::Succeeded(diagnostics) => ("Succeeded", diagnostics),
            Outcome::Failed(diagnostics) => ("Failed", diagnostics),
        };
        let input = PutHostCommandCompleteInput {
            host_command_identifier: Some(command.id.clone()),
            command_status: Some(status.into()),
            diagnostics: json_envelope(Diagnostics::payload(diagnostics)),
        };
        self.client.call(&MODEL, "PutHostCommandComplete", &input.into_node()).map(drop)
    }
}
