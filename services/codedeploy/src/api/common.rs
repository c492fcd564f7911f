//! What every resource needs: names, ARNs, tokens, tags.

use crate::CodeDeployService;
use crate::store::{Application, Config, Deployment, Group, GroupName, Tags};
use std::collections::BTreeMap;
use towpath_api::{ApiError, Call, id};
use towpath_api_codedeploy::{Tag, errors};
use towpath_store::{Order, Versioned, key};

/// Names or ids in one batch request.
pub const MAX_BATCH: usize = 100;
/// The smaller bound of batches of deployments, revisions and targets.
pub const MAX_SMALL_BATCH: usize = 25;
pub const PAGE: usize = 100;
pub const MAX_TAGS: usize = 50;
const MAX_NAME_CHARS: usize = 100;

pub fn application_arn(call: &Call, name: &str) -> String {
    call.arn("codedeploy", format!("application:{name}"))
}

pub fn group_arn(call: &Call, application: &str, group: &str) -> String {
    call.arn("codedeploy", format!("deploymentgroup:{application}/{group}"))
}

pub fn config_arn(call: &Call, name: &str) -> String {
    call.arn("codedeploy", format!("deploymentconfig:{name}"))
}

pub fn instance_arn(call: &Call, name: &str) -> String {
    call.arn("codedeploy", format!("instance:{name}"))
}

type Make = fn(String) -> ApiError;

fn name_of(name: Option<String>, what: &str, absent: Make, invalid: Make) -> Result<String, ApiError> {
    let name = name.unwrap_or_default();
    if name.is_empty() {
        return Err(absent(format!("{what} name is required")));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if name.chars().count() > MAX_NAME_CHARS || !name.chars().all(allowed) {
        return Err(invalid(format!(
            "{what} name {name:?} is not valid: it has 1 to {MAX_NAME_CHARS} letters, digits and + = , . @ _ -"
        )));
    }
    Ok(name)
}

pub fn application_name(name: Option<String>) -> Result<String, ApiError> {
    name_of(
        name,
        "Application",
        errors::application_name_required_exception,
        errors::invalid_application_name_exception,
    )
}

pub fn group_name(name: Option<String>) -> Result<String, ApiError> {
    name_of(
        name,
        "Deployment group",
        errors::deployment_group_name_required_exception,
        errors::invalid_deployment_group_name_exception,
    )
}

pub fn config_name(name: Option<String>) -> Result<String, ApiError> {
    name_of(
        name,
        "Deployment configuration",
        errors::deployment_config_name_required_exception,
        errors::invalid_deployment_config_name_exception,
    )
}

pub fn instance_name(name: Option<String>) -> Result<String, ApiError> {
    let name = name_of(
        name,
        "Instance",
        errors::instance_name_required_exception,
        errors::invalid_instance_name_exception,
    )?;
    if name.starts_with("i-") {
        return Err(errors::invalid_instance_name_exception(format!(
            "The on-premises instance name {name} is not valid: names that begin with i- are those of EC2 instances"
        )));
    }
    Ok(name)
}

pub fn deployment_id(id: Option<String>) -> Result<String, ApiError> {
    let id = id.unwrap_or_default();
    if id.is_empty() {
        return Err(errors::deployment_id_required_exception("Deployment ID is required"));
    }
    let shaped = id.strip_prefix("d-").is_some_and(|rest| {
        (1..=32).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    if !shaped {
        return Err(errors::invalid_deployment_id_exception(format!(
            "Specified DeploymentId is not in the valid format: {id:?}"
        )));
    }
    Ok(id)
}

pub fn batch(length: usize, limit: usize) -> Result<(), ApiError> {
    if length > limit {
        return Err(errors::batch_limit_exceeded_exception(format!(
            "The maximum number of names or IDs allowed for this request ({limit}) was exceeded: {length}"
        )));
    }
    Ok(())
}

/// A token is the key after which the next page begins.
pub fn next_token(next: Option<String>) -> Option<String> {
    next.map(|next| id::base64_encode(next.as_bytes()))
}

pub fn after(token: Option<String>) -> Result<Option<String>, ApiError> {
    let Some(token) = token else { return Ok(None) };
    id::base64_decode(&token).and_then(|bytes| String::from_utf8(bytes).ok()).map(Some).ok_or_else(|| {
        errors::invalid_next_token_exception("The next token was specified in an invalid format")
    })
}

pub fn tags_of(tags: Option<Vec<Tag>>, invalid: fn(String) -> ApiError) -> Result<Tags, ApiError> {
    let mut all = BTreeMap::new();
    for tag in tags.unwrap_or_default() {
        let (key, value) = (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(invalid(format!(
                "The tag {key:?} is not valid: a key has 1 to 128 characters, a value up to 256"
            )));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid(format!(
                "The tag {key:?} is not valid: keys that begin with aws: are reserved"
            )));
        }
        if all.insert(key.clone(), value).is_some() {
            return Err(invalid(format!("The tag key {key:?} is given twice")));
        }
    }
    if all.len() > MAX_TAGS {
        return Err(invalid(format!("A resource has at most {MAX_TAGS} tags")));
    }
    Ok(all)
}

pub fn show_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
}

pub fn no_application(name: &str) -> ApiError {
    errors::application_does_not_exist_exception(format!("No application found for name: {name}"))
}

pub fn no_group(name: &str) -> ApiError {
    errors::deployment_group_does_not_exist_exception(format!("No Deployment Group found for name: {name}"))
}

pub fn no_config(name: &str) -> ApiError {
    errors::deployment_config_does_not_exist_exception(format!(
        "No Deployment Configuration found for name: {name}"
    ))
}

pub fn no_deployment(id: &str) -> ApiError {
    errors::deployment_does_not_exist_exception(format!("The deployment {id} could not be found"))
}

impl CodeDeployService {
    pub(super) async fn application(&self, name: &str) -> Result<Versioned<Application>, ApiError> {
        self.store.get(&key(&[name])).await?.ok_or_else(|| no_application(name))
    }

    pub(super) async fn find_group(
        &self,
        application_id: &str,
        name: &str,
    ) -> Result<Option<Versioned<Group>>, ApiError> {
        match self.store.get::<GroupName>(&key(&[application_id, name])).await? {
            Some(named) => Ok(self.store.get(&key(&[application_id, &named.group_id])).await?),
            None => Ok(None),
        }
    }

    pub(super) async fn group(&self, application_id: &str, name: &str) -> Result<Versioned<Group>, ApiError> {
        self.find_group(application_id, name).await?.ok_or_else(|| no_group(name))
    }

    pub(super) async fn groups_of(&self, application_id: &str) -> Result<Vec<Versioned<Group>>, ApiError> {
        let mut groups = Vec::new();
        let mut after = None;
        loop {
            let prefix = key(&[application_id, ""]);
            let page = self.store.list(&prefix, after.as_deref(), 1_000, Order::Ascending).await?;
            groups.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(groups),
            }
        }
    }

    pub(super) async fn config_named(&self, name: &str) -> Result<Config, ApiError> {
        if let Some(config) = super::configs::predefined(name) {
            return Ok(config);
        }
        Ok(self.store.get::<Config>(&key(&[name])).await?.ok_or_else(|| no_config(name))?.into_doc())
    }

    /// A deployment, for whoever may do `action` in its group. A caller who may not learns nothing else.
    pub(super) async fn deployment_for(
        &self,
        call: &Call,
        action: &str,
        id: &str,
    ) -> Result<Versioned<Deployment>, ApiError> {
        match self.store.get::<Deployment>(&key(&[id])).await? {
            Some(deployment) => {
                let arn = group_arn(call, &deployment.application_name, &deployment.group_name);
                call.authorize(action, &arn, &[])?;
                Ok(deployment)
            }
            None => {
                call.authorize(action, &group_arn(call, "*", "*"), &[])?;
                Err(no_deployment(id))
            }
        }
    }
}
