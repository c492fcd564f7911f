//! The port by which a build's log is stored exactly once. A batch whose answer was lost is sent again, and the
//! public `PutLogEvents` has nothing by which it could be known: its sequence tokens are ignored since 2023
//! (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html>). Implemented by
//! `services/logs`, called by `services/codebuild`; streams are made and read through the public API.

use crate::{ApiError, Call, async_trait};

/// What one writer says next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogBatch {
    pub group: String,
    pub stream: String,
    /// Who writes, among all that ever write to this stream.
    pub writer: String,
    /// 1 for the writer's first batch; a later one has a higher number. A number that is not higher than the
    /// writer's last one is a batch that was stored already. `None`: it is stored however often it is sent.
    pub number: Option<u64>,
    /// What all batches of this writer may be together, counted as CloudWatch Logs counts them.
    pub limit_bytes: u64,
    /// Milliseconds since 1970 and text, in the order of time.
    pub events: Vec<(i64, String)>,
}

#[async_trait]
pub trait LogBatches: Send + Sync {
    /// Authorizes `logs:PutLogEvents` for `call` and stores the batch as `PutLogEvents` does, at most once.
    /// `LogFullException` where the writer's limit is reached: nothing of the batch is stored.
    async fn put_batch(&self, call: &Call, batch: LogBatch) -> Result<(), ApiError>;
}
