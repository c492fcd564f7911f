//! CodeDeploy as its users and its agents meet it: through the two traits, over a real store on disk.
//! The other sides (identities, objects, agents) are stateful fakes in [`fakes`] and [`support`].
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agents;
mod denials;
mod deployments;
mod fakes;
mod faults;
mod history;
mod resources;
mod revisions;
mod scale;
mod support;
