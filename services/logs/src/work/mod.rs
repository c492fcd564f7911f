//! Background work: removing what was deleted ([`purge`]) and what has expired ([`expiry`]).

pub(crate) mod expiry;
pub(crate) mod purge;

/// Segments that one transaction removes: each may be a megabyte.
const BATCH: usize = 32;
