//! PutRetentionPolicy and DeleteRetentionPolicy.
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html>.

use super::names::GroupRef;
use super::{required, retry};
use crate::LogsService;
use crate::work::expiry;
use towpath_api::{ApiError, Call};
use towpath_api_logs::*;
use towpath_store::Txn;

/// The days that can be set.
const DAYS: [i64; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

pub(super) async fn put(
    service: &LogsService,
    call: &Call,
    input: PutRetentionPolicyInput,
) -> Result<PutRetentionPolicyOutput, ApiError> {
    let name = GroupRef::named(call, &required(input.log_group_name, "logGroupName")?)?;
    name.authorize(call, "logs:PutRetentionPolicy")?;
    let days = required(input.retention_in_days, "retentionInDays")?;
    if !DAYS.contains(&days) {
        let known: Vec<String> = DAYS.iter().map(i64::to_string).collect();
        return Err(errors::invalid_parameter_exception(format!(
            "retentionInDays is {days}; possible values are {}.",
            known.join(", ")
        )));
    }
    set(service, &name, Some(days)).await?;
    Ok(PutRetentionPolicyOutput {})
}

pub(super) async fn delete(
    service: &LogsService,
    call: &Call,
    input: DeleteRetentionPolicyInput,
) -> Result<DeleteRetentionPolicyOutput, ApiError> {
    let name = GroupRef::named(call, &required(input.log_group_name, "logGroupName")?)?;
    name.authorize(call, "logs:DeleteRetentionPolicy")?;
    set(service, &name, None).await?;
    Ok(DeleteRetentionPolicyOutput {})
}

async fn set(service: &LogsService, name: &GroupRef, days: Option<i64>) -> Result<(), ApiError> {
    let mut round = 0;
    loop {
        round += 1;
        let old = service.group(name).await?;
        let mut group = old.doc.clone();
        group.retention_days = days;
        let mut txn = Txn::new();
        txn.replace(&old, &group).enqueue(expiry::job(&group, service.store.now()));
        match service.store.commit(txn).await {
            Err(error) if retry(&error, round) => {}
            result => return Ok(result?),
        }
    }
}
