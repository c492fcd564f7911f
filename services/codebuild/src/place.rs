//! The name of a server's disk: made once, kept beside what is staged there. Where servers share a store, each
//! says every few seconds that it is there, so that the others know whom not to wait for.

use crate::store::PlaceDoc;
use std::path::Path;
use std::time::Duration;
use towpath_api::id;
use towpath_durable::Shutdown;
use towpath_store::{Store, StoreError, Txn};

const FILE: &str = "place";
const MAX_BYTES: usize = 64;
const EVERY: Duration = Duration::from_secs(4);
/// A server that was not seen for so long is taken for dead: longer than any lease of its work.
const DEAD_MS: i64 = 25_000;

/// Says that the server is there, until `shutdown`.
pub async fn tell(store: Store, place: String, shutdown: Shutdown) {
    while store.is_shared() && !shutdown.is_shutdown() {
        let mut txn = Txn::new();
        txn.put(&PlaceDoc { place: place.clone(), seen_at: store.now() });
        if let Err(error) = store.commit(txn).await {
            tracing::warn!(%error, "this server cannot say that it is there");
        }
        shutdown.sleep(EVERY).await;
    }
}

/// Whether the server with that disk is gone, as far as one can see. Servers alone always come back.
pub async fn is_dead(store: &Store, place: &str) -> Result<bool, StoreError> {
    let seen = store.get::<PlaceDoc>(place).await?;
    Ok(store.is_shared() && seen.is_none_or(|seen| store.now().since_millis(seen.seen_at) > DEAD_MS))
}

/// The name in `data_dir`. Where it cannot be kept it lasts as long as this process: what is staged is then
/// not found again, and its builds end as faults.
pub fn name(data_dir: &Path) -> String {
    let path = data_dir.join(FILE);
    if let Ok(name) = std::fs::read_to_string(&path)
        && !name.is_empty()
        && name.len() <= MAX_BYTES
    {
        return name;
    }
    let name = id::uuid();
    let kept = std::fs::create_dir_all(data_dir).and_then(|()| std::fs::write(&path, &name));
    if let Err(error) = kept {
        tracing::error!(path = %path.display(), %error, "the name of this server's disk cannot be kept");
    }
    name
}
