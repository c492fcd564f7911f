//! Every bound of the store in one place. A commit beyond one is refused whole.

/// A document's JSON. Larger content belongs into a blob.
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;
/// A document's or job's key, with its kind or its queue's name: an entry of PostgreSQL's indexes has at most
/// 2,704 bytes.
pub const MAX_KEY_BYTES: usize = 2560;
/// An event's JSON: what EventBridge takes for an entry.
pub const MAX_EVENT_BYTES: usize = 256 << 10;
/// A job's payload: it says what to look at, it does not carry it.
pub const MAX_PAYLOAD_BYTES: usize = 256 << 10;
/// All bodies of one transaction together.
pub const MAX_TXN_BYTES: usize = 32 << 20;
pub const MAX_TXN_OPERATIONS: usize = 10_000;
/// Documents, events or leases in one answer.
pub const MAX_LIST: usize = 10_000;
/// Bodies in one page of a listing: large documents make short pages.
pub const MAX_LIST_BYTES: usize = 32 << 20;

/// Requests that share one fsync, and their bodies together.
pub(crate) const MAX_GROUP_REQUESTS: usize = 512;
pub(crate) const MAX_GROUP_BYTES: usize = 64 << 20;
/// Requests waiting for the writer; more wait for a place.
pub(crate) const WRITER_QUEUE: usize = 1024;
/// Rounds of [`crate::Store::update`] before it gives the conflict to its caller.
pub(crate) const MAX_UPDATE_ROUNDS: usize = 100;
/// The greatest character, which no key may contain: it ends every prefix's range.
pub(crate) const KEY_CEILING: char = '\u{10ffff}';
