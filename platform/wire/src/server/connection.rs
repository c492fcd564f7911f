//! Sockets: accepting, keeping alive, draining.

use super::handler::{Peer, Request};
use super::tls::Door;
use super::{HEAD_TIMEOUT, Server};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};

/// What a listener's clients speak.
#[derive(Clone)]
pub(super) enum Transport {
    Plain,
    Tls(Arc<Door>),
}

pub(super) async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    transport: Transport,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(server.max_connections));
    let (stop, stopped) = watch::channel(false);
    // Every connection holds a sender; the receiver ends when the last one is gone.
    let (alive, mut gone) = mpsc::channel::<()>(1);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        // A full house leaves further clients in the kernel's queue.
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = async {
                let slot = slots.clone().acquire_owned().await;
                (slot, listener.accept().await)
            } => accepted,
        };
        let (slot, (stream, address)) = match accepted {
            (Ok(slot), Ok(accepted)) => (slot, accepted),
            (Ok(_), Err(error)) if is_passing(&error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            (Ok(_), Err(error)) => return Err(error),
            (Err(closed), _) => return Err(io::Error::other(closed)),
        };
        let connection = one(server.clone(), stream, address, transport.clone(), stopped.clone());
        let alive = alive.clone();
        tokio::spawn(async move {
            connection.await;
            drop((slot, alive));
        });
    }
    drop(listener);
    let _ = stop.send(true);
    drop(alive);
    let ended = async {
        gone.recv().await;
        // What clients that hung up have left at work.
        server.operations.all_free().await;
        server.held.all_free().await;
    };
    if tokio::time::timeout(server.drain, ended).await.is_err() {
        tracing::warn!("some requests did not end within the drain time");
    }
    Ok(())
}

/// Errors of one client, or of a moment without free descriptors.
fn is_passing(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted | OutOfMemory
    ) || matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

async fn one(
    server: Arc<Server>,
    stream: TcpStream,
    address: SocketAddr,
    transport: Transport,
    mut stopped: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let door = match transport {
        Transport::Plain => return http(server, stream, Peer { address, secure: false }, stopped).await,
        Transport::Tls(door) => door,
    };
    let opened = tokio::select! {
        opened = door.open(stream) => opened,
        // Nobody waits for an answer yet.
        _ = stopped.wait_for(|stop| *stop) => return,
    };
    match opened {
        Ok(stream) => http(server, stream, Peer { address, secure: true }, stopped).await,
        Err(error) => tracing::debug!(%error, peer = %address, "a connection was not opened"),
    }
}

/// One connection's requests, until either side ends it.
async fn http(
    server: Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.answer(request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { let _ = stopped.wait_for(|stop| *stop).await; } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, peer = %peer.address, "a connection ended early");
    }
}
