//! An IAM user for this host alone, as `aws deploy register` makes one, and the access key that is kept.
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/instances-on-premises-register-instance.html>
//!
//! State: `ROOT/ongoing-deployment/identity.json`, readable by the agent's user alone. It is written before
//! the instance is registered, so an agent that dies in between finds its key again.

use crate::client::{CallError, Client, element, elements};
use crate::layout::{Layout, write_durably};
use crate::{AgentError, Config, Credentials};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use towpath_api::{FromNode, IntoNode};
use towpath_api_codedeploy::MODEL as CODEDEPLOY;
use towpath_api_codedeploy::*;
use towpath_api_iam::MODEL as IAM;

const USER_PATH: &str = "/AWS/CodeDeploy/";
const POLICY: &str = "codedeploy-agent";

/// Who the host is from here on.
pub struct Identity {
    pub arn: String,
    pub client: Client,
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

/// Whose the name is, where that may be asked.
pub fn registered_for(client: &Client, name: &str) -> Result<Option<String>, Problem> {
    let input = GetOnPremisesInstanceInput { instance_name: Some(name.to_owned()) };
    let node = match client.call(&CODEDEPLOY, "GetOnPremisesInstance", &input.into_node()) {
        Err(error) if error.is_denied() || error.code() == "InstanceNotRegisteredException" => {
            return Ok(None);
        }
        other => other?,
    };
    let output = GetOnPremisesInstanceOutput::from_node(node)
        .map_err(|error| CallError::Protocol(error.to_string()))?;
    let info = output.instance_info.unwrap_or_default();
    if info.deregister_time.is_some() {
        return Ok(None);
    }
    Ok(info.iam_user_arn.or(info.iam_session_arn))
}

/// Where the key is.
pub struct Kept {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Key {
    endpoint: String,
    name: String,
    access_key_id: String,
    secret_access_key: String,
}

impl Kept {
    pub fn new(layout: &Layout) -> Kept {
        Kept { path: layout.ongoing().join("identity.json") }
    }

    /// The key that was kept for this very host and server.
    pub fn load(&self, config: &Config) -> Option<Credentials> {
        let key: Key = serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()?;
        (key.endpoint == config.endpoint && key.name == config.name).then_some(Credentials {
            access_key_id: key.access_key_id,
            secret_access_key: key.secret_access_key,
            session_token: None,
        })
    }

    fn save(&self, config: &Config, credentials: &Credentials) -> Result<(), AgentError> {
        let key = Key {
            endpoint: config.endpoint.clone(),
            name: config.name.clone(),
            access_key_id: credentials.access_key_id.clone(),
            secret_access_key: credentials.secret_access_key.clone(),
        };
        let failed = |source| AgentError::Folder { path: self.path.clone(), source };
        let text = serde_json::to_vec(&key).map_err(|error| failed(error.into()))?;
        write_durably(&self.path, &text, 0o600).map_err(failed)
    }
}

/// What an agent does, and nothing else.
fn policy() -> String {
    serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion"],
            "Resource": "*",
        }],
    })
    .to_string()
}

/// Makes the user and its key with credentials that may, and registers the host as that user.
pub fn make(client: &Client, config: &Config, kept: &Kept) -> Result<Identity, Problem> {
    let name = &config.name;
    if let Some(other) = registered_for(client, name)? {
        return Err(Problem::Fatal(AgentError::NameInUse { name: name.clone(), arn: other }));
    }
    let user = format!("towpath-host-{name}");
    match client.query(&IAM, "CreateUser", &[("UserName", &user), ("Path", USER_PATH)]) {
        Err(error) if error.code().starts_with("EntityAlreadyExists") => {}
        other => {
            other?;
        }
    }
    let document = policy();
    let policy = [("UserName", user.as_str()), ("PolicyName", POLICY), ("PolicyDocument", &document)];
    client.query(&IAM, "PutUserPolicy", &policy)?;
    let listed = client.query(&IAM, "ListAccessKeys", &[("UserName", &user)])?;
    for key in elements(&listed, "AccessKeyId") {
        client.query(&IAM, "DeleteAccessKey", &[("UserName", &user), ("AccessKeyId", key)])?;
    }
    let made = client.query(&IAM, "CreateAccessKey", &[("UserName", &user)])?;
    let found = client.query(&IAM, "GetUser", &[("UserName", &user)])?;
    let text = |xml: &str, name: &str| {
        let missing = || CallError::Protocol(format!("an answer of IAM has no {name}"));
        element(xml, name).map(str::to_owned).ok_or_else(missing)
    };
    let credentials = Credentials {
        access_key_id: text(&made, "AccessKeyId")?,
        secret_access_key: text(&made, "SecretAccessKey")?,
        session_token: None,
    };
    let arn = text(&found, "Arn")?;
    kept.save(config, &credentials).map_err(Problem::Fatal)?;
    let input = RegisterOnPremisesInstanceInput {
        instance_name: Some(name.clone()),
        iam_user_arn: Some(arn.clone()),
        iam_session_arn: None,
    };
    match client.call(&CODEDEPLOY, "RegisterOnPremisesInstance", &input.into_node()) {
        Ok(_) => tracing::info!("registered the on-premises instance {name} as {arn}, which was made for it"),
        Err(error) if error.code().ends_with("AlreadyRegisteredException") => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Identity { arn, client: client.with_credentials(credentials) })
}
