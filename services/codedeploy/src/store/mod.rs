//! This service's documents. Names can change, so what belongs to an application or a group is kept under
//! its id; lists that a client pages through have small documents of their own, in the order of the list.

mod deployment;
mod group;
mod instance;

pub use deployment::*;
pub use group::*;
pub use instance::*;
