//! Principals and IAM policy evaluation, pure: documents in, decisions out.
//!
//! [`Policy::parse`] reads a document strictly, as IAM does, and refuses it with IAM's own sentences
//! ([`PolicyError`]). [`decide`] weighs everything that holds for a caller: an explicit deny anywhere ends
//! it; then the permissions boundary, the session's policies, and the identity and resource policies must
//! allow. [`ResolvedGate`] is a caller's policies behind [`towpath_api::Gate`].
//!
//! The crate owns no state and does no I/O, so there is nothing to recover after a crash. Its invariant is
//! that whatever it cannot understand never allows: a document that does not parse is no policy, a variable
//! without a value matches nothing, a condition on a missing key fails.
//!
//! Documents come from whoever may write policies, and what they are matched against comes from the
//! network. Matching takes one pass over the text ([`pattern`]); parsing is bounded by [`MAX_DOCUMENT_BYTES`]
//! and by the JSON reader's depth limit.
//!
//! Sources: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>,
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>,
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>.

mod arn;
mod condition;
mod context;
mod decide;
mod error;
mod gate;
mod json;
mod network;
mod operator;
mod parse;
pub mod pattern;
mod principal;
mod template;
mod validate;

pub use context::{Environment, Facts, Question, Who};
pub use decide::{Decision, Denial, PolicySet, Source, Verdict, decide};
pub use error::PolicyError;
pub use gate::{ResolvedGate, RootGate};
pub use parse::{Effect, Kind, Policy, Statement};
pub use principal::{Grant, PrincipalId, Principals};

/// No document may be longer. IAM's own quotas, which count no white space, are smaller.
pub const MAX_DOCUMENT_BYTES: usize = 131_072;

/// A document's length as IAM's quotas count it: without white space.
pub fn quota_size(document: &str) -> usize {
    document.chars().filter(|character| !character.is_whitespace()).count()
}
