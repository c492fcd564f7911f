//! On-premises instances: names, identities and tags of hosts.
//! <https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_RegisterOnPremisesInstance.html>

use super::common::*;
use super::groups::filter_problem;
use crate::CodeDeployService;
use crate::store::{HostRevision, Instance, InstanceIdentity, Principal, Tags, matches_any};
use towpath_api::{ApiError, Arn, Call, id};
use towpath_api_codedeploy::*;
use towpath_store::{Order, StoreError, Txn, Versioned, key};

/// AWS's quotas for tags of an on-premises instance, and for one tagging call.
const MAX_INSTANCE_TAGS: usize = 10;
const MAX_INSTANCES_PER_CALL: usize = 100;
const MAX_SCAN: usize = 1_000;

const ALREADY_USED: &str = "Include either a different IAM ARN in the request, and then try again.";

fn principal_of(user: Option<String>, session: Option<String>) -> Result<Principal, ApiError> {
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    match (filled(user), filled(session)) {
        (Some(_), Some(_)) => Err(errors::multiple_iam_arns_provided_exception(
            "Both an IAM user ARN and an IAM session ARN were included in the request. Use only one ARN type.",
        )),
        (None, None) => Err(errors::iam_arn_required_exception(
            "No IAM ARN was included in the request. You must use an IAM session ARN or user ARN in the request.",
        )),
        (Some(user), None) => {
            let valid = Arn::parse(&user).is_some_and(|arn| {
                arn.service == "iam" && arn.resource_of("user").is_some_and(|name| !name.is_empty())
            });
            if !valid {
                return Err(errors::invalid_iam_user_arn_exception(format!(
                    "The IAM user ARN was specified in an invalid format: {user}"
                )));
            }
            Ok(Principal::User(user))
        }
        (None, Some(session)) => {
            let valid = Arn::parse(&session).is_some_and(|arn| {
                arn.service == "sts"
                    && arn.resource_of("assumed-role").is_some_and(|rest| {
                        rest.split_once('/').is_some_and(|(role, name)| !role.is_empty() && !name.is_empty())
                    })
            });
            if !valid {
                return Err(errors::invalid_iam_session_arn_exception(format!(
                    "The IAM session ARN was specified in an invalid format: {session}"
                )));
            }
            Ok(Principal::Session(session))
        }
    }
}

pub async fn register_on_premises_instance(
    service: &CodeDeployService,
    call: &Call,
    input: RegisterOnPremisesInstanceInput,
) -> Result<RegisterOnPremisesInstanceOutput, ApiError> {
    let name = instance_name(input.instance_name)?;
    call.authorize("codedeploy:RegisterOnPremisesInstance", &instance_arn(call, &name), &[])?;
    let principal = principal_of(input.iam_user_arn, input.iam_session_arn)?;
    let old = service.store.get::<Instance>(&key(&[&name])).await?;
    if old.as_ref().is_some_and(|old| old.is_registered()) {
        return Err(errors::instance_name_already_registered_exception(format!(
            "The on-premises instance could not be registered because the instance name is already in use: {name}. Use a different name, or deregister the other instance first."
        )));
    }
    let suffix = id::random_text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 10);
    let instance = Instance {
        arn: call.arn("codedeploy", format!("instance/{name}_{suffix}")),
        name: name.clone(),
        principal,
        registered_at: service.store.now(),
        deregistered_at: None,
        tags: Tags::new(),
    };
    let mut txn = Txn::new();
    match &old {
        Some(old) => txn.replace(old, &instance),
        None => txn.create(&instance),
    };
    let principal_arn = instance.principal.arn().to_owned();
    if service.store.get::<InstanceIdentity>(&key(&[&principal_arn])).await?.is_some() {
        return Err(identity_taken(&instance.principal));
    }
    txn.create(&InstanceIdentity { principal_arn, instance: name.clone() });
    match service.store.commit(txn).await {
        Ok(()) => Ok(RegisterOnPremisesInstanceOutput::default()),
        Err(StoreError::Conflict { kind, .. }) if kind == "codedeploy/instance-identity" => {
            Err(identity_taken(&instance.principal))
        }
        Err(StoreError::Conflict { .. }) => Err(errors::instance_name_already_registered_exception(format!(
            "The on-premises instance name is already registered: {name}"
        ))),
        Err(error) => Err(error.into()),
    }
}

fn identity_taken(principal: &Principal) -> ApiError {
    match principal {
        Principal::User(_) => errors::iam_user_arn_already_registered_exception(format!(
            "The on-premises instance could not be registered because the request included an IAM user ARN that has already been used to register an instance. {ALREADY_USED}"
        )),
        Principal::Session(_) => errors::iam_session_arn_already_registered_exception(format!(
            "The on-premises instance could not be registered because the request included an IAM session ARN that has already been used to register an instance. {ALREADY_USED}"
        )),
    }
}

/// What a running deployment still wants of it fails by its timer. Deregistering twice succeeds.
pub async fn deregister_on_premises_instance(
    service: &CodeDeployService,
    call: &Call,
    input: DeregisterOnPremisesInstanceInput,
) -> Result<DeregisterOnPremisesInstanceOutput, ApiError> {
    let name = instance_name(input.instance_name)?;
    call.authorize("codedeploy:DeregisterOnPremisesInstance", &instance_arn(call, &name), &[])?;
    let Some(old) = service.store.get::<Instance>(&key(&[&name])).await? else {
        return Ok(DeregisterOnPremisesInstanceOutput::default());
    };
    if !old.is_registered() {
        return Ok(DeregisterOnPremisesInstanceOutput::default());
    }
    let mut txn = Txn::new();
    txn.replace(
        &old,
        &Instance { deregistered_at: Some(service.store.now()), tags: Tags::new(), ..old.doc.clone() },
    );
    if let Some(identity) = service.store.get::<InstanceIdentity>(&key(&[old.principal.arn()])).await? {
        txn.delete(&identity);
    }
    // Whatever is registered under the name later may be another machine.
    let known =
        service.store.list::<HostRevision>(&key(&[&name, ""]), None, MAX_SCAN, Order::Ascending).await?;
    for revision in &known.items {
        txn.delete(revision);
    }
    service.store.commit(txn).await?;
    service.hub.forget(&name);
    Ok(DeregisterOnPremisesInstanceOutput::default())
}

fn show(instance: &Instance) -> InstanceInfo {
    let (user, session) = match &instance.principal {
        Principal::User(arn) => (Some(arn.clone()), None),
        Principal::Session(arn) => (None, Some(arn.clone())),
    };
    InstanceInfo {
        instance_name: Some(instance.name.clone()),
        instance_arn: Some(instance.arn.clone()),
        iam_user_arn: user,
        iam_session_arn: session,
        register_time: Some(instance.registered_at),
        deregister_time: instance.deregistered_at,
        tags: Some(show_tags(&instance.tags)),
    }
}

fn not_registered(names: &str) -> ApiError {
    errors::instance_not_registered_exception(format!(
        "The specified on-premises instance is not registered: {names}"
    ))
}

pub async fn get_on_premises_instance(
    service: &CodeDeployService,
    call: &Call,
    input: GetOnPremisesInstanceInput,
) -> Result<GetOnPremisesInstanceOutput, ApiError> {
    let name = instance_name(input.instance_name)?;
    call.authorize("codedeploy:GetOnPremisesInstance", &instance_arn(call, &name), &[])?;
    let instance =
        service.store.get::<Instance>(&key(&[&name])).await?.ok_or_else(|| not_registered(&name))?;
    Ok(GetOnPremisesInstanceOutput { instance_info: Some(show(&instance)) })
}

pub async fn batch_get_on_premises_instances(
    service: &CodeDeployService,
    call: &Call,
    input: BatchGetOnPremisesInstancesInput,
) -> Result<BatchGetOnPremisesInstancesOutput, ApiError> {
    let names = input.instance_names.unwrap_or_default();
    if names.is_empty() {
        return Err(errors::instance_name_required_exception("At least one instance name is required"));
    }
    batch(names.len(), MAX_BATCH)?;
    let mut found = Vec::new();
    for name in names {
        let name = instance_name(Some(name))?;
        call.authorize("codedeploy:BatchGetOnPremisesInstances", &instance_arn(call, &name), &[])?;
        if let Some(instance) = service.store.get::<Instance>(&key(&[&name])).await? {
            found.push(show(&instance));
        }
    }
    Ok(BatchGetOnPremisesInstancesOutput { instance_infos: Some(found) })
}

pub async fn list_on_premises_instances(
    service: &CodeDeployService,
    call: &Call,
    input: ListOnPremisesInstancesInput,
) -> Result<ListOnPremisesInstancesOutput, ApiError> {
    call.authorize("codedeploy:ListOnPremisesInstances", "*", &[])?;
    let registered = match input.registration_status.as_deref() {
        None => None,
        Some("Registered") => Some(true),
        Some("Deregistered") => Some(false),
        Some(other) => {
            return Err(errors::invalid_registration_status_exception(format!(
                "The registration status was specified in an invalid format: {other:?}"
            )));
        }
    };
    let filters = input.tag_filters.unwrap_or_default();
    if let Some(problem) = filters.iter().find_map(filter_problem) {
        return Err(errors::invalid_tag_filter_exception(format!(
            "The tag filter was specified in an invalid format: {problem}"
        )));
    }
    let mut after = after(input.next_token)?;
    let (mut names, mut scanned) = (Vec::new(), 0);
    while names.len() < PAGE && scanned < MAX_SCAN {
        let limit = PAGE - names.len();
        let page = service.store.list::<Instance>("", after.as_deref(), limit, Order::Ascending).await?;
        scanned += page.items.len();
        names.extend(
            page.items
                .iter()
                .filter(|instance| registered.is_none_or(|wanted| wanted == instance.is_registered()))
                .filter(|instance| filters.is_empty() || matches_any(&filters, &instance.tags))
                .map(|instance| instance.name.clone()),
        );
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(ListOnPremisesInstancesOutput { instance_names: Some(names), next_token: next_token(after) })
}

/// The named instances, all registered, for whoever may do `action` to each of them.
async fn named(
    service: &CodeDeployService,
    call: &Call,
    action: &str,
    names: Option<Vec<String>>,
) -> Result<Vec<Versioned<Instance>>, ApiError> {
    let names = names.unwrap_or_default();
    if names.is_empty() {
        return Err(errors::instance_name_required_exception("At least one instance name is required"));
    }
    if names.len() > MAX_INSTANCES_PER_CALL {
        return Err(errors::instance_limit_exceeded_exception(format!(
            "The maximum number of allowed on-premises instances in a single call ({MAX_INSTANCES_PER_CALL}) was exceeded"
        )));
    }
    let (mut found, mut missing): (Vec<Versioned<Instance>>, _) = (Vec::new(), Vec::new());
    for name in names {
        let name = instance_name(Some(name))?;
        call.authorize(action, &instance_arn(call, &name), &[])?;
        match service.store.get::<Instance>(&key(&[&name])).await? {
            Some(instance) if instance.is_registered() => {
                if !found.iter().any(|known| known.name == name) {
                    found.push(instance);
                }
            }
            _ => missing.push(name),
        }
    }
    if !missing.is_empty() {
        return Err(not_registered(&missing.join(", ")));
    }
    Ok(found)
}

async fn retag(
    service: &CodeDeployService,
    instances: Vec<Versioned<Instance>>,
    change: impl Fn(&mut Tags),
) -> Result<(), ApiError> {
    let mut txn = Txn::new();
    for old in &instances {
        let mut new = old.doc.clone();
        change(&mut new.tags);
        if new.tags.len() > MAX_INSTANCE_TAGS {
            return Err(errors::tag_limit_exceeded_exception(format!(
                "The maximum allowed number of tags ({MAX_INSTANCE_TAGS}) was exceeded for {}",
                old.name
            )));
        }
        txn.replace(old, &new);
    }
    Ok(service.store.commit(txn).await?)
}

pub async fn add_tags_to_on_premises_instances(
    service: &CodeDeployService,
    call: &Call,
    input: AddTagsToOnPremisesInstancesInput,
) -> Result<AddTagsToOnPremisesInstancesOutput, ApiError> {
    let action = "codedeploy:AddTagsToOnPremisesInstances";
    let instances = named(service, call, action, input.instance_names).await?;
    let tags = tags_of(input.tags, errors::invalid_tag_exception)?;
    if tags.is_empty() {
        return Err(errors::tag_required_exception("A tag was not specified"));
    }
    retag(service, instances, |old| old.extend(tags.clone())).await?;
    Ok(AddTagsToOnPremisesInstancesOutput::default())
}

/// A tag goes where its key is there and, if a value was given, has that value.
pub async fn remove_tags_from_on_premises_instances(
    service: &CodeDeployService,
    call: &Call,
    input: RemoveTagsFromOnPremisesInstancesInput,
) -> Result<RemoveTagsFromOnPremisesInstancesOutput, ApiError> {
    let action = "codedeploy:RemoveTagsFromOnPremisesInstances";
    let instances = named(service, call, action, input.instance_names).await?;
    let tags = tags_of(input.tags, errors::invalid_tag_exception)?;
    if tags.is_empty() {
        return Err(errors::tag_required_exception("A tag was not specified"));
    }
    retag(service, instances, |old| {
        old.retain(|key, value| !tags.get(key).is_some_and(|given| given.is_empty() || given == value));
    })
    .await?;
    Ok(RemoveTagsFromOnPremisesInstancesOutput::default())
}
