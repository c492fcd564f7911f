//! Tags of applications and deployment groups.
//! <https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_TagResource.html>

use super::common::*;
use crate::CodeDeployService;
use crate::store::{Application, Group, Tags};
use towpath_api::{ApiError, Arn, Call};
use towpath_api_codedeploy::*;
use towpath_store::{Txn, Versioned};

enum Resource {
    Application(Versioned<Application>),
    Group(Box<Versioned<Group>>),
}

impl Resource {
    fn tags(&self) -> &Tags {
        match self {
            Resource::Application(application) => &application.tags,
            Resource::Group(group) => &group.tags,
        }
    }
}

async fn resource(
    service: &CodeDeployService,
    call: &Call,
    action: &str,
    arn: Option<String>,
) -> Result<Resource, ApiError> {
    let text = arn.unwrap_or_default();
    if text.is_empty() {
        return Err(errors::resource_arn_required_exception(
            "The ARN of a resource is required, but was not found",
        ));
    }
    // In the one spelling that policies know: what is asked for is what is authorized.
    let arn = Arn::parse(&text)
        .filter(|arn| arn.service == "codedeploy" && call.arn("codedeploy", arn.resource.as_str()) == text)
        .ok_or_else(|| {
            errors::invalid_arn_exception(format!("The specified ARN is not in a valid format: {text}"))
        })?;
    call.authorize(action, &text, &[])?;
    if let Some(name) = arn.resource.strip_prefix("application:") {
        return Ok(Resource::Application(service.application(name).await?));
    }
    if let Some((application, group)) =
        arn.resource.strip_prefix("deploymentgroup:").and_then(|path| path.split_once('/'))
    {
        let application = service.application(application).await?;
        return Ok(Resource::Group(Box::new(service.group(&application.id, group).await?)));
    }
    Err(errors::arn_not_supported_exception(format!(
        "The specified ARN is not supported: {text}. Applications and deployment groups have tags; on-premises instances have AddTagsToOnPremisesInstances."
    )))
}

async fn replace(service: &CodeDeployService, resource: &Resource, tags: Tags) -> Result<(), ApiError> {
    if tags.len() > MAX_TAGS {
        return Err(errors::invalid_tags_to_add_exception(format!("A resource has at most {MAX_TAGS} tags")));
    }
    let mut txn = Txn::new();
    match resource {
        Resource::Application(old) => txn.replace(old, &Application { tags, ..old.doc.clone() }),
        Resource::Group(old) => txn.replace(old, &Group { tags, ..old.doc.clone() }),
    };
    Ok(service.store.commit(txn).await?)
}

pub async fn tag_resource(
    service: &CodeDeployService,
    call: &Call,
    input: TagResourceInput,
) -> Result<TagResourceOutput, ApiError> {
    let resource = resource(service, call, "codedeploy:TagResource", input.resource_arn).await?;
    let added = tags_of(input.tags, errors::invalid_tags_to_add_exception)?;
    if added.is_empty() {
        return Err(errors::tag_required_exception("A tag was not specified"));
    }
    let mut tags = resource.tags().clone();
    tags.extend(added);
    replace(service, &resource, tags).await?;
    Ok(TagResourceOutput::default())
}

pub async fn untag_resource(
    service: &CodeDeployService,
    call: &Call,
    input: UntagResourceInput,
) -> Result<UntagResourceOutput, ApiError> {
    let resource = resource(service, call, "codedeploy:UntagResource", input.resource_arn).await?;
    let keys = input.tag_keys.unwrap_or_default();
    if keys.is_empty() {
        return Err(errors::tag_required_exception("A tag key was not specified"));
    }
    let mut tags = resource.tags().clone();
    tags.retain(|key, _| !keys.contains(key));
    replace(service, &resource, tags).await?;
    Ok(UntagResourceOutput::default())
}

pub async fn list_tags_for_resource(
    service: &CodeDeployService,
    call: &Call,
    input: ListTagsForResourceInput,
) -> Result<ListTagsForResourceOutput, ApiError> {
    let resource = resource(service, call, "codedeploy:ListTagsForResource", input.resource_arn).await;
    // The operation models no error for a resource that does not exist.
    let resource = resource.map_err(|error| match error.code.ends_with("DoesNotExistException") {
        true => errors::invalid_arn_exception(format!("The specified ARN names nothing: {}", error.message)),
        false => error,
    })?;
    Ok(ListTagsForResourceOutput { tags: Some(show_tags(resource.tags())), next_token: None })
}
