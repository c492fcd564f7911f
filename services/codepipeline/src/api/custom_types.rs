//! Custom action types, and the list of all types.

use crate::Pipelines;
use crate::error::Fault;
use crate::store::CustomTypeDoc;
use crate::structure::{CustomType, providers};
use std::collections::BTreeSet;
use towpath_api::{ApiError, Call};
use towpath_api_codepipeline::*;
use towpath_store::{Order, Txn};

/// Custom action types of one account and region.
/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html>
const MAX_CUSTOM_TYPES: usize = 50;

pub fn arn(call: &Call, id: &ActionTypeId) -> String {
    let text = |member: &Option<String>| member.clone().unwrap_or_default();
    let (owner, category, provider, version) =
        (text(&id.owner), text(&id.category), text(&id.provider), text(&id.version));
    call.arn("codepipeline", format!("actiontype:{owner}/{category}/{provider}/{version}"))
}

pub async fn create_custom_action_type(
    service: &Pipelines,
    call: &Call,
    input: CreateCustomActionTypeInput,
) -> Result<CreateCustomActionTypeOutput, Fault> {
    let id = ActionTypeId {
        category: input.category,
        owner: Some(action_owner::CUSTOM.into()),
        provider: input.provider,
        version: input.version,
    };
    call.authorize("codepipeline:CreateCustomActionType", &arn(call, &id), &[])?;
    let tags = super::tags::read(&input.tags.unwrap_or_default(), &Default::default())?;
    if id.category.as_deref() == Some(action_category::COMPUTE) {
        return Err(
            ApiError::validation("The category Compute cannot be used for a custom action type.").into()
        );
    }
    let declared = ActionType {
        id: Some(id),
        settings: input.settings,
        action_configuration_properties: input.configuration_properties,
        input_artifact_details: input.input_artifact_details,
        output_artifact_details: input.output_artifact_details,
    };
    check(&declared)?;
    let prefix = towpath_store::key(&[&call.account, &call.region, ""]);
    let store = &service.flow.store;
    let known = store.list::<CustomTypeDoc>(&prefix, None, MAX_CUSTOM_TYPES, Order::Ascending).await?;
    if known.items.len() >= MAX_CUSTOM_TYPES {
        let message = format!("The account has the maximum of {MAX_CUSTOM_TYPES} custom action types.");
        return Err(errors::limit_exceeded_exception(message).into());
    }
    let doc = CustomTypeDoc {
        account: call.account.clone(),
        region: call.region.clone(),
        custom: CustomType { declared: declared.clone() },
        tags,
    };
    let mut txn = Txn::new();
    txn.create(&doc);
    match store.commit(txn).await {
        Ok(()) => {}
        Err(error) if error.is_conflict() => {
            return Err(
                ApiError::validation("The custom action type already exists; use another version.").into()
            );
        }
        Err(error) => return Err(error.into()),
    }
    let tags = super::tags::render(&doc.tags);
    Ok(CreateCustomActionTypeOutput { action_type: Some(declared), tags: (!tags.is_empty()).then_some(tags) })
}

fn check(declared: &ActionType) -> Result<(), ApiError> {
    let mut names = BTreeSet::new();
    let mut queryable = 0;
    for property in declared.action_configuration_properties.iter().flatten() {
        let name = property.name.clone().unwrap_or_default();
        if property.secret == Some(true) {
            return Err(ApiError::not_implemented(format!(
                "codepipeline secret properties of custom actions ({name})"
            )));
        }
        if property.queryable == Some(true) {
            queryable += 1;
            if property.required != Some(true) {
                return Err(ApiError::validation(format!(
                    "The queryable property '{name}' must be required."
                )));
            }
        }
        if !names.insert(name.clone()) {
            return Err(ApiError::validation(format!(
                "The configuration property '{name}' is declared twice."
            )));
        }
    }
    if queryable > 1 {
        return Err(ApiError::validation("A custom action type can have at most one queryable property."));
    }
    for (what, details) in
        [("input", &declared.input_artifact_details), ("output", &declared.output_artifact_details)]
    {
        let details = details.clone().unwrap_or_default();
        if details.minimum_count > details.maximum_count {
            return Err(ApiError::validation(format!(
                "The minimum count of {what} artifacts is greater than the maximum count."
            )));
        }
    }
    Ok(())
}

pub async fn delete_custom_action_type(
    service: &Pipelines,
    call: &Call,
    input: DeleteCustomActionTypeInput,
) -> Result<DeleteCustomActionTypeOutput, Fault> {
    let id = ActionTypeId {
        category: input.category,
        owner: Some(action_owner::CUSTOM.into()),
        provider: input.provider,
        version: input.version,
    };
    call.authorize("codepipeline:DeleteCustomActionType", &arn(call, &id), &[])?;
    let key = CustomTypeDoc::key_of(&call.account, &call.region, &id);
    if let Some(doc) = service.flow.store.get::<CustomTypeDoc>(&key).await? {
        let mut txn = Txn::new();
        txn.delete(&doc);
        service.flow.store.commit(txn).await?;
    }
    Ok(DeleteCustomActionTypeOutput::default())
}

pub async fn list_action_types(
    service: &Pipelines,
    call: &Call,
    input: ListActionTypesInput,
) -> Result<ListActionTypesOutput, Fault> {
    call.authorize("codepipeline:ListActionTypes", "*", &[])?;
    if input.next_token.is_some() {
        let message = "The next token was specified in an invalid format.";
        return Err(errors::invalid_next_token_exception(message).into());
    }
    if input.region_filter.as_ref().is_some_and(|region| *region != call.region) {
        return Ok(ListActionTypesOutput { action_types: Some(Vec::new()), next_token: None });
    }
    let mut types = own_types();
    let prefix = towpath_store::key(&[&call.account, &call.region, ""]);
    let custom =
        service.flow.store.list::<CustomTypeDoc>(&prefix, None, MAX_CUSTOM_TYPES, Order::Ascending).await?;
    types.extend(custom.items.into_iter().map(|doc| doc.into_doc().custom.declared));
    if let Some(owner) = input.action_owner_filter {
        types.retain(|kind| kind.id.as_ref().and_then(|id| id.owner.as_ref()) == Some(&owner));
    }
    Ok(ListActionTypesOutput { action_types: Some(types), next_token: None })
}

/// What Towpath carries out of AWS's own types.
fn own_types() -> Vec<ActionType> {
    let known = [
        ("Source", "CodeCommit"),
        ("Source", "S3"),
        ("Build", "CodeBuild"),
        ("Test", "CodeBuild"),
        ("Approval", "Manual"),
        ("Deploy", "CodeDeploy"),
        ("Deploy", "S3"),
    ];
    let mut types = Vec::new();
    for (category, provider) in known {
        let Some((_, rules)) = providers::find(category, "AWS", provider, "1") else { continue };
        let property = |name: &String, required| ActionConfigurationProperty {
            name: Some(name.clone()),
            required: Some(required),
            key: Some(true),
            secret: Some(false),
            queryable: Some(false),
            ..Default::default()
        };
        let count = |(least, most): (usize, usize)| ArtifactDetails {
            minimum_count: Some(least as i64),
            maximum_count: Some(most as i64),
        };
        let required = rules.required.iter().map(|name| property(name, true));
        let optional = rules.optional.iter().map(|name| property(name, false));
        types.push(ActionType {
            id: Some(ActionTypeId {
                category: Some(category.into()),
                owner: Some("AWS".into()),
                provider: Some(provider.into()),
                version: Some("1".into()),
            }),
            settings: None,
            action_configuration_properties: Some(required.chain(optional).collect()),
            input_artifact_details: Some(count(rules.inputs)),
            output_artifact_details: Some(count(rules.outputs)),
        });
    }
    types
}
