//! Sandboxes: one fresh, isolated environment per build, and kept-alive ones as hosts.
//!
//! A sandbox is the host's own root, copy-on-write and allow-listed, in fresh namespaces with cgroup limits,
//! dropped capabilities, seccomp and Landlock. Three processes share the work:
//!
//! - the **server** (this crate's [`Runner`], [`Sandbox`], [`Process`]): asks, over a socket;
//! - the **supervisor**, the server's own executable run again, single-threaded: builds the view, the
//!   namespaces, the cgroup and the network, then carries requests, relays and exits. It holds the sandbox:
//!   when its socket closes (a killed server), it kills the inside and cleans up;
//! - **init**, pid 1 inside: starts commands, reaps orphans; dies with the supervisor, and all inside with it.
//!
//! All mounts live in the supervisor's own mount namespace, so no death leaves any of them behind. What a
//! killed supervisor leaves (an empty cgroup, a folder) the next [`Runner::sweep`] removes.
//!
//! The binary that embeds this crate calls [`init_if_sandbox`] first thing in `main`.

mod cgroup;
mod channel;
mod config;
mod error;
pub mod host;
mod init;
mod layer;
mod messages;
mod nat;
mod netlink;
mod places;
mod runner;
mod sandbox;
mod slots;
mod spec;
mod supervisor;
mod sweep;
mod sys;
mod toolchains;
mod trash;
mod view;

pub use config::{Config, NetworkConfig};
pub use error::{OVER_DISK, RunnerError};
pub use runner::Runner;
pub use sandbox::{Process, Sandbox};
pub use spec::{
    Access, Bind, BindSource, Command, ExitStatus, Limits, Mode, Network, Output, Publish, Relay, Report,
    Spec, WindowSize,
};
pub use sweep::Swept;
pub use view::{Entry, EntryKind, View};

/// Takes the process over, and never returns, when it was started as a sandbox's supervisor. Call it first
/// thing in `main`, before any thread or runtime exists.
pub fn init_if_sandbox() {
    if std::env::args_os().next().is_some_and(|name| name == supervisor::NAME) {
        supervisor::run()
    }
}
