//! Doors: listeners on one side of a sandbox's network, each with one fixed address on the other side.
//!
//! Sockets of the inside come from init (a socket belongs to the network namespace that it was made in); the
//! supervisor itself stays in the host's and carries the bytes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

/// Connections at a time, per door.
const CONNECTIONS: usize = 512;
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(5);
const DATAGRAM_BYTES: usize = 4096;

/// One way through.
#[derive(Debug)]
pub enum Door {
    /// From a listener inside to an address outside.
    Out { listener: TcpListener, outside: SocketAddr },
    /// From a listener outside to a port inside.
    In { listener: TcpListener, inside_port: u16 },
    /// Name lookups from inside to a resolver that only the host reaches.
    Names { socket: UdpSocket, outside: SocketAddr },
}

/// Asks for an unconnected socket of the inside's network.
pub type SocketRequests = mpsc::Sender<oneshot::Sender<OwnedFd>>;

/// Serves a door for as long as the runtime lives.
pub async fn serve(door: Door, sockets: SocketRequests) {
    let result = match door {
        Door::Out { listener, outside } => {
            accept(listener, move |near| async move {
                let far = tokio::time::timeout(CONNECT, tokio::net::TcpStream::connect(outside)).await??;
                carry(near, far).await
            })
            .await
        }
        Door::In { listener, inside_port } => {
            accept(listener, move |near| {
                let sockets = sockets.clone();
                async move { carry(near, connect_inside(&sockets, inside_port).await?).await }
            })
            .await
        }
        Door::Names { socket, outside } => names(socket, outside).await,
    };
    // Accepting fails only when the listener itself is broken; the other doors go on.
    drop(result);
}

async fn accept<F, W>(listener: TcpListener, work: F) -> std::io::Result<()>
where
    F: Fn(tokio::net::TcpStream) -> W,
    W: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Connections end with the door.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        match listener.accept().await {
            Ok((near, _)) => {
                let carried = work(near);
                connections.spawn(async move {
                    // A broken connection is the two ends' own affair.
                    carried.await.ok();
                    drop(place);
                });
            }
            // Out of descriptors or an aborted connection: wait, go on.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn carry(mut near: tokio::net::TcpStream, mut far: tokio::net::TcpStream) -> std::io::Result<()> {
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}

async fn connect_inside(sockets: &SocketRequests, port: u16) -> std::io::Result<tokio::net::TcpStream> {
    let gone = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let (give, take) = oneshot::channel();
    sockets.send(give).await.map_err(|_| gone())?;
    let socket = take.await.map_err(|_| gone())?;
    check_stream(&socket)?;
    // SAFETY: the descriptor is owned, open and handed over whole.
    let socket = unsafe { tokio::net::TcpSocket::from_raw_fd(socket.into_raw_fd()) };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    tokio::time::timeout(CONNECT, socket.connect(address)).await?
}

/// The descriptor comes from inside: take only what was asked for.
fn check_stream(socket: &OwnedFd) -> std::io::Result<()> {
    let (mut kind, mut size) = (0i32, 4u32);
    // SAFETY: both variables outlive the call.
    let asked = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            (&raw mut kind).cast(),
            &raw mut size,
        )
    };
    if asked != 0 || kind != libc::SOCK_STREAM {
        return Err(std::io::Error::other("not a stream socket"));
    }
    // SAFETY: no memory is involved.
    unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    Ok(())
}

async fn names(socket: UdpSocket, resolver: SocketAddr) -> std::io::Result<()> {
    let socket = Arc::new(tokio::net::UdpSocket::from_std(socket)?);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut query = vec![0; DATAGRAM_BYTES];
    loop {
        let (size, from) = socket.recv_from(&mut query).await?;
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (query, socket) = (query[..size].to_vec(), socket.clone());
        tokio::spawn(async move {
            if let Ok(answer) = ask(&query, resolver).await {
                socket.send_to(&answer, from).await.ok();
            }
            drop(place);
        });
    }
}

async fn ask(query: &[u8], resolver: SocketAddr) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if resolver.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = tokio::net::UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(query).await?;
    let mut answer = vec![0; DATAGRAM_BYTES];
    let size = tokio::time::timeout(ANSWER, socket.recv(&mut answer)).await??;
    answer.truncate(size);
    Ok(answer)
}
