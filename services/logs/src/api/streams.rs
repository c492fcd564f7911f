//! CreateLogStream, DeleteLogStream, DescribeLogStreams.
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogStreams.html>.

use super::names::{self, GroupRef, check_stream_name};
use super::{required, retry, token};
use crate::LogsService;
use crate::store::{Group, Stream};
use crate::work::purge;
use towpath_api::{ApiError, Call, id};
use towpath_api_logs::*;
use towpath_store::{Order, StoreError, Txn};

const DEFAULT_LIMIT: i64 = 50;

pub(super) async fn create(
    service: &LogsService,
    call: &Call,
    input: CreateLogStreamInput,
) -> Result<CreateLogStreamOutput, ApiError> {
    let name = GroupRef::named(call, &required(input.log_group_name, "logGroupName")?)?;
    let stream = required(input.log_stream_name, "logStreamName")?;
    name.authorize(call, "logs:CreateLogStream")?;
    check_stream_name(&stream)?;
    let mut round = 0;
    loop {
        round += 1;
        let group = service.group(&name).await?;
        if service.store.get::<Stream>(&Stream::key_of(&group.id, &stream)).await?.is_some() {
            return Err(errors::resource_already_exists_exception("The specified log stream already exists"));
        }
        let mut txn = Txn::new();
        txn.expect(&group).create(&Stream {
            group_id: group.id.clone(),
            name: stream.clone(),
            id: id::uuid(),
            created_at: service.store.now(),
            first_event_ms: None,
            last_event_ms: None,
            last_ingestion_ms: None,
            stored_bytes: 0,
            next_number: 0,
            runs: Vec::new(),
            writers: Vec::new(),
        });
        match service.store.commit(txn).await {
            Err(error) if retry(&error, round) => {}
            result => return Ok(result.map(|()| CreateLogStreamOutput {})?),
        }
    }
}

pub(super) async fn delete(
    service: &LogsService,
    call: &Call,
    input: DeleteLogStreamInput,
) -> Result<DeleteLogStreamOutput, ApiError> {
    let name = GroupRef::named(call, &required(input.log_group_name, "logGroupName")?)?;
    let stream_name = required(input.log_stream_name, "logStreamName")?;
    name.authorize_stream(call, "logs:DeleteLogStream", &stream_name)?;
    let mut round = 0;
    loop {
        round += 1;
        let group = service.group(&name).await?;
        let stream = service.stream(&group, &stream_name).await?;
        let mut txn = Txn::new();
        txn.delete(&stream).enqueue(purge::stream_job(&stream.id, service.store.now()));
        match service.store.commit(txn).await {
            Err(error) if retry(&error, round) => {}
            result => return Ok(result.map(|()| DeleteLogStreamOutput {})?),
        }
    }
}

pub(super) async fn describe(
    service: &LogsService,
    call: &Call,
    input: DescribeLogStreamsInput,
) -> Result<DescribeLogStreamsOutput, ApiError> {
    let (name, identifier) = (input.log_group_name.as_deref(), input.log_group_identifier.as_deref());
    let name = GroupRef::named_or_identified(call, name, identifier)?;
    name.authorize(call, "logs:DescribeLogStreams")?;
    let by_time = input.order_by.as_deref() == Some(order_by::LAST_EVENT_TIME);
    if by_time && input.log_stream_name_prefix.is_some() {
        return Err(errors::invalid_parameter_exception(
            "Cannot order by LastEventTime with a logStreamNamePrefix.",
        ));
    }
    let group = service.group(&name).await?;
    let order = if input.descending == Some(true) { Order::Descending } else { Order::Ascending };
    let limit = input.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, DEFAULT_LIMIT) as usize;
    let after = input.next_token.as_deref().map(token::decode).transpose()?;
    let (streams, next) = if by_time {
        by_last_event(service, &group, after, limit, order).await?
    } else {
        let prefix =
            Stream::prefix_of(&group.id, input.log_stream_name_prefix.as_deref().unwrap_or_default());
        let page = service.store.list::<Stream>(&prefix, after.as_deref(), limit, order).await?;
        (page.items.into_iter().map(|stream| stream.into_doc()).collect(), page.next)
    };
    let group_arn = name.arn();
    Ok(DescribeLogStreamsOutput {
        log_streams: Some(streams.into_iter().map(|stream| render(&group_arn, stream)).collect()),
        next_token: next.as_deref().map(token::encode),
    })
}

/// The streams in the order of their last events; those without any count as oldest.
async fn by_last_event(
    service: &LogsService,
    group: &Group,
    after: Option<String>,
    limit: usize,
    order: Order,
) -> Result<(Vec<Stream>, Option<String>), StoreError> {
    let place = |stream: &Stream| format!("{:020}/{}", stream.last_event_ms.unwrap_or(0), stream.name);
    let (prefix, mut cursor, mut found) = (Stream::prefix_of(&group.id, ""), None, Vec::new());
    loop {
        let page = service.store.list::<Stream>(&prefix, cursor.as_deref(), 1000, Order::Ascending).await?;
        for stream in page.items {
            let here = place(&stream);
            let wanted = after.as_ref().is_none_or(|after| match order {
                Order::Ascending => here > *after,
                Order::Descending => here < *after,
            });
            if wanted {
                found.push((here, stream.into_doc()));
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    found.sort_by(|(a, _), (b, _)| if order == Order::Ascending { a.cmp(b) } else { b.cmp(a) });
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(place, _)| place.clone());
    Ok((found.into_iter().map(|(_, stream)| stream).collect(), next))
}

fn render(group_arn: &str, stream: Stream) -> LogStream {
    LogStream {
        arn: Some(names::stream_arn(group_arn, &stream.name)),
        creation_time: Some(stream.created_at.as_millis()),
        first_event_timestamp: stream.first_event_ms,
        last_event_timestamp: stream.last_event_ms,
        last_ingestion_time: stream.last_ingestion_ms,
        upload_sequence_token: Some(super::put::sequence_token(&stream)),
        log_stream_name: Some(stream.name),
        stored_bytes: Some(stream.stored_bytes),
    }
}
