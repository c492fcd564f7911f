//! The sandbox's network: a veth as root, pasta or slirp4netns rootless.
//!
//! The namespace is always the sandbox's own, and goes with its last process; the veth goes with it. NAT and
//! filter rules are the machine's and are set once per server (see [`crate::nat`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use nix::ifaddrs::getifaddrs;

use crate::messages::{Failure, InsideAddress, Plan, Step};
use crate::netlink::Netlink;
use crate::slots::Slot;

/// Interfaces of sandboxes carry this prefix; the machine-wide rules go by it.
pub const PREFIX: &str = "twp";
const INSIDE: &str = "eth0";

/// Gives init's network namespace a veth to the host.
pub fn connect(plan: &Plan, slot: &Slot, init_pid: i32) -> Result<InsideAddress, Failure> {
    let name = format!("{PREFIX}{}", slot.number);
    let (gateway, address) = slot.addresses(plan.network.range);
    let mut netlink = Netlink::open().step(|| "open netlink".into())?;
    let step = || format!("make the interface {name}");
    let (mtu_bytes, mut tries) = (uplink_mtu_bytes(), 0);
    // The namespace of the number's last holder is taken down in the background, its interface with it; the
    // number is ours now, so what still has the name is in nobody's use.
    while let Err(e) = netlink.add_veth(&name, INSIDE, init_pid, mtu_bytes) {
        tries += 1;
        if e.raw_os_error() != Some(libc::EEXIST) || tries > 100 {
            return Err(e).step(step);
        }
        netlink.delete(&name).ok();
    }
    std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1").ok();
    netlink.add_address(&name, gateway, 30).step(step)?;
    netlink.set_up(&name).step(step)?;
    Ok(InsideAddress { interface: INSIDE.into(), address, prefix: 30, gateway })
}

/// Of the interface with the default route: larger packets would have to be refused on the way, which not every
/// network tells.
fn uplink_mtu_bytes() -> u32 {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let uplink = routes
        .lines()
        .skip(1)
        .map(|l| l.split_whitespace().collect::<Vec<_>>())
        .find(|l| l.get(1) == Some(&"00000000"));
    let mtu = uplink.and_then(|l| std::fs::read_to_string(format!("/sys/class/net/{}/mtu", l[0])).ok());
    mtu.and_then(|m| m.trim().parse().ok()).filter(|m| (576..=9000).contains(m)).unwrap_or(1500)
}

/// What the inside's own routes close: the host's addresses, and link-local ones, where clouds give out
/// credentials.
pub fn unreachable() -> io::Result<Vec<(Ipv4Addr, u8)>> {
    let own = own_addresses()?.into_iter().map(|address| (address, 32));
    Ok(own.chain([(Ipv4Addr::new(169, 254, 0, 0), 16)]).collect())
}

/// The host's own addresses but loopback, and but other sandboxes' gateways (which the filter closes).
pub fn own_addresses() -> io::Result<Vec<Ipv4Addr>> {
    let mut found = Vec::new();
    for interface in getifaddrs()?.filter(|i| !i.interface_name.starts_with(PREFIX)) {
        let address = interface.address.as_ref().and_then(|a| a.as_sockaddr_in()).map(|a| a.ip());
        found.extend(address.filter(|a| !a.is_loopback()));
    }
    Ok(found)
}

/// Resolvers for the inside: the host's, or loopback with a relay to the first one that only the host reaches.
pub fn resolvers(plan: &Plan) -> (Vec<IpAddr>, Option<IpAddr>) {
    let own = own_addresses().unwrap_or_default();
    let local = |a: &IpAddr| match a {
        IpAddr::V4(v4) => v4.is_loopback() || own.contains(v4),
        // The inside has no IPv6 but its loopback.
        IpAddr::V6(_) => true,
    };
    let direct: Vec<IpAddr> = plan.resolvers.iter().copied().filter(|a| !local(a)).collect();
    if !direct.is_empty() {
        return (direct, None);
    }
    let relayed = plan.resolvers.iter().copied().find(local);
    (relayed.map(|_| IpAddr::V4(Ipv4Addr::LOCALHOST)).into_iter().collect(), relayed)
}
