//! CreateLogGroup, DeleteLogGroup, DescribeLogGroups.
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogGroups.html>.

use super::names::GroupRef;
use super::{required, tags, token};
use crate::LogsService;
use crate::store::{Group, Stream};
use crate::work::purge;
use towpath_api::{ApiError, Call, id};
use towpath_api_logs::*;
use towpath_store::{Order, StoreError, Txn, key};

const DEFAULT_LIMIT: i64 = 50;
/// Groups that one request looks at.
const MAX_SCANNED: usize = 5000;

pub(super) async fn create(
    service: &LogsService,
    call: &Call,
    input: CreateLogGroupInput,
) -> Result<CreateLogGroupOutput, ApiError> {
    let group = GroupRef::named(call, &required(input.log_group_name, "logGroupName")?)?;
    group.authorize(call, "logs:CreateLogGroup")?;
    if input.kms_key_id.is_some() {
        return Err(ApiError::not_implemented("kmsKeyId of logs:CreateLogGroup"));
    }
    if let Some(class) = input.log_group_class.filter(|class| class != log_group_class::STANDARD) {
        return Err(ApiError::not_implemented(format_args!("the log group class {class}")));
    }
    if input.deletion_protection_enabled == Some(true) {
        return Err(ApiError::not_implemented("deletionProtectionEnabled of logs:CreateLogGroup"));
    }
    let new_tags = input.tags.unwrap_or_default();
    tags::check(&new_tags)?;
    if !new_tags.is_empty() {
        call.authorize("logs:TagResource", &group.arn(), &[])?;
    }
    let mut txn = Txn::new();
    txn.create(&Group {
        account: group.account,
        region: group.region,
        name: group.name,
        id: id::uuid(),
        created_at: service.store.now(),
        retention_days: None,
        tags: new_tags,
    });
    match service.store.commit(txn).await {
        Err(StoreError::Conflict { .. }) => {
            Err(errors::resource_already_exists_exception("The specified log group already exists"))
        }
        result => Ok(result.map(|()| CreateLogGroupOutput {})?),
    }
}

pub(super) async fn delete(
    service: &LogsService,
    call: &Call,
    input: DeleteLogGroupInput,
) -> Result<DeleteLogGroupOutput, ApiError> {
    let name = GroupRef::named(call, &required(input.log_group_name, "logGroupName")?)?;
    name.authorize(call, "logs:DeleteLogGroup")?;
    let group = service.group(&name).await?;
    let mut txn = Txn::new();
    txn.delete(&group).enqueue(purge::group_job(&group.id, service.store.now()));
    match service.store.commit(txn).await {
        Err(StoreError::Conflict { .. }) => Err(errors::operation_aborted_exception(
            "A conflicting operation is currently in progress against this resource. Please try again.",
        )),
        result => Ok(result.map(|()| DeleteLogGroupOutput {})?),
    }
}

pub(super) async fn describe(
    service: &LogsService,
    call: &Call,
    input: DescribeLogGroupsInput,
) -> Result<DescribeLogGroupsOutput, ApiError> {
    let all = format!("arn:aws:logs:{}:{}:log-group::log-stream:", call.region, call.account);
    call.authorize("logs:DescribeLogGroups", &all, &[])?;
    let selection = Selection::new(call, &input)?;
    let limit = input.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, DEFAULT_LIMIT) as usize;
    let mut after = input.next_token.as_deref().map(token::decode).transpose()?;
    let prefix = key(&[&call.account, &call.region, &selection.prefix]);
    let (mut found, mut scanned) = (Vec::new(), 0);
    while found.len() < limit && scanned < MAX_SCANNED {
        let page = service.store.list::<Group>(&prefix, after.as_deref(), 100, Order::Ascending).await?;
        scanned += page.items.len();
        let mut more = page.next.is_some();
        for group in page.items {
            if found.len() == limit {
                more = true;
                break;
            }
            after = Some(Group::key_of(&group.account, &group.region, &group.name));
            if selection.takes(&group) {
                found.push(render(service, call, &group).await?);
            }
        }
        if !more {
            after = None;
            break;
        }
    }
    Ok(DescribeLogGroupsOutput { log_groups: Some(found), next_token: after.as_deref().map(token::encode) })
}

/// Which groups are asked for.
struct Selection {
    prefix: String,
    pattern: Option<String>,
    names: Option<Vec<String>>,
    standard: bool,
}

impl Selection {
    fn new(call: &Call, input: &DescribeLogGroupsInput) -> Result<Selection, ApiError> {
        if input.include_linked_accounts == Some(true) || input.account_identifiers.is_some() {
            return Err(ApiError::not_implemented("linked accounts of logs:DescribeLogGroups"));
        }
        let given = [
            input.log_group_name_prefix.is_some(),
            input.log_group_name_pattern.is_some(),
            input.log_group_identifiers.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() > 1 {
            return Err(errors::invalid_parameter_exception(
                "LogGroup name prefix, LogGroup name pattern and LogGroup identifiers are mutually exclusive parameters.",
            ));
        }
        let name = |identifier: &String| GroupRef::identified(call, identifier).map(|group| group.name);
        let names =
            input.log_group_identifiers.as_ref().map(|list| list.iter().map(name).collect()).transpose()?;
        let class = input.log_group_class.as_deref();
        Ok(Selection {
            prefix: input.log_group_name_prefix.clone().unwrap_or_default(),
            pattern: input.log_group_name_pattern.clone(),
            names,
            standard: class.is_none_or(|class| class == log_group_class::STANDARD),
        })
    }

    fn takes(&self, group: &Group) -> bool {
        self.standard
            && self.pattern.as_ref().is_none_or(|pattern| group.name.contains(pattern.as_str()))
            && self.names.as_ref().is_none_or(|names| names.contains(&group.name))
    }
}

async fn render(service: &LogsService, call: &Call, group: &Group) -> Result<LogGroup, ApiError> {
    let name = GroupRef::named(call, &group.name)?;
    Ok(LogGroup {
        arn: Some(format!("{}:*", name.arn())),
        log_group_arn: Some(name.arn()),
        creation_time: Some(group.created_at.as_millis()),
        log_group_class: Some(log_group_class::STANDARD.into()),
        log_group_name: Some(group.name.clone()),
        metric_filter_count: Some(0),
        retention_in_days: group.retention_days,
        stored_bytes: Some(stored_bytes(service, group).await?),
        deletion_protection_enabled: Some(false),
        ..LogGroup::default()
    })
}

/// What the streams hold together: counted when it is asked for, so that writers of one group have
/// nothing to fight over.
async fn stored_bytes(service: &LogsService, group: &Group) -> Result<i64, ApiError> {
    let (prefix, mut after, mut total) = (Stream::prefix_of(&group.id, ""), None, 0);
    loop {
        let page = service.store.list::<Stream>(&prefix, after.as_deref(), 1000, Order::Ascending).await?;
        total += page.items.iter().map(|stream| stream.stored_bytes).sum::<i64>();
        after = page.next;
        if after.is_none() {
            return Ok(total);
        }
    }
}
