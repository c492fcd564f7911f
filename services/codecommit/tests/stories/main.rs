//! What people do with a repository, told with the real git client over a real socket, and with the API
//! as the wire layer calls it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod crash;
mod denials;
mod git;
mod nodes;
mod repositories;
mod sources;
mod support;
mod upkeep;
