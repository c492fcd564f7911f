//! Everything that touches git's own data: the `git` binary for packs and ref transactions, `gix` for
//! reading objects in process, and the small pieces of git's wire format that the server must read.

pub mod export;
pub mod objects;
pub mod pack;
pub mod pktline;
pub mod process;
pub mod receive;
pub mod reflog;
pub mod repository;
pub mod tree;

pub use process::{Git, GitError};
