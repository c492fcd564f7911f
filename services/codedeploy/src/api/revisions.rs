//! Revisions: what can be deployed, and where it is used.
//! <https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_RegisterApplicationRevision.html>

use super::common::*;
use crate::CodeDeployService;
use crate::store::{Application, Revision, revision_identity};
use std::collections::BTreeMap;
use towpath_api::{ApiError, Call, Timestamp};
use towpath_api_codedeploy::*;
use towpath_store::{Document, Order, Txn, Versioned, key};

const MAX_DESCRIPTION_CHARS: usize = 256;
/// What ListApplicationRevisions, which sorts in memory, reads from the store at a time.
const READ_AT_ONCE: usize = 1000;

pub fn description(text: Option<String>) -> Result<Option<String>, ApiError> {
    match text {
        Some(text) if text.chars().count() > MAX_DESCRIPTION_CHARS => {
            Err(errors::description_too_long_exception(format!(
                "The description is too long: at most {MAX_DESCRIPTION_CHARS} characters are allowed"
            )))
        }
        other => Ok(other),
    }
}

/// A location in S3, complete and of a bundle type that hosts can unpack. Absent and empty are the same.
pub fn location(revision: Option<RevisionLocation>) -> Result<RevisionLocation, ApiError> {
    let revision = revision.ok_or_else(|| errors::revision_required_exception("Revision is required"))?;
    let invalid =
        |reason: String| errors::invalid_revision_exception(format!("The revision is invalid: {reason}"));
    match revision.revision_type.as_deref() {
        Some("S3") => {}
        None if revision.s3_location.is_some() => {}
        None => return Err(invalid("revisionType is required".into())),
        Some(kind @ ("GitHub" | "String" | "AppSpecContent")) => {
            return Err(ApiError::not_implemented(format_args!("codedeploy: revisions of type {kind}")));
        }
        Some(other) => return Err(invalid(format!("the type {other:?} is not known"))),
    }
    if revision.git_hub_location.is_some() || revision.string.is_some() || revision.app_spec_content.is_some()
    {
        return Err(invalid("a revision of type S3 has an s3Location and nothing else".into()));
    }
    let given = revision.s3_location.unwrap_or_default();
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let s3 = S3Location {
        bucket: filled(given.bucket),
        key: filled(given.key),
        bundle_type: filled(given.bundle_type),
        version: filled(given.version),
        e_tag: filled(given.e_tag).map(|tag| tag.replace('"', "")),
    };
    let longer = |text: &Option<String>, bytes: usize| text.as_ref().is_some_and(|text| text.len() > bytes);
    if s3.bucket.is_none() || s3.key.is_none() {
        return Err(invalid("an S3 location needs a bucket and a key".into()));
    }
    if longer(&s3.bucket, 255)
        || longer(&s3.key, 1_024)
        || longer(&s3.version, 1_024)
        || longer(&s3.e_tag, 255)
    {
        return Err(invalid("a part of the S3 location is longer than S3 allows".into()));
    }
    match s3.bundle_type.as_deref() {
        Some("zip" | "tar" | "tgz") => {}
        Some(other) => {
            return Err(invalid(format!("the bundle type {other:?} is not one of tar, tgz and zip")));
        }
        None => return Err(invalid("an S3 location needs a bundleType: tar, tgz or zip".into())),
    }
    Ok(RevisionLocation {
        revision_type: Some("S3".into()),
        s3_location: Some(s3),
        ..RevisionLocation::default()
    })
}

/// The document that says that a revision is registered now; `used` when a deployment does it.
pub async fn register(
    service: &CodeDeployService,
    txn: &mut Txn,
    application: &Application,
    location: &RevisionLocation,
    description: Option<String>,
    used: bool,
) -> Result<(), ApiError> {
    let now = service.store.now();
    let old = service.store.get::<Revision>(&Revision::key_of(&application.id, location)).await?;
    let mut revision = match &old {
        Some(old) => old.doc.clone(),
        None => Revision {
            application_id: application.id.clone(),
            location: location.clone(),
            description: None,
            registered_at: now,
            first_used_at: None,
            last_used_at: None,
        },
    };
    revision.description = description.or(revision.description);
    if used {
        revision.first_used_at.get_or_insert(now);
        revision.last_used_at = Some(now);
    }
    // Two registrations of the same revision at the same time say the same.
    txn.put(&revision);
    Ok(())
}

pub async fn register_application_revision(
    service: &CodeDeployService,
    call: &Call,
    input: RegisterApplicationRevisionInput,
) -> Result<RegisterApplicationRevisionOutput, ApiError> {
    let name = application_name(input.application_name)?;
    call.authorize("codedeploy:RegisterApplicationRevision", &application_arn(call, &name), &[])?;
    let description = description(input.description)?;
    let location = location(input.revision)?;
    let application = service.application(&name).await?;
    let mut txn = Txn::new();
    register(service, &mut txn, &application, &location, description, false).await?;
    service.store.commit(txn).await?;
    Ok(RegisterApplicationRevisionOutput::default())
}

/// Names of the groups whose target each revision is.
async fn targets(
    service: &CodeDeployService,
    application: &Application,
) -> Result<BTreeMap<String, Vec<String>>, ApiError> {
    let mut targets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for group in service.groups_of(&application.id).await? {
        if let Some(target) = &group.target_revision {
            targets.entry(revision_identity(target)).or_default().push(group.name.clone());
        }
    }
    Ok(targets)
}

fn info(revision: &Revision, targets: &BTreeMap<String, Vec<String>>) -> GenericRevisionInfo {
    GenericRevisionInfo {
        description: revision.description.clone(),
        deployment_groups: Some(
            targets.get(&revision_identity(&revision.location)).cloned().unwrap_or_default(),
        ),
        first_used_time: revision.first_used_at,
        last_used_time: revision.last_used_at,
        register_time: Some(revision.registered_at),
    }
}

pub async fn get_application_revision(
    service: &CodeDeployService,
    call: &Call,
    input: GetApplicationRevisionInput,
) -> Result<GetApplicationRevisionOutput, ApiError> {
    let name = application_name(input.application_name)?;
    call.authorize("codedeploy:GetApplicationRevision", &application_arn(call, &name), &[])?;
    let location = location(input.revision)?;
    let application = service.application(&name).await?;
    let revision = service.store.get::<Revision>(&Revision::key_of(&application.id, &location)).await?;
    let revision = revision.ok_or_else(|| {
        errors::revision_does_not_exist_exception(format!(
            "The revision does not exist in the application {name}: register it, or deploy it, first"
        ))
    })?;
    let targets = targets(service, &application).await?;
    Ok(GetApplicationRevisionOutput {
        application_name: Some(name),
        revision: Some(revision.location.clone()),
        revision_info: Some(info(&revision, &targets)),
    })
}

pub async fn batch_get_application_revisions(
    service: &CodeDeployService,
    call: &Call,
    input: BatchGetApplicationRevisionsInput,
) -> Result<BatchGetApplicationRevisionsOutput, ApiError> {
    let name = application_name(input.application_name)?;
    call.authorize("codedeploy:BatchGetApplicationRevisions", &application_arn(call, &name), &[])?;
    let wanted = input.revisions.unwrap_or_default();
    if wanted.is_empty() {
        return Err(errors::revision_required_exception("At least one revision is required"));
    }
    batch(wanted.len(), MAX_SMALL_BATCH)?;
    let application = service.application(&name).await?;
    let targets = targets(service, &application).await?;
    let (mut found, mut missing) = (Vec::new(), 0);
    for revision in wanted {
        let place = Revision::key_of(&application.id, &location(Some(revision))?);
        match service.store.get::<Revision>(&place).await? {
            Some(revision) => found.push(RevisionInfo {
                revision_location: Some(revision.location.clone()),
                generic_revision_info: Some(info(&revision, &targets)),
            }),
            None => missing += 1,
        }
    }
    let error_message = (missing > 0).then(|| format!("{missing} of the revisions could not be found"));
    Ok(BatchGetApplicationRevisionsOutput {
        application_name: Some(name),
        error_message,
        revisions: Some(found),
    })
}

pub async fn list_application_revisions(
    service: &CodeDeployService,
    call: &Call,
    input: ListApplicationRevisionsInput,
) -> Result<ListApplicationRevisionsOutput, ApiError> {
    let name = application_name(input.application_name)?;
    call.authorize("codedeploy:ListApplicationRevisions", &application_arn(call, &name), &[])?;
    let by: fn(&Revision) -> Option<Timestamp> = match input.sort_by.as_deref() {
        None | Some("registerTime") => |revision| Some(revision.registered_at),
        Some("firstUsedTime") => |revision| revision.first_used_at,
        Some("lastUsedTime") => |revision| revision.last_used_at,
        Some(other) => {
            return Err(errors::invalid_sort_by_exception(format!(
                "The column name to sort by is invalid: {other:?}"
            )));
        }
    };
    let descending = match input.sort_order.as_deref() {
        None | Some("ascending") => false,
        Some("descending") => true,
        Some(other) => {
            return Err(errors::invalid_sort_order_exception(format!(
                "The sort order is invalid: {other:?}"
            )));
        }
    };
    if input.s3_key_prefix.is_some() && input.s3_bucket.is_none() {
        return Err(errors::bucket_name_filter_required_exception(
            "A bucket name is required where a key prefix is given",
        ));
    }
    let deployed = match input.deployed.as_deref() {
        None | Some("ignore") => None,
        Some("include") => Some(true),
        Some("exclude") => Some(false),
        Some(other) => {
            return Err(errors::invalid_deployed_state_filter_exception(format!(
                "The deployed state filter is invalid: {other:?}"
            )));
        }
    };
    let after = after(input.next_token)?;
    let application = service.application(&name).await?;
    let targets = targets(service, &application).await?;
    let mut all = all(service, &application).await?;
    all.retain(|revision| {
        let s3 = revision.location.s3_location.clone().unwrap_or_default();
        let is_target = targets.contains_key(&revision_identity(&revision.location));
        input.s3_bucket.as_ref().is_none_or(|bucket| s3.bucket.as_ref() == Some(bucket))
            && input
                .s3_key_prefix
                .as_ref()
                .is_none_or(|prefix| s3.key.unwrap_or_default().starts_with(prefix))
            && deployed.is_none_or(|deployed| deployed == is_target)
    });
    // By a key of its own, so that what comes between two pages takes nothing else with it.
    let keyed = |revision: &Revision| {
        format!("{:020} {}", by(revision).map_or(-1, Timestamp::as_millis) + 1, Document::key(revision))
    };
    let all = all.iter().map(|revision| (keyed(revision), revision.location.clone())).collect();
    let (revisions, next) = page(all, descending, after.as_deref());
    Ok(ListApplicationRevisionsOutput { revisions: Some(revisions), next_token: next_token(next) })
}

/// One page of locations in the order of their keys, and the last one's key where there are more.
fn page(
    mut all: Vec<(String, RevisionLocation)>,
    descending: bool,
    after: Option<&str>,
) -> (Vec<RevisionLocation>, Option<String>) {
    all.retain(|(key, _)| {
        after.is_none_or(|after| if descending { key.as_str() < after } else { key.as_str() > after })
    });
    all.sort_by(|(a, _), (b, _)| if descending { b.cmp(a) } else { a.cmp(b) });
    let more = all.len() > PAGE;
    all.truncate(PAGE);
    let next = all.last().filter(|_| more).map(|(key, _)| key.clone());
    (all.into_iter().map(|(_, location)| location).collect(), next)
}

async fn all(
    service: &CodeDeployService,
    application: &Application,
) -> Result<Vec<Versioned<Revision>>, ApiError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = service
            .store
            .list(&key(&[&application.id, ""]), after.as_deref(), READ_AT_ONCE, Order::Ascending)
            .await?;
        found.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}
