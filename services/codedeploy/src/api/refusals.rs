//! Options of CodeDeploy that Towpath does not honour are refused by name, never accepted and ignored.

use crate::CodeDeployService;
use towpath_api::{ApiError, Call};
use towpath_api_codedeploy::*;

fn refuse(what: &str) -> Result<(), ApiError> {
    Err(ApiError::not_implemented(format_args!("codedeploy: {what}")))
}

fn is_filled<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

/// The members that CreateDeploymentGroup and UpdateDeploymentGroup have in common.
pub struct GroupOptions<'a> {
    pub alarms: &'a Option<AlarmConfiguration>,
    pub auto_scaling_groups: &'a Option<Vec<String>>,
    pub blue_green: &'a Option<BlueGreenDeploymentConfiguration>,
    pub style: &'a Option<DeploymentStyle>,
    pub ec2_options: &'a Option<EC2DeploymentOptions>,
    pub ec2_tag_filters: &'a Option<Vec<EC2TagFilter>>,
    pub ec2_tag_set: &'a Option<EC2TagSet>,
    pub ecs_services: &'a Option<Vec<ECSService>>,
    pub load_balancer: &'a Option<LoadBalancerInfo>,
    pub triggers: &'a Option<Vec<TriggerConfig>>,
    pub termination_hook: &'a Option<bool>,
}

impl GroupOptions<'_> {
    pub fn check(&self) -> Result<(), ApiError> {
        if is_filled(self.ec2_tag_filters)
            || self.ec2_tag_set.as_ref().is_some_and(|set| is_filled(&set.ec2_tag_set_list))
        {
            return refuse(
                "EC2 instances (ec2TagFilters, ec2TagSet); register hosts with RegisterOnPremisesInstance and use onPremisesInstanceTagFilters",
            );
        }
        if is_filled(self.auto_scaling_groups) || *self.termination_hook == Some(true) {
            return refuse("Auto Scaling groups (autoScalingGroups, terminationHookEnabled)");
        }
        if self.ec2_options.as_ref().is_some_and(|o| is_filled(&o.auto_scaling_group_processes_to_suspend)) {
            return refuse("ec2DeploymentOptions");
        }
        if is_filled(self.ecs_services) {
            return refuse("Amazon ECS services (ecsServices)");
        }
        if is_filled(self.triggers) {
            return refuse("Amazon SNS triggers (triggerConfigurations)");
        }
        if self.blue_green.is_some() {
            return refuse("blue/green deployments (blueGreenDeploymentConfiguration)");
        }
        if let Some(balancer) = self.load_balancer
            && (is_filled(&balancer.elb_info_list)
                || is_filled(&balancer.target_group_info_list)
                || is_filled(&balancer.target_group_pair_info_list))
        {
            return refuse("load balancers (loadBalancerInfo)");
        }
        alarms(self.alarms)?;
        style(self.style)
    }
}

pub fn alarms(alarms: &Option<AlarmConfiguration>) -> Result<(), ApiError> {
    match alarms {
        Some(config) if config.enabled == Some(true) || is_filled(&config.alarms) => {
            refuse("CloudWatch alarms (alarmConfiguration)")
        }
        _ => Ok(()),
    }
}

fn style(style: &Option<DeploymentStyle>) -> Result<(), ApiError> {
    let Some(style) = style else { return Ok(()) };
    match style.deployment_type.as_deref() {
        None | Some("IN_PLACE") => {}
        Some("BLUE_GREEN") => return refuse("blue/green deployments (deploymentStyle BLUE_GREEN)"),
        Some(other) => {
            return Err(errors::invalid_deployment_style_exception(format!(
                "The deployment type {other:?} is invalid: valid types are IN_PLACE and BLUE_GREEN"
            )));
        }
    }
    match style.deployment_option.as_deref() {
        None | Some("WITHOUT_TRAFFIC_CONTROL") => Ok(()),
        Some("WITH_TRAFFIC_CONTROL") => refuse("load balancers (deploymentStyle WITH_TRAFFIC_CONTROL)"),
        Some(other) => Err(errors::invalid_deployment_style_exception(format!(
            "The deployment option {other:?} is invalid: valid options are WITH_TRAFFIC_CONTROL and WITHOUT_TRAFFIC_CONTROL"
        ))),
    }
}

pub fn auto_rollback(config: &Option<AutoRollbackConfiguration>) -> Result<(), ApiError> {
    let Some(config) = config else { return Ok(()) };
    let events = config.events.as_deref().unwrap_or_default();
    for event in events {
        match event.as_str() {
            "DEPLOYMENT_FAILURE" | "DEPLOYMENT_STOP_ON_REQUEST" => {}
            "DEPLOYMENT_STOP_ON_ALARM" => return refuse("rollback on alarms (DEPLOYMENT_STOP_ON_ALARM)"),
            other => {
                return Err(errors::invalid_auto_rollback_config_exception(format!(
                    "The automatic rollback event {other:?} is invalid: valid events are DEPLOYMENT_FAILURE, DEPLOYMENT_STOP_ON_ALARM and DEPLOYMENT_STOP_ON_REQUEST"
                )));
            }
        }
    }
    if config.enabled == Some(true) && events.is_empty() {
        return Err(errors::invalid_auto_rollback_config_exception(
            "Automatic rollback is enabled, but no event types are listed",
        ));
    }
    Ok(())
}

/// CreateDeployment's own.
pub fn deployment(input: &CreateDeploymentInput) -> Result<(), ApiError> {
    if let Some(targets) = &input.target_instances
        && (is_filled(&targets.tag_filters)
            || is_filled(&targets.auto_scaling_groups)
            || targets.ec2_tag_set.as_ref().is_some_and(|set| is_filled(&set.ec2_tag_set_list)))
    {
        return Err(errors::invalid_target_instances_exception(
            "The target instance configuration is invalid: target instances name the replacement environment of a blue/green deployment, and this deployment is in place",
        ));
    }
    match input.deployment_mode.as_deref() {
        None | Some("STANDARD") => {}
        Some(other) => return refuse(&format!("deploymentMode {other}")),
    }
    if input
        .ec2_deployment_options
        .as_ref()
        .is_some_and(|o| is_filled(&o.auto_scaling_group_processes_to_suspend))
    {
        return refuse("ec2DeploymentOptions");
    }
    alarms(&input.override_alarm_configuration)?;
    auto_rollback(&input.auto_rollback_configuration)
}

/// Whoever hands a role to the service must be allowed to, and the role must let the service have it.
pub async fn service_role(
    service: &CodeDeployService,
    call: &Call,
    arn: Option<String>,
) -> Result<String, ApiError> {
    let arn = arn.unwrap_or_default();
    if arn.is_empty() {
        return Err(errors::role_required_exception("Service Role is required"));
    }
    let shaped = towpath_api::Arn::parse(&arn).is_some_and(|arn| {
        arn.service == "iam" && arn.resource_of("role").is_some_and(|name| !name.is_empty())
    });
    if !shaped {
        return Err(errors::invalid_role_exception(format!(
            "The service role ARN was specified in an invalid format: {arn}"
        )));
    }
    call.authorize_pass_role(&arn, crate::SERVICE)?;
    if let Err(error) = service.identity.service_call(crate::SERVICE, &arn, "create").await {
        return Err(match error.status {
            500.. => error,
            _ => errors::invalid_role_exception(format!(
                "AWS CodeDeploy does not have the permissions required to assume the role {arn}."
            )),
        });
    }
    Ok(arn)
}
