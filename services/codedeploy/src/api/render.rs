//! Documents as the API shows them.

use crate::state::deployment::{Outcome, Phase};
use crate::state::host::{self, EventState, LIFECYCLE_EVENTS};
use crate::store::{Creator, Deployment, Group, LastDeployment, Selection, Target};
use towpath_api_codedeploy::*;

fn style() -> DeploymentStyle {
    DeploymentStyle {
        deployment_type: Some("IN_PLACE".into()),
        deployment_option: Some("WITHOUT_TRAFFIC_CONTROL".into()),
    }
}

fn last(last: &LastDeployment) -> LastDeploymentInfo {
    LastDeploymentInfo {
        deployment_id: Some(last.id.clone()),
        status: Some(last.status.clone()),
        create_time: Some(last.created_at),
        end_time: last.ended_at,
    }
}

pub fn last_attempted(deployment: &Deployment) -> LastDeploymentInfo {
    LastDeploymentInfo {
        deployment_id: Some(deployment.id.clone()),
        status: Some(deployment.progress.phase.status().into()),
        create_time: Some(deployment.created_at),
        end_time: None,
    }
}

pub fn group(application_name: &str, group: &Group) -> DeploymentGroupInfo {
    let (filters, sets) = match &group.selection {
        Selection::None => (Some(Vec::new()), None),
        Selection::Filters(filters) => (Some(filters.clone()), None),
        Selection::Sets(sets) => {
            (Some(Vec::new()), Some(OnPremisesTagSet { on_premises_tag_set_list: Some(sets.clone()) }))
        }
    };
    DeploymentGroupInfo {
        application_name: Some(application_name.to_owned()),
        deployment_group_id: Some(group.id.clone()),
        deployment_group_name: Some(group.name.clone()),
        deployment_config_name: Some(group.config_name.clone()),
        ec2_tag_filters: Some(Vec::new()),
        on_premises_instance_tag_filters: filters,
        on_premises_tag_set: sets,
        auto_scaling_groups: Some(Vec::new()),
        service_role_arn: Some(group.service_role_arn.clone()),
        target_revision: group.target_revision.clone(),
        trigger_configurations: Some(Vec::new()),
        auto_rollback_configuration: group.auto_rollback.clone(),
        deployment_style: Some(style()),
        outdated_instances_strategy: Some(group.outdated_instances_strategy.clone()),
        last_successful_deployment: group.last_successful.as_ref().map(last),
        last_attempted_deployment: group.last_attempted.as_ref().map(last),
        compute_platform: Some("Server".into()),
        termination_hook_enabled: Some(false),
        ..DeploymentGroupInfo::default()
    }
}

fn overview(deployment: &Deployment) -> DeploymentOverview {
    let fleet = deployment.progress.fleet;
    DeploymentOverview {
        pending: Some(fleet.pending.into()),
        in_progress: Some(fleet.in_progress.into()),
        succeeded: Some(fleet.succeeded.into()),
        failed: Some(fleet.failed.into()),
        skipped: Some(fleet.skipped.into()),
        ready: Some(0),
    }
}

fn rollback_info(deployment: &Deployment) -> Option<RollbackInfo> {
    match (&deployment.creator, &deployment.rolled_back_by) {
        (Creator::Rollback { of }, _) => Some(RollbackInfo {
            rollback_triggering_deployment_id: Some(of.clone()),
            rollback_message: Some(format!("This deployment rolls back deployment {of}.")),
            ..RollbackInfo::default()
        }),
        (Creator::User, Some(link)) => Some(RollbackInfo {
            rollback_deployment_id: link.deployment_id.clone(),
            rollback_message: Some(link.message.clone()),
            ..RollbackInfo::default()
        }),
        (Creator::User, None) => None,
    }
}

/// Why a deployment did not succeed.
/// <https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_ErrorInformation.html>
fn error_information(outcome: &Outcome) -> Option<ErrorInformation> {
    let (code, message) = match outcome {
        Outcome::Succeeded => return None,
        Outcome::Failed(failure) => (failure.code.clone(), failure.message.clone()),
        Outcome::Stopped { .. } => {
            (error_code::MANUAL_STOP.into(), "The deployment was manually stopped.".into())
        }
    };
    Some(ErrorInformation { code: Some(code), message: Some(message) })
}

pub fn deployment(deployment: &Deployment) -> DeploymentInfo {
    let phase = &deployment.progress.phase;
    let (complete_time, error) = match phase {
        Phase::Ended { at, outcome, .. } => (Some(*at), error_information(outcome)),
        _ => (None, None),
    };
    let creator = match deployment.creator {
        Creator::User => "user",
        Creator::Rollback { .. } => "codeDeployRollback",
    };
    DeploymentInfo {
        application_name: Some(deployment.application_name.clone()),
        deployment_group_name: Some(deployment.group_name.clone()),
        deployment_config_name: Some(deployment.config_name.clone()),
        deployment_id: Some(deployment.id.clone()),
        previous_revision: deployment.previous_revision.clone(),
        revision: Some(deployment.revision.clone()),
        status: Some(phase.status().into()),
        error_information: error,
        create_time: Some(deployment.created_at),
        start_time: phase.started_at(),
        complete_time,
        deployment_overview: phase.started_at().map(|_| overview(deployment)),
        description: deployment.description.clone(),
        creator: Some(creator.into()),
        ignore_application_stop_failures: Some(deployment.ignore_application_stop_failures),
        auto_rollback_configuration: deployment.auto_rollback.clone(),
        update_outdated_instances_only: Some(deployment.update_outdated_instances_only),
        rollback_info: rollback_info(deployment),
        deployment_style: Some(style()),
        instance_termination_wait_time_started: Some(false),
        file_exists_behavior: Some(deployment.file_exists_behavior.clone()),
        deployment_status_messages: Some(Vec::new()),
        compute_platform: Some("Server".into()),
        ..DeploymentInfo::default()
    }
}

fn diagnostics(diagnostics: &host::Diagnostics) -> Diagnostics {
    Diagnostics {
        error_code: Some(diagnostics.error_code.clone()),
        script_name: Some(diagnostics.script_name.clone()),
        message: Some(diagnostics.message.clone()),
        log_tail: Some(diagnostics.log_tail.clone()),
    }
}

fn lifecycle_event(name: &str, state: &EventState, takes_no_more: bool) -> LifecycleEvent {
    let mut event = LifecycleEvent { lifecycle_event_name: Some(name.into()), ..LifecycleEvent::default() };
    let status = match state {
        EventState::Pending if takes_no_more => "Skipped",
        EventState::Pending => "Pending",
        EventState::Skipped => "Skipped",
        EventState::InProgress { started_at } => {
            event.start_time = Some(*started_at);
            "InProgress"
        }
        EventState::Succeeded { started_at, ended_at, diagnostics: told } => {
            event.start_time = Some(*started_at);
            event.end_time = Some(*ended_at);
            event.diagnostics = Some(diagnostics(told));
            "Succeeded"
        }
        EventState::Failed { started_at, ended_at, diagnostics: told } => {
            event.start_time = *started_at;
            event.end_time = Some(*ended_at);
            event.diagnostics = Some(diagnostics(told));
            "Failed"
        }
    };
    event.status = Some(status.into());
    event
}

/// Hosts that a deployment never took are not written again when it ends: they are shown as skipped.
fn is_left_out(deployment: &Deployment, target: &Target) -> bool {
    deployment.takes_no_more() && target.host.command().is_none()
}

pub fn target_status(deployment: &Deployment, target: &Target) -> &'static str {
    target.host.shown_status(deployment.takes_no_more())
}

fn lifecycle_events(deployment: &Deployment, target: &Target) -> Vec<LifecycleEvent> {
    let left_out = is_left_out(deployment, target);
    LIFECYCLE_EVENTS
        .iter()
        .zip(&target.host.events)
        .map(|(name, state)| lifecycle_event(name, state, left_out))
        .collect()
}

pub fn target(deployment: &Deployment, target: &Target) -> DeploymentTarget {
    DeploymentTarget {
        deployment_target_type: Some("InstanceTarget".into()),
        instance_target: Some(InstanceTarget {
            deployment_id: Some(deployment.id.clone()),
            target_id: Some(target.instance.clone()),
            target_arn: Some(target.instance_arn.clone()),
            status: Some(target_status(deployment, target).into()),
            last_updated_at: Some(target.host.updated_at),
            lifecycle_events: Some(lifecycle_events(deployment, target)),
            instance_label: None,
        }),
        ..DeploymentTarget::default()
    }
}

pub fn instance_summary(deployment: &Deployment, target: &Target) -> InstanceSummary {
    InstanceSummary {
        deployment_id: Some(deployment.id.clone()),
        instance_id: Some(target.instance_arn.clone()),
        status: Some(target_status(deployment, target).into()),
        last_updated_at: Some(target.host.updated_at),
        lifecycle_events: Some(lifecycle_events(deployment, target)),
        instance_type: None,
    }
}
