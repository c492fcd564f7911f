//! The planner: pure decisions about a deployment and about one host in it. No clock, no store, no I/O:
//! the time, and the random part of a command's identifier, come in with the event.
//!
//! * [`fleet`]: how many hosts must stay healthy, and how many may be taken now.
//! * [`deployment`]: what a deployment does when something happens to it.
//! * [`host`]: the walk of one host through its life-cycle events.

pub mod deployment;
pub mod fleet;
pub mod host;
