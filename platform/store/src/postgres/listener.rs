//! News of other processes: each commit notifies, each process listens, on a connection of its own.
//!
//! A notification is sent within the transaction that it tells of, so it arrives if and only if that was
//! committed. What is sent while nobody listens is lost: so after each new connection, and again and again
//! while there is none, everybody is woken as if everything had changed.

use super::failure::Failure;
use super::group::{CHANNEL, Notice};
use super::link::backoff;
use super::place::Place;
use crate::signals::Signals;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::AsyncMessage;

/// How often a silent line is tested, and how long the answer may take.
const HEARTBEAT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// Listens until it is dropped.
pub(super) struct Listener(JoinHandle<()>);

impl Listener {
    /// Listens already when it returns: nothing that comes later is missed.
    pub async fn start(place: Arc<Place>, signals: Arc<Signals>, own: String) -> Result<Listener, Failure> {
        let line = connect(&place, &signals, &own)
            .await
            .map_err(|reason| Failure::Unreachable { place: place.name.clone(), reason })?;
        Ok(Listener(tokio::spawn(listen(place, signals, own, line))))
    }

    pub fn stop(&self) {
        self.0.abort();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn listen(place: Arc<Place>, signals: Arc<Signals>, own: String, mut line: Line) {
    loop {
        let (client, driver) = line;
        let error = attend(client, driver).await;
        let database = &place.name;
        tracing::warn!(database, %error, "not told of other servers' commits; asking instead");
        let mut failures = 0;
        line = loop {
            signals.fire_all();
            if let Ok(line) = connect(&place, &signals, &own).await {
                break line;
            }
            failures += 1;
            sleep(backoff(failures)).await;
        };
        signals.fire_all();
    }
}

/// A connection that listens, and the task that reads from it.
type Line = (tokio_postgres::Client, Driver);

/// Ends with whoever waits for it.
struct Driver(JoinHandle<String>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn connect(place: &Place, signals: &Arc<Signals>, own: &str) -> Result<Line, String> {
    let connected = timeout(CONNECT_TIMEOUT, place.config.connect(place.tls.clone())).await;
    let (client, mut connection) =
        connected.map_err(|_| "no connection in time".to_owned())?.map_err(|error| error.to_string())?;
    let (signals, own) = (signals.clone(), own.to_owned());
    let driver = Driver(tokio::spawn(async move {
        loop {
            match std::future::poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    tell(&signals, notification.payload(), &own);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.to_string(),
                None => return "the connection was closed".to_owned(),
            }
        }
    }));
    let listening = timeout(CONNECT_TIMEOUT, client.batch_execute(&format!("LISTEN {CHANNEL}"))).await;
    listening.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
    Ok((client, driver))
}

/// Until the line is dead; says why.
async fn attend(client: tokio_postgres::Client, mut driver: Driver) -> String {
    loop {
        tokio::select! {
            ended = &mut driver.0 => return ended.unwrap_or_else(|error| error.to_string()),
            () = sleep(HEARTBEAT) => {}
        }
        match timeout(HEARTBEAT, client.batch_execute("")).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "no sign of life".to_owned(),
        }
    }
}

fn tell(signals: &Signals, payload: &str, own: &str) {
    match serde_json::from_str::<Notice>(payload) {
        // This process told itself when it committed.
        Ok(notice) if notice.writer == own => {}
        Ok(Notice { wakes: Some(wakes), .. }) => signals.fire(&wakes),
        // Much changed, or a newer version says more than this one understands.
        _ => signals.fire_all(),
    }
}
