//! What a backup needs of an embedded store: a copy of its database beside the process that writes it, and the
//! means to see what is in the copy. A database that several servers share is backed up with its own tools.

pub use crate::sqlite::{FILE, keys_of, snapshot};
