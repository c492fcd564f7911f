//! The agent as a whole, against a server that keeps state over a real socket: what a deployment does to a
//! host, and what happens when things go wrong.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crashes;
mod deployments;
mod fake;
mod hostile;
mod network;
mod registration;
mod scripts;
mod world;
