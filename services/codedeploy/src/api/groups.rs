//! Deployment groups: which hosts, with which role, configuration and rollback.
//! <https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_CreateDeploymentGroup.html>
//!
//! `outdatedInstancesStrategy` is kept and shown; it speaks of EC2 instances that are launched in the middle
//! of a deployment, and there are none.

use super::common::*;
use super::refusals::{self, GroupOptions};
use super::render;
use crate::CodeDeployService;
use crate::state::deployment::Event;
use crate::store::{Application, Deployment, Group, GroupName, Selection};
use towpath_api::{ApiError, Call, id};
use towpath_api_codedeploy::*;
use towpath_store::{Order, StoreError, Txn, Versioned, key};

/// AWS's quotas.
const MAX_GROUPS: usize = 1_000;
const MAX_TAG_FILTERS: usize = 10;
const MAX_TAG_SETS: usize = 3;
const DEFAULT_CONFIG: &str = "CodeDeployDefault.OneAtATime";

/// `None`: neither was given.
fn selection_of(
    filters: Option<Vec<TagFilter>>,
    set: Option<OnPremisesTagSet>,
) -> Result<Option<Selection>, ApiError> {
    let sets = set.and_then(|set| set.on_premises_tag_set_list);
    match (filters, sets) {
        (Some(filters), Some(sets)) if !filters.is_empty() && !sets.is_empty() => {
            Err(errors::invalid_on_premises_tag_combination_exception(
                "onPremisesInstanceTagFilters and onPremisesTagSet were both given, but only one of them can be used",
            ))
        }
        (_, Some(sets)) if !sets.is_empty() => {
            if sets.len() > MAX_TAG_SETS {
                return Err(errors::tag_set_list_limit_exceeded_exception(format!(
                    "The number of tag groups included in the tag set list exceeded the maximum allowed limit of {MAX_TAG_SETS}"
                )));
            }
            if sets.iter().map(Vec::len).sum::<usize>() > MAX_TAG_FILTERS || sets.iter().any(Vec::is_empty) {
                return Err(too_many_filters());
            }
            sets.iter().flatten().try_for_each(check_filter)?;
            Ok(Some(Selection::Sets(sets)))
        }
        (Some(filters), _) => {
            if filters.len() > MAX_TAG_FILTERS {
                return Err(too_many_filters());
            }
            filters.iter().try_for_each(check_filter)?;
            Ok(Some(if filters.is_empty() { Selection::None } else { Selection::Filters(filters) }))
        }
        (None, Some(_)) => Ok(Some(Selection::None)),
        (None, None) => Ok(None),
    }
}

fn too_many_filters() -> ApiError {
    errors::invalid_tag_exception(format!(
        "A deployment group has 1 to {MAX_TAG_FILTERS} tag filters, and no tag group is empty"
    ))
}

/// Also used by ListOnPremisesInstances, with its own error.
pub fn filter_problem(filter: &TagFilter) -> Option<&'static str> {
    match (filter.type_.as_deref(), &filter.key, &filter.value) {
        (Some("KEY_ONLY"), None, _) => Some("KEY_ONLY needs a Key"),
        (Some("VALUE_ONLY"), _, None) => Some("VALUE_ONLY needs a Value"),
        (Some("KEY_AND_VALUE"), None, _) => Some("KEY_AND_VALUE needs a Key"),
        (Some("KEY_ONLY" | "VALUE_ONLY" | "KEY_AND_VALUE"), ..) => None,
        (Some(_), ..) => Some("the type is KEY_ONLY, VALUE_ONLY or KEY_AND_VALUE"),
        (None, None, None) => Some("a filter needs a Key or a Value"),
        (None, ..) => None,
    }
}

fn check_filter(filter: &TagFilter) -> Result<(), ApiError> {
    match filter_problem(filter) {
        Some(problem) => Err(errors::invalid_tag_exception(format!(
            "The tag was specified in an invalid format: {problem}"
        ))),
        None => Ok(()),
    }
}

fn outdated_strategy(strategy: Option<String>) -> Result<Option<String>, ApiError> {
    match strategy.as_deref() {
        None | Some("UPDATE" | "IGNORE") => Ok(strategy),
        Some(other) => Err(errors::invalid_input_exception(format!(
            "The outdated instances strategy {other:?} is invalid: it is UPDATE or IGNORE"
        ))),
    }
}

fn already_exists(name: &str) -> ApiError {
    errors::deployment_group_already_exists_exception(format!("Deployment group already exists: {name}"))
}

pub async fn create_deployment_group(
    service: &CodeDeployService,
    call: &Call,
    input: CreateDeploymentGroupInput,
) -> Result<CreateDeploymentGroupOutput, ApiError> {
    let application = application_name(input.application_name)?;
    let name = group_name(input.deployment_group_name)?;
    call.authorize("codedeploy:CreateDeploymentGroup", &group_arn(call, &application, &name), &[])?;
    GroupOptions {
        alarms: &input.alarm_configuration,
        auto_scaling_groups: &input.auto_scaling_groups,
        blue_green: &input.blue_green_deployment_configuration,
        style: &input.deployment_style,
        ec2_options: &input.ec2_deployment_options,
        ec2_tag_filters: &input.ec2_tag_filters,
        ec2_tag_set: &input.ec2_tag_set,
        ecs_services: &input.ecs_services,
        load_balancer: &input.load_balancer_info,
        triggers: &input.trigger_configurations,
        termination_hook: &input.termination_hook_enabled,
    }
    .check()?;
    refusals::auto_rollback(&input.auto_rollback_configuration)?;
    let role = refusals::service_role(service, call, input.service_role_arn).await?;
    let config = config_name(input.deployment_config_name.or(Some(DEFAULT_CONFIG.into())))?;
    let selection = selection_of(input.on_premises_instance_tag_filters, input.on_premises_tag_set)?;
    let strategy = outdated_strategy(input.outdated_instances_strategy)?;
    let tags = tags_of(input.tags, errors::invalid_tags_to_add_exception)?;
    let application = service.application(&application).await?;
    service.config_named(&config).await?;
    if service.groups_of(&application.id).await?.len() >= MAX_GROUPS {
        return Err(errors::deployment_group_limit_exceeded_exception(format!(
            "An application has at most {MAX_GROUPS} deployment groups"
        )));
    }
    let group = Group {
        application_id: application.id.clone(),
        id: id::uuid(),
        name,
        created_at: service.store.now(),
        service_role_arn: role,
        config_name: config,
        selection: selection.unwrap_or_default(),
        auto_rollback: input.auto_rollback_configuration,
        outdated_instances_strategy: strategy.unwrap_or_else(|| "UPDATE".into()),
        tags,
        target_revision: None,
        target_pinned: None,
        last_successful: None,
        last_attempted: None,
        active_deployment: None,
    };
    let mut txn = Txn::new();
    txn.expect(&application);
    txn.create(&group);
    txn.create(&name_document(&group));
    match service.store.commit(txn).await {
        Ok(()) => Ok(CreateDeploymentGroupOutput { deployment_group_id: Some(group.id) }),
        Err(StoreError::Conflict { .. }) => Err(already_exists(&group.name)),
        Err(error) => Err(error.into()),
    }
}

fn name_document(group: &Group) -> GroupName {
    GroupName {
        application_id: group.application_id.clone(),
        name: group.name.clone(),
        group_id: group.id.clone(),
    }
}

pub async fn get_deployment_group(
    service: &CodeDeployService,
    call: &Call,
    input: GetDeploymentGroupInput,
) -> Result<GetDeploymentGroupOutput, ApiError> {
    let application = application_name(input.application_name)?;
    let name = group_name(input.deployment_group_name)?;
    call.authorize("codedeploy:GetDeploymentGroup", &group_arn(call, &application, &name), &[])?;
    let application = service.application(&application).await?;
    let group = service.group(&application.id, &name).await?;
    Ok(GetDeploymentGroupOutput {
        deployment_group_info: Some(show(service, &application.name, &group).await?),
    })
}

/// A deployment that is under way is the last one attempted.
async fn show(
    service: &CodeDeployService,
    application: &str,
    group: &Group,
) -> Result<DeploymentGroupInfo, ApiError> {
    let mut info = render::group(application, group);
    if let Some(active) = &group.active_deployment
        && let Some(deployment) = service.store.get::<Deployment>(&key(&[active])).await?
    {
        info.last_attempted_deployment = Some(render::last_attempted(&deployment));
    }
    Ok(info)
}

/// Groups that are not there are named in `errorMessage`; the others are shown.
pub async fn batch_get_deployment_groups(
    service: &CodeDeployService,
    call: &Call,
    input: BatchGetDeploymentGroupsInput,
) -> Result<BatchGetDeploymentGroupsOutput, ApiError> {
    let application = application_name(input.application_name)?;
    let names = input.deployment_group_names.unwrap_or_default();
    if names.is_empty() {
        return Err(errors::deployment_group_name_required_exception(
            "At least one deployment group name is required",
        ));
    }
    batch(names.len(), MAX_BATCH)?;
    let mut wanted = Vec::new();
    for name in names {
        let name = group_name(Some(name))?;
        call.authorize("codedeploy:BatchGetDeploymentGroups", &group_arn(call, &application, &name), &[])?;
        wanted.push(name);
    }
    let application = service.application(&application).await?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in wanted {
        match service.find_group(&application.id, &name).await? {
            Some(group) => found.push(show(service, &application.name, &group).await?),
            None => missing.push(name),
        }
    }
    let error_message =
        (!missing.is_empty()).then(|| format!("No Deployment Group found for name: {}", missing.join(", ")));
    Ok(BatchGetDeploymentGroupsOutput { deployment_groups_info: Some(found), error_message })
}

pub async fn list_deployment_groups(
    service: &CodeDeployService,
    call: &Call,
    input: ListDeploymentGroupsInput,
) -> Result<ListDeploymentGroupsOutput, ApiError> {
    let application = application_name(input.application_name)?;
    call.authorize("codedeploy:ListDeploymentGroups", &group_arn(call, &application, "*"), &[])?;
    let after = after(input.next_token)?;
    let application = service.application(&application).await?;
    let prefix = key(&[&application.id, ""]);
    let page = service.store.list::<GroupName>(&prefix, after.as_deref(), PAGE, Order::Ascending).await?;
    Ok(ListDeploymentGroupsOutput {
        application_name: Some(application.name.clone()),
        deployment_groups: Some(page.items.iter().map(|group| group.name.clone()).collect()),
        next_token: next_token(page.next),
    })
}

/// Members that are absent stay as they are. A list that is given, even an empty one, replaces the old one.
pub async fn update_deployment_group(
    service: &CodeDeployService,
    call: &Call,
    input: UpdateDeploymentGroupInput,
) -> Result<UpdateDeploymentGroupOutput, ApiError> {
    let application = application_name(input.application_name)?;
    let name = group_name(input.current_deployment_group_name)?;
    call.authorize("codedeploy:UpdateDeploymentGroup", &group_arn(call, &application, &name), &[])?;
    GroupOptions {
        alarms: &input.alarm_configuration,
        auto_scaling_groups: &input.auto_scaling_groups,
        blue_green: &input.blue_green_deployment_configuration,
        style: &input.deployment_style,
        ec2_options: &input.ec2_deployment_options,
        ec2_tag_filters: &input.ec2_tag_filters,
        ec2_tag_set: &input.ec2_tag_set,
        ecs_services: &input.ecs_services,
        load_balancer: &input.load_balancer_info,
        triggers: &input.trigger_configurations,
        termination_hook: &input.termination_hook_enabled,
    }
    .check()?;
    refusals::auto_rollback(&input.auto_rollback_configuration)?;
    let role = match input.service_role_arn {
        Some(role) if role.is_empty() => {
            return Err(errors::invalid_role_exception("The service role is empty"));
        }
        Some(role) => Some(refusals::service_role(service, call, Some(role)).await?),
        None => None,
    };
    let selection = selection_of(input.on_premises_instance_tag_filters, input.on_premises_tag_set)?;
    let strategy = outdated_strategy(input.outdated_instances_strategy)?;
    let new_name = match input.new_deployment_group_name {
        Some(new_name) => {
            let new_name = group_name(Some(new_name))?;
            call.authorize(
                "codedeploy:UpdateDeploymentGroup",
                &group_arn(call, &application, &new_name),
                &[],
            )?;
            Some(new_name)
        }
        None => None,
    };
    let application = service.application(&application).await?;
    if let Some(config) = &input.deployment_config_name {
        service.config_named(&config_name(Some(config.clone()))?).await?;
    }
    let old = service.group(&application.id, &name).await?;
    let mut group = old.doc.clone();
    group.config_name = input.deployment_config_name.unwrap_or(group.config_name);
    group.service_role_arn = role.unwrap_or(group.service_role_arn);
    group.selection = selection.unwrap_or(group.selection);
    group.auto_rollback = input.auto_rollback_configuration.or(group.auto_rollback);
    group.outdated_instances_strategy = strategy.unwrap_or(group.outdated_instances_strategy);
    group.name = new_name.unwrap_or(group.name);
    replace(service, &old, &group).await?;
    Ok(UpdateDeploymentGroupOutput { hooks_not_cleaned_up: Some(Vec::new()) })
}

async fn replace(service: &CodeDeployService, old: &Versioned<Group>, group: &Group) -> Result<(), ApiError> {
    let mut txn = Txn::new();
    txn.replace(old, group);
    if group.name != old.name {
        if service.find_group(&group.application_id, &group.name).await?.is_some() {
            return Err(already_exists(&group.name));
        }
        if let Some(named) = service.store.get::<GroupName>(&key(&[&old.application_id, &old.name])).await? {
            txn.delete(&named);
        }
        txn.create(&name_document(group));
    }
    Ok(service.store.commit(txn).await?)
}

pub async fn delete_deployment_group(
    service: &CodeDeployService,
    call: &Call,
    input: DeleteDeploymentGroupInput,
) -> Result<DeleteDeploymentGroupOutput, ApiError> {
    let application = application_name(input.application_name)?;
    let name = group_name(input.deployment_group_name)?;
    call.authorize("codedeploy:DeleteDeploymentGroup", &group_arn(call, &application, &name), &[])?;
    // The operation models no error for an application or a group that does not exist: it is gone already.
    if let Some(application) = service.store.get::<Application>(&key(&[&application])).await?
        && let Some(group) = service.find_group(&application.id, &name).await?
    {
        remove(service, &group).await?;
    }
    Ok(DeleteDeploymentGroupOutput { hooks_not_cleaned_up: Some(Vec::new()) })
}

/// An active deployment is stopped first: it takes no further host and is not rolled back.
pub async fn remove(service: &CodeDeployService, group: &Versioned<Group>) -> Result<(), ApiError> {
    if let Some(active) = &group.active_deployment {
        service.deployment_event(active, Event::StopRequested { roll_back: false }).await?;
    }
    let Some(current) = service.store.get::<Group>(&key(&[&group.application_id, &group.id])).await? else {
        return Ok(());
    };
    let mut txn = Txn::new();
    txn.delete(&current);
    let named = key(&[&current.application_id, &current.name]);
    if let Some(named) = service.store.get::<GroupName>(&named).await? {
        txn.delete(&named);
    }
    Ok(service.store.commit(txn).await?)
}
