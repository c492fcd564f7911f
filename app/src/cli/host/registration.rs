//! Registers a host for deployments, as `aws deploy register` does: an IAM user of its own that may do
//! what an agent does and nothing else, an access key, the instance, its tags.
//! Source: <https://docs.aws.amazon.com/codedeploy/latest/userguide/instances-on-premises-register-instance.html>.

use super::CliError;
use crate::client::{Client, ClientError};
use crate::xml::{element, elements};
use serde_json::json;
use towpath_api_codedeploy::MODEL as CODEDEPLOY;
use towpath_api_iam::MODEL as IAM;

/// The path of such users, which `aws deploy register` uses too.
const PATH: &str = "/AWS/CodeDeploy/";
const POLICY: &str = "codedeploy-agent";

/// The agent's credentials.
pub struct Keys {
    pub access_key_id: String,
    pub secret_access_key: String,
}

fn user_name(host: &str) -> String {
    format!("towpath-host-{host}")
}

/// An agent fetches its commands and its revisions.
fn policy() -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Effect": "Allow", "Action": ["codedeploy-commands:*", "codedeploy-commands-secure:*"], "Resource": "*" },
            { "Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": "*" },
        ],
    })
    .to_string()
}

/// Makes the user and the instance where they are missing; a new key each time, the old ones go.
pub fn register(client: &Client, host: &str, tags: &[(String, String)]) -> Result<Keys, CliError> {
    let user = user_name(host);
    tolerate(
        client.query(&IAM, "CreateUser", &[("UserName", &user), ("Path", PATH)]),
        "EntityAlreadyExists",
    )?;
    let document = policy();
    client.query(
        &IAM,
        "PutUserPolicy",
        &[("UserName", &user), ("PolicyName", POLICY), ("PolicyDocument", &document)],
    )?;
    drop_keys(client, &user)?;
    let key = client.query(&IAM, "CreateAccessKey", &[("UserName", &user)])?;
    let text =
        |name: &str| element(&key, name).map(str::to_owned).ok_or("the answer to CreateAccessKey has no key");
    let keys = Keys { access_key_id: text("AccessKeyId")?, secret_access_key: text("SecretAccessKey")? };
    let found = client.query(&IAM, "GetUser", &[("UserName", &user)])?;
    let arn = element(&found, "Arn").ok_or("the answer to GetUser has no ARN")?;
    let input = json!({ "instanceName": host, "iamUserArn": arn });
    match client.call(&CODEDEPLOY, "RegisterOnPremisesInstance", &input) {
        Err(ClientError::Refused { code, .. }) if code.contains("InstanceNameAlreadyRegistered") => {}
        other => {
            other?;
        }
    }
    if !tags.is_empty() {
        let tags: Vec<_> = tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        client.call(
            &CODEDEPLOY,
            "AddTagsToOnPremisesInstances",
            &json!({ "tags": tags, "instanceNames": [host] }),
        )?;
    }
    Ok(keys)
}

/// Undoes [`register`]; what is gone already is no error.
pub fn deregister(client: &Client, host: &str) {
    let user = user_name(host);
    let steps: [Result<(), ClientError>; 4] = [
        client.call(&CODEDEPLOY, "DeregisterOnPremisesInstance", &json!({ "instanceName": host })).map(drop),
        drop_keys(client, &user),
        client.query(&IAM, "DeleteUserPolicy", &[("UserName", &user), ("PolicyName", POLICY)]).map(drop),
        client.query(&IAM, "DeleteUser", &[("UserName", &user)]).map(drop),
    ];
    for step in steps {
        match step {
            Ok(()) | Err(ClientError::Unreachable { .. }) => {}
            Err(ClientError::Refused { code, .. })
                if code.contains("NoSuchEntity") || code.contains("NotRegistered") => {}
            Err(error) => eprintln!("towpath: deregistering {host}: {error}"),
        }
    }
}

fn drop_keys(client: &Client, user: &str) -> Result<(), ClientError> {
    let listed = client.query(&IAM, "ListAccessKeys", &[("UserName", user)])?;
    for key in elements(&listed, "AccessKeyId") {
        client.query(&IAM, "DeleteAccessKey", &[("UserName", user), ("AccessKeyId", key)])?;
    }
    Ok(())
}

fn tolerate(outcome: Result<String, ClientError>, code: &str) -> Result<(), ClientError> {
    match outcome {
        Err(ClientError::Refused { code: found, .. }) if found.contains(code) => Ok(()),
        other => other.map(drop),
    }
}
