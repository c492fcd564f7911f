//! Who this host is to the server, and its registration as an on-premises instance.
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/on-premises-instances-register.html>
//!
//! Idempotent: what is registered already stays as it is. Credentials that may not register are no error
//! here, for the instance may have been registered by somebody else; the first poll tells.

use crate::client::{CallError, Client, element};
use crate::{AgentError, Config};
use towpath_api::{FromNode, ToNode};
use towpath_api_codedeploy::*;
use towpath_api_sts::MODEL as STS;

/// The ARN that the host is known by.
pub fn establish(client: &Client, config: &Config) -> Result<String, CallError> {
    let answer = client.query(&STS, "GetCallerIdentity", &[])?;
    let arn = element(&answer, "Arn")
        .ok_or_else(|| CallError::Protocol("the answer to GetCallerIdentity has no ARN".into()))?;
    tracing::debug!("{} is {arn}", config.name);
    Ok(arn.to_owned())
}

/// Registers and tags the instance where the credentials allow it.
pub fn register(client: &Client, config: &Config, arn: &str) -> Result<(), Problem> {
    let session = arn.contains(":assumed-role/");
    let input = RegisterOnPremisesInstanceInput {
        instance_name: Some(config.name.clone()),
        iam_user_arn: (!session).then(|| arn.to_owned()),
        iam_session_arn: session.then(|| arn.to_owned()),
    };
    match client.call(&MODEL, "RegisterOnPremisesInstance", &input.to_node()) {
        Ok(_) => tracing::info!("registered the on-premises instance {} as {arn}", config.name),
        Err(error) if error.is_denied() => {
            tracing::debug!(
                "{arn} may not register instances; going on as if {} were registered",
                config.name
            );
        }
        Err(error) if error.code() == "InstanceNameAlreadyRegisteredException" => {
            check_identity(client, config, arn)?;
        }
        Err(error) if error.code().ends_with("ArnAlreadyRegisteredException") => {
            return Err(Problem::Fatal(AgentError::IdentityInUse(arn.to_owned(), config.name.clone())));
        }
        Err(error) => return Err(error.into()),
    }
    tag(client, config)
}

/// Why registering did not succeed.
pub enum Problem {
    Call(CallError),
    Fatal(AgentError),
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        Problem::Call(error)
    }
}

/// The name may be another machine's.
fn check_identity(client: &Client, config: &Config, arn: &str) -> Result<(), Problem> {
    let input = GetOnPremisesInstanceInput { instance_name: Some(config.name.clone()) };
    let node = match client.call(&MODEL, "GetOnPremisesInstance", &input.to_node()) {
        Err(error) if error.is_denied() => return Ok(()),
        other => other?,
    };
    let output = GetOnPremisesInstanceOutput::from_node(node)
        .map_err(|error| CallError::Protocol(error.to_string()))?;
    let info = output.instance_info.unwrap_or_default();
    match info.iam_user_arn.or(info.iam_session_arn) {
        Some(registered) if registered != arn => {
            Err(Problem::Fatal(AgentError::NameTaken(config.name.clone(), registered, arn.to_owned())))
        }
        _ => Ok(()),
    }
}

fn tag(client: &Client, config: &Config) -> Result<(), Problem> {
    if config.tags.is_empty() {
        return Ok(());
    }
    let tags =
        config.tags.iter().map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) });
    let input = AddTagsToOnPremisesInstancesInput {
        tags: Some(tags.collect()),
        instance_names: Some(vec![config.name.clone()]),
    };
    match client.call(&MODEL, "AddTagsToOnPremisesInstances", &input.to_node()) {
        Ok(_) => Ok(()),
        Err(error) if error.is_denied() => {
            tracing::warn!(
                "these credentials may not tag {}: it keeps the tags that it has ({error})",
                config.name
            );
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
