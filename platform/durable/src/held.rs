//! A job in a handler's hands.

use crate::Shutdown;
use std::ops::Deref;
use std::sync::Arc;
use towpath_store::Lease;

/// A leased job while its handler runs. Its lease is renewed in the background; [`Held::cancelled`]
/// tells the handler to stop. Clones are the same hold.
#[derive(Clone, Debug)]
pub struct Held {
    lease: Arc<Lease>,
    cancel: Shutdown,
}

impl Held {
    pub(crate) fn new(lease: Lease) -> Held {
        Held { lease: Arc::new(lease), cancel: Shutdown::new() }
    }

    pub(crate) fn cancel(&self) {
        self.cancel.trigger();
    }

    /// Returns when the handler should stop: the lease is lost (the job was cancelled, or another worker
    /// has it), or the server stops. Soon afterwards the handler's future is dropped.
    pub async fn cancelled(&self) {
        self.cancel.wait().await;
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_shutdown()
    }

    /// The lease, for [`towpath_store::Txn::guard`] in commits of the handler's own.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }
}

impl Deref for Held {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.lease
    }
}
