//! Applications: a name for what is deployed.
//! <https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_CreateApplication.html>

use super::common::*;
use crate::CodeDeployService;
use crate::store::{Application, GroupName, Revision};
use towpath_api::{ApiError, Call, id};
use towpath_api_codedeploy::*;
use towpath_store::{Order, StoreError, Txn, key};

/// AWS's quota for an account and a region.
const MAX_APPLICATIONS: usize = 1_000;
/// Documents that go with a deleted application in one transaction.
const DELETE_AT_ONCE: usize = 2_000;

pub async fn create_application(
    service: &CodeDeployService,
    call: &Call,
    input: CreateApplicationInput,
) -> Result<CreateApplicationOutput, ApiError> {
    let name = application_name(input.application_name)?;
    call.authorize("codedeploy:CreateApplication", &application_arn(call, &name), &[])?;
    match input.compute_platform.as_deref() {
        None | Some("Server") => {}
        Some(platform @ ("Lambda" | "ECS")) => {
            return Err(ApiError::not_implemented(format_args!(
                "codedeploy: the compute platform {platform}"
            )));
        }
        Some(other) => {
            return Err(errors::invalid_compute_platform_exception(format!(
                "The computePlatform is invalid: {other:?}. The computePlatform should be Lambda, Server, or ECS."
            )));
        }
    }
    let tags = tags_of(input.tags, errors::invalid_tags_to_add_exception)?;
    let all = service.store.list::<Application>("", None, MAX_APPLICATIONS, Order::Ascending).await?;
    if all.items.len() >= MAX_APPLICATIONS {
        return Err(errors::application_limit_exceeded_exception(format!(
            "An account has at most {MAX_APPLICATIONS} applications"
        )));
    }
    let application = Application { name, id: id::uuid(), created_at: service.store.now(), tags };
    let mut txn = Txn::new();
    txn.create(&application);
    match service.store.commit(txn).await {
        Ok(()) => Ok(CreateApplicationOutput { application_id: Some(application.id) }),
        Err(StoreError::Conflict { .. }) => Err(already_exists(&application.name)),
        Err(error) => Err(error.into()),
    }
}

fn already_exists(name: &str) -> ApiError {
    errors::application_already_exists_exception(format!("Application already exists: {name}"))
}

fn show(application: &Application) -> ApplicationInfo {
    ApplicationInfo {
        application_id: Some(application.id.clone()),
        application_name: Some(application.name.clone()),
        compute_platform: Some("Server".into()),
        create_time: Some(application.created_at),
        linked_to_git_hub: Some(false),
        ..ApplicationInfo::default()
    }
}

pub async fn get_application(
    service: &CodeDeployService,
    call: &Call,
    input: GetApplicationInput,
) -> Result<GetApplicationOutput, ApiError> {
    let name = application_name(input.application_name)?;
    call.authorize("codedeploy:GetApplication", &application_arn(call, &name), &[])?;
    Ok(GetApplicationOutput { application: Some(show(&*service.application(&name).await?)) })
}

pub async fn batch_get_applications(
    service: &CodeDeployService,
    call: &Call,
    input: BatchGetApplicationsInput,
) -> Result<BatchGetApplicationsOutput, ApiError> {
    let names = input.application_names.unwrap_or_default();
    if names.is_empty() {
        return Err(errors::application_name_required_exception("At least one application name is required"));
    }
    batch(names.len(), MAX_BATCH)?;
    let mut found = Vec::new();
    for name in names {
        let name = application_name(Some(name))?;
        call.authorize("codedeploy:BatchGetApplications", &application_arn(call, &name), &[])?;
        found.push(show(&*service.application(&name).await?));
    }
    Ok(BatchGetApplicationsOutput { applications_info: Some(found) })
}

pub async fn list_applications(
    service: &CodeDeployService,
    call: &Call,
    input: ListApplicationsInput,
) -> Result<ListApplicationsOutput, ApiError> {
    call.authorize("codedeploy:ListApplications", &application_arn(call, "*"), &[])?;
    let after = after(input.next_token)?;
    let page = service.store.list::<Application>("", after.as_deref(), PAGE, Order::Ascending).await?;
    Ok(ListApplicationsOutput {
        applications: Some(page.items.iter().map(|application| application.name.clone()).collect()),
        next_token: next_token(page.next),
    })
}

pub async fn update_application(
    service: &CodeDeployService,
    call: &Call,
    input: UpdateApplicationInput,
) -> Result<UpdateApplicationOutput, ApiError> {
    let name = application_name(input.application_name)?;
    call.authorize("codedeploy:UpdateApplication", &application_arn(call, &name), &[])?;
    let old = service.application(&name).await?;
    let Some(new_name) = input.new_application_name else { return Ok(UpdateApplicationOutput::default()) };
    let new_name = application_name(Some(new_name))?;
    call.authorize("codedeploy:UpdateApplication", &application_arn(call, &new_name), &[])?;
    let mut txn = Txn::new();
    txn.delete(&old);
    txn.create(&Application { name: new_name.clone(), ..old.doc.clone() });
    match service.store.commit(txn).await {
        Ok(()) => Ok(UpdateApplicationOutput::default()),
        Err(StoreError::Conflict { .. }) => Err(already_exists(&new_name)),
        Err(error) => Err(error.into()),
    }
}

/// Its groups and revisions go with it. Deleting what is not there succeeds, as AWS does it.
pub async fn delete_application(
    service: &CodeDeployService,
    call: &Call,
    input: DeleteApplicationInput,
) -> Result<DeleteApplicationOutput, ApiError> {
    let name = application_name(input.application_name)?;
    call.authorize("codedeploy:DeleteApplication", &application_arn(call, &name), &[])?;
    let Some(application) = service.store.get::<Application>(&key(&[&name])).await? else {
        return Ok(DeleteApplicationOutput::default());
    };
    for group in service.groups_of(&application.id).await? {
        super::groups::remove(service, &group).await?;
    }
    let mut txn = Txn::new();
    txn.delete(&application);
    service.store.commit(txn).await?;
    forget::<GroupName>(service, &application.id).await?;
    forget::<Revision>(service, &application.id).await?;
    Ok(DeleteApplicationOutput::default())
}

/// What is kept under an application's id; a crash in between leaves documents that nothing points to.
async fn forget<D: towpath_store::Document>(
    service: &CodeDeployService,
    application_id: &str,
) -> Result<(), ApiError> {
    let prefix = key(&[application_id, ""]);
    loop {
        let page = service.store.list::<D>(&prefix, None, DELETE_AT_ONCE, Order::Ascending).await?;
        let mut txn = Txn::new();
        for item in &page.items {
            txn.delete(item);
        }
        service.store.commit(txn).await?;
        if page.next.is_none() {
            return Ok(());
        }
    }
}
