//! The operations: parse, authorize, one domain call, render.

mod filter;
mod get;
mod groups;
mod names;
mod put;
mod retention;
mod streams;
mod tags;
mod token;

use crate::LogsService;
use crate::store::{Group, Stream};
use names::GroupRef;
use towpath_api::log_batches::{LogBatch, LogBatches};
use towpath_api::{ApiError, Call, async_trait};
use towpath_api_logs::*;
use towpath_store::{StoreError, Versioned};

/// Rounds of an operation that others interfere with.
const MAX_ROUNDS: usize = 100;

impl LogsService {
    async fn group(&self, name: &GroupRef) -> Result<Versioned<Group>, ApiError> {
        let key = Group::key_of(&name.account, &name.region, &name.name);
        let group = self.store.get::<Group>(&key).await?;
        group.ok_or_else(|| errors::resource_not_found_exception("The specified log group does not exist."))
    }

    async fn stream(&self, group: &Group, name: &str) -> Result<Versioned<Stream>, ApiError> {
        let stream = self.store.get::<Stream>(&Stream::key_of(&group.id, name)).await?;
        stream.ok_or_else(|| errors::resource_not_found_exception("The specified log stream does not exist."))
    }
}

/// Whether to read again and try once more.
fn retry(error: &StoreError, round: usize) -> bool {
    error.is_conflict() && round < MAX_ROUNDS
}

/// A member that the model requires. The wire layer has checked; a call in process may not have.
fn required<T>(member: Option<T>, name: &str) -> Result<T, ApiError> {
    member.ok_or_else(|| errors::invalid_parameter_exception(format!("{name} is required.")))
}

#[async_trait]
impl LogBatches for LogsService {
    async fn put_batch(&self, call: &Call, batch: LogBatch) -> Result<(), ApiError> {
        put::put_batch(self, call, batch).await
    }
}

#[async_trait]
impl Logs for LogsService {
    async fn create_log_group(
        &self,
        call: &Call,
        input: CreateLogGroupInput,
    ) -> Result<CreateLogGroupOutput, ApiError> {
        groups::create(self, call, input).await
    }

    async fn create_log_stream(
        &self,
        call: &Call,
        input: CreateLogStreamInput,
    ) -> Result<CreateLogStreamOutput, ApiError> {
        streams::create(self, call, input).await
    }

    async fn delete_log_group(
        &self,
        call: &Call,
        input: DeleteLogGroupInput,
    ) -> Result<DeleteLogGroupOutput, ApiError> {
        groups::delete(self, call, input).await
    }

    async fn delete_log_stream(
        &self,
        call: &Call,
        input: DeleteLogStreamInput,
    ) -> Result<DeleteLogStreamOutput, ApiError> {
        streams::delete(self, call, input).await
    }

    async fn delete_retention_policy(
        &self,
        call: &Call,
        input: DeleteRetentionPolicyInput,
    ) -> Result<DeleteRetentionPolicyOutput, ApiError> {
        retention::delete(self, call, input).await
    }

    async fn describe_log_groups(
        &self,
        call: &Call,
        input: DescribeLogGroupsInput,
    ) -> Result<DescribeLogGroupsOutput, ApiError> {
        groups::describe(self, call, input).await
    }

    async fn describe_log_streams(
        &self,
        call: &Call,
        input: DescribeLogStreamsInput,
    ) -> Result<DescribeLogStreamsOutput, ApiError> {
        streams::describe(self, call, input).await
    }

    async fn filter_log_events(
        &self,
        call: &Call,
        input: FilterLogEventsInput,
    ) -> Result<FilterLogEventsOutput, ApiError> {
        filter::filter(self, call, input).await
    }

    async fn get_log_events(
        &self,
        call: &Call,
        input: GetLogEventsInput,
    ) -> Result<GetLogEventsOutput, ApiError> {
        get::get(self, call, input).await
    }

    async fn list_tags_for_resource(
        &self,
        call: &Call,
        input: ListTagsForResourceInput,
    ) -> Result<ListTagsForResourceOutput, ApiError> {
        tags::list(self, call, input).await
    }

    async fn put_log_events(
        &self,
        call: &Call,
        input: PutLogEventsInput,
    ) -> Result<PutLogEventsOutput, ApiError> {
        put::put(self, call, input).await
    }

    async fn put_retention_policy(
        &self,
        call: &Call,
        input: PutRetentionPolicyInput,
    ) -> Result<PutRetentionPolicyOutput, ApiError> {
        retention::put(self, call, input).await
    }

    async fn tag_resource(
        &self,
        call: &Call,
        input: TagResourceInput,
    ) -> Result<TagResourceOutput, ApiError> {
        tags::tag(self, call, input).await
    }

    async fn untag_resource(
        &self,
        call: &Call,
        input: UntagResourceInput,
    ) -> Result<UntagResourceOutput, ApiError> {
        tags::untag(self, call, input).await
    }
}
