//! Deployments: create, show, list, stop.
//! <https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_CreateDeployment.html>

use super::common::*;
use super::{refusals, render, revisions};
use crate::CodeDeployService;
use crate::state::deployment::{Event, Phase, Progress};
use crate::state::fleet::Fleet;
use crate::store::{Application, Creator, Deployment, DeploymentEntry, Group, new_deployment_id};
use crate::work::engine;
use towpath_api::{ApiError, Call, Timestamp};
use towpath_api_codedeploy::*;
use towpath_store::{Order, StoreError, Txn, Versioned, key};

/// Tries to write a new deployment while others change the group.
const MAX_ROUNDS: usize = 10;
/// Entries that one ListDeployments call looks at: with filters a page can be short, and then its token goes
/// on where it ended.
const MAX_SCAN: usize = 1_000;
const STATUSES: [&str; 8] =
    ["Created", "Queued", "InProgress", "Baking", "Succeeded", "Failed", "Stopped", "Ready"];

pub async fn create_deployment(
    service: &CodeDeployService,
    call: &Call,
    input: CreateDeploymentInput,
) -> Result<CreateDeploymentOutput, ApiError> {
    let application = application_name(input.application_name.clone())?;
    let name = group_name(input.deployment_group_name.clone())?;
    call.authorize("codedeploy:CreateDeployment", &group_arn(call, &application, &name), &[])?;
    refusals::deployment(&input)?;
    let description = revisions::description(input.description.clone())?;
    let behavior = match input.file_exists_behavior.as_deref() {
        None | Some("") => "DISALLOW",
        Some(known @ ("DISALLOW" | "OVERWRITE" | "RETAIN")) => known,
        Some(other) => {
            return Err(errors::invalid_file_exists_behavior_exception(format!(
                "The fileExistsBehavior {other:?} is invalid: it is DISALLOW, OVERWRITE or RETAIN"
            )));
        }
    }
    .to_owned();
    let revision = revisions::location(input.revision.clone())?;
    let application = service.application(&application).await?;
    for _ in 0..MAX_ROUNDS {
        let group = service.group(&application.id, &name).await?;
        let config_name =
            config_name(input.deployment_config_name.clone().or(Some(group.config_name.clone())))?;
        call.authorize("codedeploy:GetDeploymentConfig", &config_arn(call, &config_name), &[])?;
        let config = service.config_named(&config_name).await?;
        let draft = draft(call, &application, &group, &input, revision.clone(), service.store.now());
        let deployment = Deployment {
            config_name: config.name,
            minimum_healthy: config.minimum_healthy,
            description: description.clone(),
            file_exists_behavior: behavior.clone(),
            ..draft
        };
        if write(service, &application, &group, &deployment).await? {
            return Ok(CreateDeploymentOutput { deployment_id: Some(deployment.id) });
        }
    }
    Err(errors::throttling_exception("The deployment group is being changed: send the request again"))
}

fn draft(
    call: &Call,
    application: &Application,
    group: &Group,
    input: &CreateDeploymentInput,
    revision: RevisionLocation,
    now: Timestamp,
) -> Deployment {
    Deployment {
        id: new_deployment_id(),
        account: call.account.clone(),
        region: call.region.clone(),
        application_id: application.id.clone(),
        application_name: application.name.clone(),
        group_id: group.id.clone(),
        group_name: group.name.clone(),
        service_role_arn: group.service_role_arn.clone(),
        config_name: group.config_name.clone(),
        minimum_healthy: crate::state::fleet::MinimumHealthy::MostConcurrency(1),
        revision,
        pinned: None,
        previous_revision: group.target_revision.clone(),
        description: None,
        creator: Creator::User,
        created_at: now,
        ignore_application_stop_failures: input.ignore_application_stop_failures.unwrap_or(false),
        update_outdated_instances_only: input.update_outdated_instances_only.unwrap_or(false),
        file_exists_behavior: String::new(),
        auto_rollback: input.auto_rollback_configuration.clone().or_else(|| group.auto_rollback.clone()),
        rolled_back_by: None,
        progress: Progress { phase: Phase::Created, fleet: Fleet::default() },
        taken: 0,
    }
}

/// `false`: the group changed meanwhile.
async fn write(
    service: &CodeDeployService,
    application: &Application,
    group: &Versioned<Group>,
    deployment: &Deployment,
) -> Result<bool, ApiError> {
    if let Some(active) = &group.active_deployment {
        return Err(errors::deployment_limit_exceeded_exception(format!(
            "The Deployment Group '{}' already has an active Deployment '{active}'",
            group.name
        )));
    }
    let mut txn = Txn::new();
    txn.replace(group, &Group { active_deployment: Some(deployment.id.clone()), ..group.doc.clone() });
    revisions::register(service, &mut txn, application, &deployment.revision, None, true).await?;
    engine::create(&mut txn, deployment, deployment.created_at);
    match service.store.commit(txn).await {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub async fn get_deployment(
    service: &CodeDeployService,
    call: &Call,
    input: GetDeploymentInput,
) -> Result<GetDeploymentOutput, ApiError> {
    let id = deployment_id(input.deployment_id)?;
    let deployment = service.deployment_for(call, "codedeploy:GetDeployment", &id).await?;
    Ok(GetDeploymentOutput { deployment_info: Some(render::deployment(&deployment)) })
}

pub async fn batch_get_deployments(
    service: &CodeDeployService,
    call: &Call,
    input: BatchGetDeploymentsInput,
) -> Result<BatchGetDeploymentsOutput, ApiError> {
    let ids = input.deployment_ids.unwrap_or_default();
    if ids.is_empty() {
        return Err(errors::deployment_id_required_exception("At least one deployment ID is required"));
    }
    batch(ids.len(), MAX_SMALL_BATCH)?;
    let mut found = Vec::new();
    for id in ids {
        let id = deployment_id(Some(id))?;
        match service.deployment_for(call, "codedeploy:BatchGetDeployments", &id).await {
            Ok(deployment) => found.push(render::deployment(&deployment)),
            // Ids that are not there are left out.
            Err(error) if error.code == "DeploymentDoesNotExistException" => {}
            Err(error) => return Err(error),
        }
    }
    Ok(BatchGetDeploymentsOutput { deployments_info: Some(found) })
}

struct Filter {
    statuses: Vec<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Filter {
    fn of(statuses: Option<Vec<String>>, range: Option<TimeRange>) -> Result<Filter, ApiError> {
        let statuses = statuses.unwrap_or_default();
        if let Some(unknown) = statuses.iter().find(|status| !STATUSES.contains(&status.as_str())) {
            return Err(errors::invalid_deployment_status_exception(format!(
                "The specified deployment status doesn't exist: {unknown:?}"
            )));
        }
        let range = range.unwrap_or_default();
        if matches!((range.start, range.end), (Some(start), Some(end)) if start > end) {
            return Err(errors::invalid_time_range_exception("The time range ends before it starts"));
        }
        Ok(Filter { statuses, from: range.start, to: range.end })
    }

    fn spans(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at <= to)
    }
}

/// Which list of deployments is asked for: a group's or all.
async fn list_of(
    service: &CodeDeployService,
    call: &Call,
    application: Option<String>,
    group: Option<String>,
) -> Result<String, ApiError> {
    let (application, group) = match (application, group) {
        (None, None) => {
            call.authorize("codedeploy:ListDeployments", &group_arn(call, "*", "*"), &[])?;
            return Ok(DeploymentEntry::ALL.to_owned());
        }
        (application, group) => (application_name(application)?, group_name(group)?),
    };
    call.authorize("codedeploy:ListDeployments", &group_arn(call, &application, &group), &[])?;
    let application = service.application(&application).await?;
    Ok(service.group(&application.id, &group).await?.id.clone())
}

/// The newest first.
pub async fn list_deployments(
    service: &CodeDeployService,
    call: &Call,
    input: ListDeploymentsInput,
) -> Result<ListDeploymentsOutput, ApiError> {
    let filter = Filter::of(input.include_only_statuses, input.create_time_range)?;
    if input.external_id.is_some_and(|id| !id.is_empty()) {
        return Err(ApiError::not_implemented("codedeploy: ListDeployments by externalId (CloudFormation)"));
    }
    let mut after = after(input.next_token)?;
    let list = list_of(service, call, input.application_name, input.deployment_group_name).await?;
    let prefix = key(&[&list, ""]);
    let (mut found, mut scanned) = (Vec::new(), 0);
    while found.len() < PAGE && scanned < MAX_SCAN {
        let page = service
            .store
            .list::<DeploymentEntry>(&prefix, after.as_deref(), PAGE - found.len(), Order::Ascending)
            .await?;
        scanned += page.items.len();
        for entry in &page.items {
            if filter.spans(entry.created_at) && has_status(service, &filter, &entry.deployment_id).await? {
                found.push(entry.deployment_id.clone());
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(ListDeploymentsOutput { deployments: Some(found), next_token: next_token(after) })
}

async fn has_status(service: &CodeDeployService, filter: &Filter, id: &str) -> Result<bool, ApiError> {
    if filter.statuses.is_empty() {
        return Ok(true);
    }
    let deployment = service.store.get::<Deployment>(&key(&[id])).await?;
    Ok(deployment.is_some_and(|deployment| {
        let status = deployment.progress.phase.status();
        filter.statuses.iter().any(|wanted| wanted == status)
    }))
}

pub async fn stop_deployment(
    service: &CodeDeployService,
    call: &Call,
    input: StopDeploymentInput,
) -> Result<StopDeploymentOutput, ApiError> {
    let id = deployment_id(input.deployment_id)?;
    let deployment = service.deployment_for(call, "codedeploy:StopDeployment", &id).await?;
    if deployment.progress.phase.is_ended() {
        return Err(errors::deployment_already_completed_exception(format!(
            "The deployment {id} is already complete: its status is {}",
            deployment.progress.phase.status()
        )));
    }
    let roll_back = input.auto_rollback_enabled.unwrap_or_else(|| {
        crate::work::rollback::is_configured(deployment.auto_rollback.as_ref(), "DEPLOYMENT_STOP_ON_REQUEST")
    });
    let stopped = service.deployment_event(&id, Event::StopRequested { roll_back }).await?;
    let status = if stopped.progress.phase.is_ended() { "Succeeded" } else { "Pending" };
    Ok(StopDeploymentOutput {
        status: Some(status.into()),
        status_message: Some(
            "No more commands will be scheduled for execution in the deployment instances".into(),
        ),
    })
}
