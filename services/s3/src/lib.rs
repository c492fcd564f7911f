//! S3: buckets and objects, for the artifacts of pipelines and for anybody who speaks S3.
//!
//! **The story.** The `s3s` crate parses S3's HTTP, verifies its signatures and calls [`api`]; that
//! asks the caller's policies ([`access`]) and calls the [`engine`], which owns the documents
//! ([`store`]) and the content ([`content`]). Other services come in through the [`port`], in process.
//!
//! **What it owns.** Per bucket one document; per key the current object; per version of a key one
//! record; per multipart upload one record and one per part; and the content of each: small content as a
//! document beside its record, larger content in the home of blobs.
//!
//! **Invariants.**
//! - A PUT is answered after its content is safe (synced, or acknowledged by the object store), and the
//!   record that names it is committed; small content is committed with it. Content is never changed in place.
//! - A record never names content that is gone: content is deleted by a job that the transaction which
//!   dropped its last record has enqueued.
//!
//! **Crash.** Between writing content and committing its record, the content stays without a record;
//! the sweep removes what no record names.
//!
//! Source: the S3 API reference, <https://docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html>.

mod access;
mod api;
mod content;
mod engine;
mod errors;
mod held;
mod http;
mod listing;
mod multipart;
mod port;
mod signature;
mod store;
mod sweep;

pub use engine::{Config, S3};
pub use held::HeldObjects;
pub use store::{BLOB_USE_KIND, blob_of_use};
