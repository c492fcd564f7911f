//! TLS in front of a listener.
//!
//! Purpose: what comes in is TLS, or is told so; nothing else is answered on such a port. A handshake has a
//! task of its own, so that a slow one never holds up the next client.
//! State: the handshakes at work. Invariants: a handshake ends within [`HANDSHAKE_TIMEOUT`]; there are at
//! most [`MAX_HANDSHAKES`], and one more ends the oldest: a client that means it needs milliseconds, so whoever
//! is pushed out was not going to finish.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HANDSHAKES: usize = 256;
/// The first byte of every TLS connection: a record of the type "handshake".
const HANDSHAKE_RECORD: u8 = 22;
/// How much of a plain request is taken, so that its sender reads the answer instead of a reset.
const MAX_PLAIN_BYTES: u64 = 64 << 10;

/// Why a connection was not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unopened {
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("the TLS handshake took longer than {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
    #[error("more than {MAX_HANDSHAKES} TLS handshakes were at work, and this was the oldest")]
    PushedOut,
    #[error("plain HTTP came to a port that speaks TLS")]
    Plain,
}

/// Turns accepted sockets into TLS connections.
pub(super) struct Door {
    acceptor: TlsAcceptor,
    next: AtomicU64,
    /// By age: dropping a sender ends its handshake.
    at_work: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
}

/// A handshake's place among those at work.
struct Place<'a> {
    door: &'a Door,
    number: u64,
    pushed_out: oneshot::Receiver<()>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.door.lock().remove(&self.number);
    }
}

impl Door {
    pub fn new(config: Arc<ServerConfig>) -> Door {
        Door { acceptor: config.into(), next: AtomicU64::new(0), at_work: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> Place<'_> {
        let (sender, pushed_out) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut at_work = self.lock();
        at_work.insert(number, sender);
        if at_work.len() > MAX_HANDSHAKES {
            at_work.pop_first();
        }
        Place { door: self, number, pushed_out }
    }

    pub async fn open(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Unopened> {
        let mut place = self.place();
        tokio::select! {
            opened = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.handshake(stream)) => {
                opened.unwrap_or(Err(Unopened::Timeout))
            }
            _ = &mut place.pushed_out => Err(Unopened::PushedOut),
        }
    }

    async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Unopened> {
        let mut first = [0];
        let count = stream.peek(&mut first).await.map_err(Unopened::Handshake)?;
        if count == 1 && first[0] != HANDSHAKE_RECORD {
            refuse(stream).await.map_err(Unopened::Handshake)?;
            return Err(Unopened::Plain);
        }
        self.acceptor.accept(stream).await.map_err(Unopened::Handshake)
    }
}

/// Tells a client that speaks plain HTTP what to do.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    const TEXT: &str = "This port speaks TLS: use https://. `towpath ca` prints the certificate of the server's own authority.\n";
    let length = TEXT.len();
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n";
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n{TEXT}").as_bytes()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(MAX_PLAIN_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}
