//! CodeBuild told as stories, over the generated API, against stateful fakes of its neighbours. Commands run
//! for real, in a folder instead of a sandbox: the sandbox has its own tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod artifacts;
mod commands;
mod crashes;
mod denials;
mod fakes;
mod history;
mod life;
mod pipeline;
mod projects;
mod reports;
mod sandbox;
mod sources;
mod workers;
mod world;
