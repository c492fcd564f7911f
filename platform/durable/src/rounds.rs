//! Work that goes over everything again and again, a bounded piece at a time: sweeping, forgetting.
//!
//! **State.** One job whose payload is the place that the round has come to. Each piece is one transaction:
//! its changes together with the next place, so that a round that was interrupted goes on there. **Crash.**
//! The piece runs again. Of several servers one works at a time, because the job is leased; a start begins
//! the round again, which finds nothing to do where it was before.

use crate::{Held, Retry, Shutdown, Worker};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use towpath_store::{Job, Store, Txn};

/// Where a round goes on; `None`: it is over.
pub type Piece<P> = (Txn, Option<P>);

/// A round that is due again some time after it was over.
pub struct Rounds {
    store: Store,
    queue: &'static str,
    every_ms: i64,
}

impl Rounds {
    pub fn new(store: Store, queue: &'static str, every_ms: i64) -> Rounds {
        Rounds { store, queue, every_ms }
    }

    /// The job that begins a round, at once.
    pub fn job(store: &Store, queue: &str) -> Job {
        Job::new(queue, "round", store.now())
    }

    /// Does rounds until `shutdown`; the first begins now. `piece` gets the place to go on from.
    pub async fn run<P, H, F>(self, piece: H, shutdown: Shutdown)
    where
        P: Default + Serialize + DeserializeOwned + Send + 'static,
        H: Fn(P) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Piece<P>, Retry>> + Send + 'static,
    {
        let Rounds { store, queue, every_ms } = self;
        let mut begin = Txn::new();
        begin.enqueue(Rounds::job(&store, queue));
        if let Err(error) = store.commit(begin).await {
            tracing::error!(queue, %error, "cannot begin a round; an earlier one goes on");
        }
        let work = store.clone();
        let handler = move |held: Held| {
            let (store, piece) = (work.clone(), piece.clone());
            async move {
                // A place that another version wrote: from the beginning.
                let place = serde_json::from_value(held.payload.clone()).unwrap_or_default();
                let (mut txn, next) = piece(place).await?;
                let again = Rounds::job(&store, queue);
                txn.enqueue(match next {
                    Some(place) => again.with_payload(serde_json::to_value(place)?),
                    None => Job { run_at: store.now().plus_millis(every_ms), ..again },
                });
                Ok(txn)
            }
        };
        Worker::new(store, queue).concurrency(1).run(handler, shutdown).await;
    }
}
