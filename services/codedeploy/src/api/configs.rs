//! Deployment configurations: how many hosts must stay healthy.
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/deployment-configurations.html>

use super::common::*;
use crate::CodeDeployService;
use crate::state::fleet::MinimumHealthy;
use crate::store::{Application, Config};
use towpath_api::{ApiError, Call, Timestamp, id};
use towpath_api_codedeploy::*;
use towpath_store::{Order, StoreError, Txn, key};

/// AWS's quota for custom configurations.
const MAX_CONFIGS: usize = 50;
const PREFIX: &str = "CodeDeployDefault.";

pub const PREDEFINED: [(&str, MinimumHealthy); 3] = [
    ("CodeDeployDefault.AllAtOnce", MinimumHealthy::FleetPercent(0)),
    ("CodeDeployDefault.HalfAtATime", MinimumHealthy::FleetPercent(50)),
    ("CodeDeployDefault.OneAtATime", MinimumHealthy::MostConcurrency(1)),
];

pub fn predefined(name: &str) -> Option<Config> {
    let (index, (name, minimum_healthy)) =
        PREDEFINED.into_iter().enumerate().find(|(_, (known, _))| *known == name)?;
    Some(Config {
        name: name.to_owned(),
        id: format!("00000000-0000-0000-0000-00000000000{}", index + 1),
        created_at: Timestamp::EPOCH,
        minimum_healthy,
    })
}

fn minimum_of(input: Option<MinimumHealthyHosts>) -> Result<MinimumHealthy, ApiError> {
    let invalid = |reason: &str| {
        errors::invalid_minimum_healthy_host_value_exception(format!(
            "The minimum healthy hosts value is invalid: {reason}"
        ))
    };
    let input = input.ok_or_else(|| invalid("minimumHealthyHosts with type and value is required"))?;
    let value = input.value.ok_or_else(|| invalid("value is required"))?;
    let value = u32::try_from(value).map_err(|_| invalid("value is a number from 0"))?;
    match input.type_.as_deref() {
        Some("HOST_COUNT") => Ok(MinimumHealthy::HostCount(value)),
        Some("FLEET_PERCENT") if value <= 99 => Ok(MinimumHealthy::FleetPercent(value)),
        Some("FLEET_PERCENT") => Err(invalid("a percentage is from 0 to 99, or no host could ever be taken")),
        _ => Err(invalid("type is HOST_COUNT or FLEET_PERCENT")),
    }
}

pub async fn create_deployment_config(
    service: &CodeDeployService,
    call: &Call,
    input: CreateDeploymentConfigInput,
) -> Result<CreateDeploymentConfigOutput, ApiError> {
    let name = config_name(input.deployment_config_name)?;
    call.authorize("codedeploy:CreateDeploymentConfig", &config_arn(call, &name), &[])?;
    if matches!(input.compute_platform.as_deref(), Some("Lambda" | "ECS"))
        || input.traffic_routing_config.is_some()
    {
        return Err(ApiError::not_implemented(
            "codedeploy: deployment configurations for Lambda and ECS (trafficRoutingConfig)",
        ));
    }
    if input.zonal_config.is_some() {
        return Err(ApiError::not_implemented("codedeploy: zonal deployment configurations (zonalConfig)"));
    }
    let minimum_healthy = minimum_of(input.minimum_healthy_hosts)?;
    if name.starts_with(PREFIX) {
        return Err(errors::invalid_deployment_config_name_exception(format!(
            "The deployment configuration name {name} is not valid: names that begin with {PREFIX} are predefined"
        )));
    }
    let all = service.store.list::<Config>("", None, MAX_CONFIGS, Order::Ascending).await?;
    if all.items.len() >= MAX_CONFIGS {
        return Err(errors::deployment_config_limit_exceeded_exception(format!(
            "An account has at most {MAX_CONFIGS} custom deployment configurations"
        )));
    }
    let config = Config { name, id: id::uuid(), created_at: service.store.now(), minimum_healthy };
    let mut txn = Txn::new();
    txn.create(&config);
    match service.store.commit(txn).await {
        Ok(()) => Ok(CreateDeploymentConfigOutput { deployment_config_id: Some(config.id) }),
        Err(StoreError::Conflict { .. }) => Err(errors::deployment_config_already_exists_exception(format!(
            "Deployment configuration already exists: {}",
            config.name
        ))),
        Err(error) => Err(error.into()),
    }
}

pub async fn get_deployment_config(
    service: &CodeDeployService,
    call: &Call,
    input: GetDeploymentConfigInput,
) -> Result<GetDeploymentConfigOutput, ApiError> {
    let name = config_name(input.deployment_config_name)?;
    call.authorize("codedeploy:GetDeploymentConfig", &config_arn(call, &name), &[])?;
    let config = service.config_named(&name).await?;
    let (type_, value) = config.minimum_healthy.parts();
    Ok(GetDeploymentConfigOutput {
        deployment_config_info: Some(DeploymentConfigInfo {
            deployment_config_id: Some(config.id),
            deployment_config_name: Some(config.name),
            minimum_healthy_hosts: Some(MinimumHealthyHosts {
                type_: Some(type_.into()),
                value: Some(value.into()),
            }),
            create_time: Some(config.created_at),
            compute_platform: Some("Server".into()),
            ..DeploymentConfigInfo::default()
        }),
    })
}

/// The predefined ones first.
pub async fn list_deployment_configs(
    service: &CodeDeployService,
    call: &Call,
    input: ListDeploymentConfigsInput,
) -> Result<ListDeploymentConfigsOutput, ApiError> {
    call.authorize("codedeploy:ListDeploymentConfigs", &config_arn(call, "*"), &[])?;
    let after = after(input.next_token)?;
    let mut names = Vec::new();
    if after.is_none() {
        names.extend(PREDEFINED.iter().map(|(name, _)| (*name).to_owned()));
    }
    let page = service.store.list::<Config>("", after.as_deref(), PAGE, Order::Ascending).await?;
    names.extend(page.items.iter().map(|config| config.name.clone()));
    Ok(ListDeploymentConfigsOutput {
        deployment_configs_list: Some(names),
        next_token: next_token(page.next),
    })
}

pub async fn delete_deployment_config(
    service: &CodeDeployService,
    call: &Call,
    input: DeleteDeploymentConfigInput,
) -> Result<DeleteDeploymentConfigOutput, ApiError> {
    let name = config_name(input.deployment_config_name)?;
    call.authorize("codedeploy:DeleteDeploymentConfig", &config_arn(call, &name), &[])?;
    if predefined(&name).is_some() {
        return Err(errors::invalid_operation_exception(format!(
            "The deployment configuration {name} is predefined and cannot be deleted"
        )));
    }
    let Some(config) = service.store.get::<Config>(&key(&[&name])).await? else {
        return Ok(DeleteDeploymentConfigOutput::default());
    };
    let mut after = None;
    loop {
        let page = service.store.list::<Application>("", after.as_deref(), PAGE, Order::Ascending).await?;
        for application in &page.items {
            for group in service.groups_of(&application.id).await? {
                if group.config_name == name {
                    return Err(errors::deployment_config_in_use_exception(format!(
                        "The deployment configuration {name} is still in use by the deployment group {}/{}",
                        application.name, group.name
                    )));
                }
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let mut txn = Txn::new();
    txn.delete(&config);
    service.store.commit(txn).await?;
    Ok(DeleteDeploymentConfigOutput::default())
}
