//! The hosts of a deployment, each with its life-cycle events and script diagnostics.
//! <https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_GetDeploymentTarget.html>
//!
//! A target's id is the on-premises instance's name. The older instance operations take that name or the
//! instance's ARN, and show the ARN.

use super::common::*;
use super::render;
use crate::CodeDeployService;
use crate::state::deployment::Phase;
use crate::store::{Deployment, Target};
use std::collections::BTreeMap;
use towpath_api::{ApiError, Arn, Call};
use towpath_api_codedeploy::*;
use towpath_store::{Order, Versioned, key};

/// Targets that one list call looks at; a page can be short where a filter is used.
const MAX_SCAN: usize = 1_000;
const STATUSES: [&str; 7] = ["Pending", "InProgress", "Succeeded", "Failed", "Skipped", "Unknown", "Ready"];

fn started(deployment: &Deployment) -> Result<(), ApiError> {
    match deployment.progress.phase {
        Phase::Created => Err(errors::deployment_not_started_exception(format!(
            "The specified deployment {} has not started",
            deployment.id
        ))),
        _ => Ok(()),
    }
}

fn check_statuses(statuses: &[String]) -> Result<(), ApiError> {
    match statuses.iter().find(|status| !STATUSES.contains(&status.as_str())) {
        Some(unknown) => Err(errors::invalid_instance_status_exception(format!(
            "The specified instance status does not exist: {unknown:?}"
        ))),
        None => Ok(()),
    }
}

async fn page_of(
    service: &CodeDeployService,
    deployment: &Deployment,
    statuses: &[String],
    token: Option<String>,
) -> Result<(Vec<String>, Option<String>), ApiError> {
    let mut after = after(token)?;
    let prefix = key(&[&deployment.id, ""]);
    let (mut found, mut scanned) = (Vec::new(), 0);
    while found.len() < PAGE && scanned < MAX_SCAN {
        let page = service
            .store
            .list::<Target>(&prefix, after.as_deref(), PAGE - found.len(), Order::Ascending)
            .await?;
        scanned += page.items.len();
        for target in &page.items {
            let status = render::target_status(deployment, target);
            if statuses.is_empty() || statuses.iter().any(|wanted| wanted == status) {
                found.push(target.instance.clone());
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok((found, next_token(after)))
}

fn statuses_of(filters: Option<BTreeMap<String, Vec<String>>>) -> Result<Vec<String>, ApiError> {
    let mut statuses = Vec::new();
    for (name, values) in filters.unwrap_or_default() {
        match name.as_str() {
            "TargetStatus" => statuses.extend(values),
            "ServerInstanceLabel" => return Err(labels_are_for_blue_green()),
            other => {
                return Err(errors::invalid_target_filter_name_exception(format!(
                    "The target filter name {other:?} is invalid: it is TargetStatus or ServerInstanceLabel"
                )));
            }
        }
    }
    check_statuses(&statuses)?;
    Ok(statuses)
}

fn labels_are_for_blue_green() -> ApiError {
    errors::invalid_deployment_instance_type_exception(
        "An instance type was specified for an in-place deployment. Instance types are supported for blue/green deployments only.",
    )
}

pub async fn list_deployment_targets(
    service: &CodeDeployService,
    call: &Call,
    input: ListDeploymentTargetsInput,
) -> Result<ListDeploymentTargetsOutput, ApiError> {
    let id = deployment_id(input.deployment_id)?;
    let deployment = service.deployment_for(call, "codedeploy:ListDeploymentTargets", &id).await?;
    let statuses = statuses_of(input.target_filters)?;
    started(&deployment)?;
    let (ids, next) = page_of(service, &deployment, &statuses, input.next_token).await?;
    Ok(ListDeploymentTargetsOutput { target_ids: Some(ids), next_token: next })
}

pub async fn list_deployment_instances(
    service: &CodeDeployService,
    call: &Call,
    input: ListDeploymentInstancesInput,
) -> Result<ListDeploymentInstancesOutput, ApiError> {
    let id = deployment_id(input.deployment_id)?;
    let deployment = service.deployment_for(call, "codedeploy:ListDeploymentInstances", &id).await?;
    if input.instance_type_filter.is_some_and(|types| !types.is_empty()) {
        return Err(labels_are_for_blue_green());
    }
    let statuses = input.instance_status_filter.unwrap_or_default();
    check_statuses(&statuses)?;
    started(&deployment)?;
    let (ids, next) = page_of(service, &deployment, &statuses, input.next_token).await?;
    Ok(ListDeploymentInstancesOutput { instances_list: Some(ids), next_token: next })
}

async fn find(
    service: &CodeDeployService,
    deployment: &Deployment,
    instance: &str,
) -> Result<Option<Versioned<Target>>, ApiError> {
    let Some(target) =
        service.store.get::<Target>(&Target::key_of(&deployment.id, name_in(instance))).await?
    else {
        return Ok(None);
    };
    let is_meant = instance == target.instance || instance == target.instance_arn;
    Ok(is_meant.then_some(target))
}

/// `web-1` of `web-1` and of `arn:aws:codedeploy:…:instance/web-1_AbCdEfGhIj`.
fn name_in(instance: &str) -> &str {
    Arn::parse(instance)
        .is_some_and(|arn| arn.service == "codedeploy")
        .then(|| instance.rsplit_once("instance/"))
        .flatten()
        .map_or(instance, |(_, named)| named.rsplit_once('_').map_or(named, |(name, _)| name))
}

fn target_id(id: Option<String>) -> Result<String, ApiError> {
    match id {
        Some(id) if id.len() > 1_024 => {
            Err(errors::invalid_deployment_target_id_exception("The target ID provided was not valid"))
        }
        Some(id) if !id.is_empty() => Ok(id),
        _ => Err(errors::deployment_target_id_required_exception("A deployment target ID was not provided")),
    }
}

fn no_target(deployment: &Deployment, id: &str) -> ApiError {
    errors::deployment_target_does_not_exist_exception(format!(
        "The target {id} does not belong to the deployment {}",
        deployment.id
    ))
}

pub async fn get_deployment_target(
    service: &CodeDeployService,
    call: &Call,
    input: GetDeploymentTargetInput,
) -> Result<GetDeploymentTargetOutput, ApiError> {
    let id = deployment_id(input.deployment_id)?;
    let deployment = service.deployment_for(call, "codedeploy:GetDeploymentTarget", &id).await?;
    let wanted = target_id(input.target_id)?;
    started(&deployment)?;
    let target = find(service, &deployment, &wanted).await?.ok_or_else(|| no_target(&deployment, &wanted))?;
    Ok(GetDeploymentTargetOutput { deployment_target: Some(render::target(&deployment, &target)) })
}

pub async fn batch_get_deployment_targets(
    service: &CodeDeployService,
    call: &Call,
    input: BatchGetDeploymentTargetsInput,
) -> Result<BatchGetDeploymentTargetsOutput, ApiError> {
    let id = deployment_id(input.deployment_id)?;
    let deployment = service.deployment_for(call, "codedeploy:BatchGetDeploymentTargets", &id).await?;
    let ids = input.target_ids.unwrap_or_default();
    if ids.is_empty() {
        return Err(errors::deployment_target_id_required_exception(
            "A deployment target ID was not provided",
        ));
    }
    batch(ids.len(), MAX_SMALL_BATCH)?;
    started(&deployment)?;
    let mut found = Vec::new();
    for wanted in ids {
        let wanted = target_id(Some(wanted))?;
        let target =
            find(service, &deployment, &wanted).await?.ok_or_else(|| no_target(&deployment, &wanted))?;
        found.push(render::target(&deployment, &target));
    }
    Ok(BatchGetDeploymentTargetsOutput { deployment_targets: Some(found) })
}

pub async fn get_deployment_instance(
    service: &CodeDeployService,
    call: &Call,
    input: GetDeploymentInstanceInput,
) -> Result<GetDeploymentInstanceOutput, ApiError> {
    let id = deployment_id(input.deployment_id)?;
    let deployment = service.deployment_for(call, "codedeploy:GetDeploymentInstance", &id).await?;
    let instance = input.instance_id.unwrap_or_default();
    if instance.is_empty() {
        return Err(errors::instance_id_required_exception("The instance ID was not specified"));
    }
    let target = find(service, &deployment, &instance).await?.ok_or_else(|| {
        errors::instance_does_not_exist_exception(format!(
            "The specified instance does not exist in the deployment {id}: {instance}"
        ))
    })?;
    Ok(GetDeploymentInstanceOutput { instance_summary: Some(render::instance_summary(&deployment, &target)) })
}

/// Instances that are not there are named in `errorMessage`; the others are shown.
pub async fn batch_get_deployment_instances(
    service: &CodeDeployService,
    call: &Call,
    input: BatchGetDeploymentInstancesInput,
) -> Result<BatchGetDeploymentInstancesOutput, ApiError> {
    let id = deployment_id(input.deployment_id)?;
    let deployment = service.deployment_for(call, "codedeploy:BatchGetDeploymentInstances", &id).await?;
    let ids = input.instance_ids.unwrap_or_default();
    if ids.is_empty() {
        return Err(errors::instance_id_required_exception("At least one instance ID is required"));
    }
    batch(ids.len(), MAX_SMALL_BATCH)?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for instance in ids {
        match find(service, &deployment, &instance).await? {
            Some(target) => found.push(render::instance_summary(&deployment, &target)),
            None => missing.push(instance),
        }
    }
    let error_message = (!missing.is_empty())
        .then(|| format!("The specified instances do not exist in the deployment: {}", missing.join(", ")));
    Ok(BatchGetDeploymentInstancesOutput { instances_summary: Some(found), error_message })
}
