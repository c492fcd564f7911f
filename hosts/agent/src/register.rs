//! Who this host is to the server, and its registration as an on-premises instance.
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/on-premises-instances-register.html>
//!
//! Each host needs an identity of its own. Credentials that are one already are used as they are. The root
//! user's, or those of a user that is another host's identity, are used to make one, as `aws deploy register`
//! does: an IAM user for this host, whose access key is kept beside the deployments.
//!
//! Idempotent: what is registered already stays as it is. Credentials that may not register are no error
//! here, for the instance may have been registered by somebody else; the first poll tells.

use crate::client::{CallError, Client, element};
use crate::identity::{self, Identity, Kept, Problem, registered_for};
use crate::{AgentError, Config};
use towpath_api::IntoNode;
use towpath_api_codedeploy::*;
use towpath_api_sts::MODEL as STS;

/// Registers and tags the instance where the credentials allow it.
pub fn establish(client: &Client, config: &Config, kept: &Kept) -> Result<Identity, Problem> {
    if let Some(credentials) = kept.load(config) {
        let own = client.with_credentials(credentials);
        match caller(&own) {
            Ok(arn) => {
                register(client, config, &arn)?;
                tag(client, config)?;
                return Ok(Identity { arn, client: own });
            }
            Err(error)
                if error.code().contains("InvalidClientTokenId") || error.code().contains("Unrecognized") =>
            {
                tracing::warn!("the access key that this host kept is not valid any more; it gets a new one");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let arn = caller(client)?;
    let identity = match register(client, config, &arn) {
        Err(Problem::Fatal(AgentError::IdentityInUse(..))) => identity::make(client, config, kept)?,
        _ if arn.ends_with(":root") => identity::make(client, config, kept)?,
        other => {
            other?;
            Identity { arn, client: client.clone() }
        }
    };
    tag(client, config)?;
    tracing::debug!("{} is {}", config.name, identity.arn);
    Ok(identity)
}

fn caller(client: &Client) -> Result<String, CallError> {
    let answer = client.query(&STS, "GetCallerIdentity", &[])?;
    let arn = element(&answer, "Arn");
    let arn = arn.ok_or_else(|| CallError::Protocol("the answer to GetCallerIdentity has no ARN".into()))?;
    Ok(arn.to_owned())
}

fn register(client: &Client, config: &Config, arn: &str) -> Result<(), Problem> {
    if arn.ends_with(":root") {
        return Ok(());
    }
    let session = arn.contains(":assumed-role/");
    let input = RegisterOnPremisesInstanceInput {
        instance_name: Some(config.name.clone()),
        iam_user_arn: (!session).then(|| arn.to_owned()),
        iam_session_arn: session.then(|| arn.to_owned()),
    };
    match client.call(&MODEL, "RegisterOnPremisesInstance", &input.into_node()) {
        Ok(_) => tracing::info!("registered the on-premises instance {} as {arn}", config.name),
        Err(error) if error.is_denied() => {
            tracing::debug!(
                "{arn} may not register instances; going on as if {} were registered",
                config.name
            );
        }
        Err(error) if error.code() == "InstanceNameAlreadyRegisteredException" => {
            if let Some(registered) = registered_for(client, &config.name)?.filter(|other| other != arn) {
                let (name, arn) = (config.name.clone(), arn.to_owned());
                return Err(Problem::Fatal(AgentError::NameTaken(name, registered, arn)));
            }
        }
        Err(error) if error.code().ends_with("ArnAlreadyRegisteredException") => {
            return Err(Problem::Fatal(AgentError::IdentityInUse(arn.to_owned(), config.name.clone())));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
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
    match client.call(&MODEL, "AddTagsToOnPremisesInstances", &input.into_node()) {
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
