//! The few rtnetlink requests that a sandbox's network needs, without forking `ip` for each.
//!
//! Message layout: linux/netlink.h, linux/rtnetlink.h and rtnetlink(7).

use std::ffi::CString;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::sys::check;

const VETH_INFO_PEER: u16 = 1;
const NLM_CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;

/// A rtnetlink socket of the current network namespace.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// What a route does with its packets.
pub enum Route {
    DefaultVia(Ipv4Addr),
    Prohibit(Ipv4Addr, u8),
}

impl Netlink {
    pub fn open() -> io::Result<Netlink> {
        // SAFETY: no pointers are passed.
        let fd = check(
            unsafe {
                libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
            }
            .into(),
        )?;
        // SAFETY: the kernel has just returned this descriptor.
        Ok(Netlink { socket: unsafe { OwnedFd::from_raw_fd(fd as i32) }, sequence: 0 })
    }

    /// A pair of virtual interfaces, `peer` in the network namespace of process `peer_pid`.
    pub fn add_veth(&mut self, name: &str, peer: &str, peer_pid: i32, mtu_bytes: u32) -> io::Result<()> {
        let mut request = Request::new(libc::RTM_NEWLINK, NLM_CREATE);
        request.link_header(0, 0, 0);
        request.text(libc::IFLA_IFNAME, name);
        request.attribute(libc::IFLA_MTU, &mtu_bytes.to_ne_bytes());
        let info = request.begin(libc::IFLA_LINKINFO);
        request.text(libc::IFLA_INFO_KIND, "veth");
        let data = request.begin(libc::IFLA_INFO_DATA);
        let side = request.begin(VETH_INFO_PEER);
        request.link_header(0, 0, 0);
        request.text(libc::IFLA_IFNAME, peer);
        request.attribute(libc::IFLA_MTU, &mtu_bytes.to_ne_bytes());
        request.attribute(libc::IFLA_NET_NS_PID, &peer_pid.to_ne_bytes());
        request.end(side);
        request.end(data);
        request.end(info);
        self.ask(request)
    }

    pub fn delete(&mut self, interface: &str) -> io::Result<()> {
        let index = index_of(interface)?;
        let mut request = Request::new(libc::RTM_DELLINK, 0);
        request.link_header(index, 0, 0);
        self.ask(request)
    }

    pub fn set_up(&mut self, interface: &str) -> io::Result<()> {
        let index = index_of(interface)?;
        let mut request = Request::new(libc::RTM_NEWLINK, 0);
        request.link_header(index, libc::IFF_UP as u32, libc::IFF_UP as u32);
        self.ask(request)
    }

    pub fn add_address(&mut self, interface: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let index = index_of(interface)?;
        let mut request = Request::new(libc::RTM_NEWADDR, NLM_CREATE);
        request.bytes(&[libc::AF_INET as u8, prefix, 0, libc::RT_SCOPE_UNIVERSE]);
        request.bytes(&index.to_ne_bytes());
        request.attribute(libc::IFA_LOCAL, &address.octets());
        request.attribute(libc::IFA_ADDRESS, &address.octets());
        self.ask(request)
    }

    pub fn add_route(&mut self, route: Route) -> io::Result<()> {
        let mut request = Request::new(libc::RTM_NEWROUTE, NLM_CREATE);
        let (prefix, kind) = match route {
            Route::DefaultVia(_) => (0, libc::RTN_UNICAST),
            Route::Prohibit(_, prefix) => (prefix, libc::RTN_PROHIBIT),
        };
        let (table, protocol) = (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC);
        let family = libc::AF_INET as u8;
        request.bytes(&[family, prefix, 0, 0, table, protocol, libc::RT_SCOPE_UNIVERSE, kind]);
        request.bytes(&0u32.to_ne_bytes());
        match route {
            Route::DefaultVia(gateway) => request.attribute(libc::RTA_GATEWAY, &gateway.octets()),
            Route::Prohibit(address, _) => request.attribute(libc::RTA_DST, &address.octets()),
        }
        self.ask(request)
    }

    fn ask(&mut self, request: Request) -> io::Result<()> {
        self.sequence += 1;
        let bytes = request.finish(self.sequence);
        // SAFETY: the buffer outlives the call.
        check(unsafe { libc::send(self.socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) } as i64)?;
        let mut answer = [0u8; 4096];
        // SAFETY: the kernel writes at most the buffer's length.
        let size =
            check(
                unsafe { libc::recv(self.socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) }
                    as i64,
            )?;
        // nlmsghdr (16 bytes), then nlmsgerr's error number: 0 acknowledges.
        let code =
            answer.get(16..20).filter(|_| size >= 20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
        match code {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(-error)),
            None => Err(io::Error::other("short netlink answer")),
        }
    }
}

/// The index of an interface of the current network namespace.
pub fn index_of(interface: &str) -> io::Result<u32> {
    let name = CString::new(interface).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the name outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, flags: u16) -> Request {
        let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut request = Request(Vec::with_capacity(256));
        request.bytes(&0u32.to_ne_bytes());
        request.bytes(&kind.to_ne_bytes());
        request.bytes(&flags.to_ne_bytes());
        request.bytes(&[0; 8]);
        request
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// `struct ifinfomsg`.
    fn link_header(&mut self, index: u32, flags: u32, change: u32) {
        self.bytes(&[0; 4]);
        self.bytes(&index.to_ne_bytes());
        self.bytes(&flags.to_ne_bytes());
        self.bytes(&change.to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let at = self.begin(kind);
        self.bytes(value);
        self.end(at);
    }

    fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    fn begin(&mut self, kind: u16) -> usize {
        let at = self.0.len();
        self.bytes(&0u16.to_ne_bytes());
        self.bytes(&kind.to_ne_bytes());
        at
    }

    fn end(&mut self, at: usize) {
        let size = (self.0.len() - at) as u16;
        self.0[at..at + 2].copy_from_slice(&size.to_ne_bytes());
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let size = self.0.len() as u32;
        self.0[0..4].copy_from_slice(&size.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}
