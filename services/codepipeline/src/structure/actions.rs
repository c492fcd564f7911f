//! One action's own members: its type, counts, configuration, and what is refused by name.

use super::providers::{self, Provider, Rules};
use super::{Action, Context};
use towpath_api::ApiError;
use towpath_api_codepipeline::errors::invalid_action_declaration_exception as invalid_action;
use towpath_api_codepipeline::{ActionDeclaration, ActionTypeId};

pub(super) fn read(declared: &ActionDeclaration, stage: &str, context: &Context) -> Result<Action, ApiError> {
    let name = declared.name.clone().unwrap_or_default();
    let type_id = declared.action_type_id.clone().unwrap_or_default();
    refuse_unsupported(declared, &name)?;
    let (provider, rules) = find_provider(&type_id, &name, context)?;
    let action = Action {
        type_id,
        provider,
        // The model's bounds (1 to 999) hold by now.
        run_order: declared.run_order.and_then(|order| u32::try_from(order).ok()).unwrap_or(1),
        configuration: declared.configuration.clone().unwrap_or_default(),
        inputs: declared.input_artifacts.iter().flatten().filter_map(|input| input.name.clone()).collect(),
        outputs: declared
            .output_artifacts
            .iter()
            .flatten()
            .filter_map(|output| output.name.clone())
            .collect(),
        role_arn: declared.role_arn.clone(),
        region: declared.region.clone(),
        namespace: declared.namespace.clone(),
        timeout_minutes: declared.timeout_in_minutes.and_then(|minutes| u32::try_from(minutes).ok()),
        name,
    };
    check_region(&action, context)?;
    check_counts(&action, &rules)?;
    check_configuration(&action, &rules)?;
    providers::check_values(&action, stage)?;
    Ok(action)
}

fn refuse_unsupported(declared: &ActionDeclaration, name: &str) -> Result<(), ApiError> {
    let refused = [
        ("commands", declared.commands.is_some()),
        ("outputVariables", declared.output_variables.is_some()),
        ("environmentVariables", declared.environment_variables.is_some()),
        (
            "outputArtifacts.files",
            declared.output_artifacts.iter().flatten().any(|output| output.files.is_some()),
        ),
    ];
    match refused.iter().find(|(_, given)| *given) {
        Some((member, _)) => {
            Err(ApiError::not_implemented(format!("codepipeline {member} of an action (action {name})")))
        }
        None => Ok(()),
    }
}

fn find_provider(
    type_id: &ActionTypeId,
    action: &str,
    context: &Context,
) -> Result<(Provider, Rules), ApiError> {
    let text = |member: &Option<String>| member.clone().unwrap_or_default();
    let (category, owner, provider, version) =
        (text(&type_id.category), text(&type_id.owner), text(&type_id.provider), text(&type_id.version));
    if let Some(found) = providers::find(&category, &owner, &provider, &version) {
        return Ok(found);
    }
    if owner == "Custom"
        && let Some(custom) = context.custom.iter().find(|custom| custom.is(&category, &provider, &version))
    {
        return Ok((Provider::Custom, custom.rules()));
    }
    if owner != "Custom" && providers::exists_at_aws(&provider) {
        return Err(ApiError::not_implemented(format!(
            "codepipeline action provider {provider} ({category}, action {action})"
        )));
    }
    Err(invalid_action(format!(
        "ActionType (Category: '{category}', Provider: '{provider}', Owner: '{owner}', Version: '{version}') in \
         action '{action}' is not available in region {}",
        context.region.to_uppercase().replace('-', "_")
    )))
}

fn check_region(action: &Action, context: &Context) -> Result<(), ApiError> {
    match action.region.as_deref() {
        Some(region) if region != context.region => Err(ApiError::not_implemented(format!(
            "codepipeline actions in other regions (action {}: {region})",
            action.name
        ))),
        _ => Ok(()),
    }
}

fn check_counts(action: &Action, rules: &Rules) -> Result<(), ApiError> {
    let counts =
        [("input", action.inputs.len(), rules.inputs), ("output", action.outputs.len(), rules.outputs)];
    for (what, count, (min, max)) in counts {
        if count < min {
            return Err(invalid_action(format!(
                "Action {} declares {count} {what} artifacts which is less than the minimum count ({min})",
                action.name
            )));
        }
        if count > max {
            return Err(invalid_action(format!(
                "Action {} declares {count} {what} artifacts which is more than the maximum count ({max})",
                action.name
            )));
        }
    }
    Ok(())
}

fn check_configuration(action: &Action, rules: &Rules) -> Result<(), ApiError> {
    for key in &rules.required {
        if !action.configuration.contains_key(key) {
            return Err(invalid_action(format!(
                "Action configuration for action '{}' is missing required configuration '{key}'",
                action.name
            )));
        }
    }
    for key in action.configuration.keys() {
        if let Some((_, why)) = rules.refused.iter().find(|(refused, _)| refused == key) {
            return Err(ApiError::not_implemented(format!("{why} (action {}, {key})", action.name)));
        }
        if !rules.required.contains(key) && !rules.optional.contains(key) {
            return Err(invalid_action(format!(
                "Action configuration for action '{}' contains unknown configuration '{key}'",
                action.name
            )));
        }
    }
    Ok(())
}
