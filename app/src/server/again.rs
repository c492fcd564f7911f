//! Runs an operation again whose transaction met another one that changed the same documents.
//!
//! Such a transaction wrote nothing ([`StoreError::Conflict`]), and whoever was first has moved on, so reading
//! and deciding again is all that is needed. A client's library would do the same after an error 500, later and
//! less often. Operations that handle a conflict themselves never come here; calls between services, which
//! their callers' jobs repeat, neither.
//!
//! It owns no state; a crash leaves what the operation's own commits left.

use std::sync::Arc;
use std::time::Duration;
use towpath_api::model::Service;
use towpath_api::{ApiError, Call, Dispatch, Node, async_trait};
use towpath_store::StoreError;

/// Each round that fails is one in which somebody else's commit succeeded.
const MAX_ROUNDS: u32 = 20;

pub struct Again<D>(D);

impl<D: Dispatch + 'static> Again<D> {
    pub fn of(service: D) -> Arc<dyn Dispatch> {
        Arc::new(Again(service))
    }
}

#[async_trait]
impl<D: Dispatch> Dispatch for Again<D> {
    fn model(&self) -> &'static Service {
        self.0.model()
    }

    async fn dispatch(&self, call: &Call, operation: &str, input: Node) -> Result<Node, ApiError> {
        if is_read(operation) {
            return self.0.dispatch(call, operation, input).await;
        }
        for round in 1..MAX_ROUNDS {
            match self.0.dispatch(call, operation, input.clone()).await {
                Err(error) if is_conflict(&error) => {
                    tracing::debug!(operation, round, "met another change of the same documents");
                    tokio::time::sleep(Duration::from_millis(u64::from(round))).await;
                }
                outcome => return outcome,
            }
        }
        self.0.dispatch(call, operation, input).await
    }
}

/// What only reads commits nothing that could meet a conflict, and need not keep its input.
fn is_read(operation: &str) -> bool {
    ["Get", "List", "Describe", "BatchGet", "Filter"].iter().any(|verb| operation.starts_with(verb))
}

fn is_conflict(error: &ApiError) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.downcast_ref::<StoreError>().is_some_and(StoreError::is_conflict) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use towpath_api::{AuthzRequest, Caller, Gate, Timestamp};

    struct Open;

    impl Gate for Open {
        fn check(&self, _: &AuthzRequest, _: &Call) -> Result<(), String> {
            Ok(())
        }
    }

    /// Meets so many conflicts before it succeeds.
    struct Contended(AtomicU32);

    #[async_trait]
    impl Dispatch for Contended {
        fn model(&self) -> &'static Service {
            &towpath_api_sts::MODEL
        }

        async fn dispatch(&self, _: &Call, _: &str, input: Node) -> Result<Node, ApiError> {
            let left = self.0.load(Ordering::Relaxed);
            if left == 0 {
                return Ok(input);
            }
            self.0.store(left - 1, Ordering::Relaxed);
            Err(StoreError::Conflict { kind: "thing".into(), key: "one".into() }.into())
        }
    }

    async fn outcome(conflicts: u32, operation: &str) -> Result<Node, ApiError> {
        let call = Call {
            request_id: "r".into(),
            account: "000000000000".into(),
            region: "us-east-1".into(),
            at: Timestamp::from_millis(0),
            caller: Caller::Root { account: "000000000000".into() },
            source_ip: None,
            secure: false,
            gate: Arc::new(Open),
        };
        Again(Contended(conflicts.into())).dispatch(&call, operation, Node::Int(7)).await
    }

    #[tokio::test]
    async fn a_write_is_run_again_and_a_read_is_not() {
        assert_eq!(outcome(MAX_ROUNDS - 1, "DeleteThing").await.unwrap(), Node::Int(7));
        assert!(is_conflict(&outcome(MAX_ROUNDS, "DeleteThing").await.unwrap_err()));
        assert!(is_conflict(&outcome(1, "GetThing").await.unwrap_err()));
    }
}
