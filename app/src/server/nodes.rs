//! Who the nodes are. Each says every few seconds that it is there; nothing depends on it but people's eyes:
//! work moves by leases alone. By the way it looks whether a newer version has taken the database over, and then
//! ends: its requests would fail one by one.
//!
//! **Crash.** A node that dies is shown as silent, and forgotten after a day.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use towpath_api::{ApiError, Call, Timestamp, id};
use towpath_durable::Shutdown;
use towpath_store::{Document, MAX_LIST, Order, Store, StoreError, Txn};

const EVERY: Duration = Duration::from_secs(5);
/// A node that was not seen for so long is shown as silent.
const SILENT_MS: i64 = 20_000;
const FORGET_MS: i64 = 24 * 3600 * 1000;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct NodeDoc {
    name: String,
    /// Of the process, made at its start.
    id: String,
    endpoint: String,
    version: String,
    started_at: Timestamp,
    seen_at: Timestamp,
}

impl Document for NodeDoc {
    const KIND: &'static str = "towpath/node";

    fn key(&self) -> String {
        self.name.clone()
    }
}

pub struct Nodes {
    store: Store,
    /// `None` for a server alone.
    own: Option<NodeDoc>,
    outdated: watch::Sender<bool>,
}

impl Nodes {
    pub fn alone(store: Store) -> Nodes {
        Nodes { store, own: None, outdated: watch::Sender::new(false) }
    }

    pub fn new(store: Store, name: &str, endpoint: &str) -> Nodes {
        let now = store.now();
        let own = NodeDoc {
            name: name.to_owned(),
            id: id::uuid(),
            endpoint: endpoint.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: now,
            seen_at: now,
        };
        Nodes { store, own: Some(own), outdated: watch::Sender::new(false) }
    }

    /// Returns once the database has been taken over by a newer version.
    pub async fn outdated(&self) {
        let mut receiver = self.outdated.subscribe();
        // The sender cannot be gone: `self` holds it.
        let _ = receiver.wait_for(|outdated| *outdated).await;
    }

    /// Says that this node is there until `shutdown`, and then that it is not.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let Some(own) = &self.own else { return };
        loop {
            match self.beat(own).await {
                Ok(()) => {}
                Err(error @ StoreError::TooNew { .. }) => {
                    tracing::error!(%error, "this node ends: the database belongs to a newer version now");
                    self.outdated.send_replace(true);
                    return;
                }
                Err(error) => tracing::warn!(%error, "this node cannot say that it is there"),
            }
            if !shutdown.sleep(EVERY).await {
                break;
            }
        }
        if let Err(error) = self.leave(own).await {
            tracing::debug!(%error, "this node cannot say that it leaves");
        }
    }

    async fn beat(&self, own: &NodeDoc) -> Result<(), StoreError> {
        self.store.check_version().await?;
        let now = self.store.now();
        let known = self.store.list::<NodeDoc>("", None, MAX_LIST, Order::Ascending).await?;
        let mut txn = Txn::new();
        for node in &known.items {
            let silent_ms = now.since_millis(node.seen_at);
            if node.name == own.name && node.id != own.id && node.started_at > own.started_at {
                let name = &own.name;
                tracing::error!(name, other = node.endpoint, "another node has this name; give each its own");
            } else if silent_ms > FORGET_MS && node.name != own.name {
                txn.delete(node);
            }
        }
        txn.put(&NodeDoc { seen_at: now, ..own.clone() });
        match self.store.commit(txn).await {
            // Another node forgot the same one.
            Err(StoreError::Conflict { .. }) => Ok(()),
            other => other,
        }
    }

    async fn leave(&self, own: &NodeDoc) -> Result<(), StoreError> {
        let Some(there) = self.store.get::<NodeDoc>(&own.name).await? else { return Ok(()) };
        let mut txn = Txn::new();
        if there.id == own.id {
            txn.delete(&there);
        }
        self.store.commit(txn).await
    }

    /// For a caller who may `towpath:ListNodes`.
    pub async fn list(&self, call: &Call) -> Result<Value, ApiError> {
        call.authorize("towpath:ListNodes", &call.arn("towpath", "node/*"), &[])?;
        let now = self.store.now();
        let known = self.store.list::<NodeDoc>("", None, MAX_LIST, Order::Ascending).await?;
        let nodes = known.items.iter().map(|node| {
            let silent = now.since_millis(node.seen_at) > SILENT_MS;
            json!({
                "name": node.name,
                "endpoint": node.endpoint,
                "version": node.version,
                "state": if silent { "silent" } else { "ready" },
                "startedAt": node.started_at.as_seconds(),
                "seenAt": node.seen_at.as_seconds(),
            })
        });
        Ok(json!({ "nodes": nodes.collect::<Vec<_>>() }))
    }
}
