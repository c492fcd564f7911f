//! The machine's side of egress as root: forwarding, address translation and the filter that keeps the host's
//! own sockets out of reach. One nftables table for all sandboxes, set anew in one transaction; it goes by the
//! interfaces' prefix, so no sandbox changes it. Where there is no `nft`, iptables chains do the same.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::error::RunnerError;
use crate::supervisor::network::PREFIX;

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// Marks connections that sandboxes open, for the translation. "twp" in ASCII.
const MARK: &str = "0x747770";

/// Sets forwarding and rules. Blocking.
pub fn prepare() -> Result<(), RunnerError> {
    let forwards = fs::read_to_string(FORWARDING).map_err(RunnerError::file(FORWARDING))?;
    // A machine that was no router must not become one for others: then only sandboxes are forwarded.
    let others = if forwards.trim() == "1" && !closed_for_others() { "accept" } else { "drop" };
    if let Err(nft) = load_rules(&rules(others)) {
        load_chains(others).map_err(|iptables| missing(&format!("{nft}; {iptables}")))?;
    }
    if forwards.trim() != "1" {
        fs::write(FORWARDING, "1").map_err(RunnerError::file(FORWARDING))?;
        tracing::info!("IPv4 forwarding is on now, for sandboxes only");
    }
    open_docker_filter();
    Ok(())
}

/// Whether an earlier run turned forwarding on for sandboxes only.
fn closed_for_others() -> bool {
    let listed = Command::new("nft").args(["list", "chain", "inet", "towpath", "forward"]).output();
    listed.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("policy drop"))
}

fn rules(others: &str) -> String {
    format!(
        "add table inet towpath
delete table inet towpath
table inet towpath {{
  chain forward {{
    type filter hook forward priority -10; policy {others};
    iifname \"{PREFIX}*\" oifname \"{PREFIX}*\" reject
    iifname \"{PREFIX}*\" ip daddr 169.254.0.0/16 reject
    iifname \"{PREFIX}*\" meta nfproto ipv6 drop
    iifname \"{PREFIX}*\" ct mark set {MARK} accept
    oifname \"{PREFIX}*\" ct state established,related accept
    oifname \"{PREFIX}*\" drop
  }}
  chain input {{
    type filter hook input priority -10; policy accept;
    iifname \"{PREFIX}*\" ct state established,related accept
    iifname \"{PREFIX}*\" reject
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ct mark {MARK} masquerade
  }}
}}
"
    )
}

fn missing(detail: &str) -> RunnerError {
    RunnerError::Unavailable {
        what: format!("network egress ({detail})"),
        remedy: "install nftables (`apt-get install nftables`) and let the server change its rules".into(),
    }
}

fn load_rules(rules: &str) -> Result<(), String> {
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = nft.spawn().map_err(|e| format!("nft: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(rules.as_bytes()).map_err(|e| format!("nft: {e}"))?;
    }
    let output = child.wait_with_output().map_err(|e| format!("nft: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// The same rules in iptables' words; each is added once.
fn load_chains(others: &str) -> Result<(), String> {
    let (sandboxes, others) = (format!("{PREFIX}+"), others == "drop");
    let is = sandboxes.as_str();
    let mut rules: Vec<(&str, Vec<&str>)> = vec![
        ("filter", vec!["FORWARD", "-i", is, "-j", "ACCEPT"]),
        ("filter", vec!["FORWARD", "-o", is, "-j", "DROP"]),
        (
            "filter",
            vec!["FORWARD", "-o", is, "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"],
        ),
        ("filter", vec!["FORWARD", "-i", is, "-d", "169.254.0.0/16", "-j", "REJECT"]),
        ("filter", vec!["FORWARD", "-i", is, "-o", is, "-j", "REJECT"]),
        ("filter", vec!["INPUT", "-i", is, "-j", "REJECT"]),
        (
            "filter",
            vec!["INPUT", "-i", is, "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"],
        ),
        ("mangle", vec!["FORWARD", "-i", is, "-j", "CONNMARK", "--set-mark", MARK]),
        ("nat", vec!["POSTROUTING", "-m", "connmark", "--mark", MARK, "-j", "MASQUERADE"]),
    ];
    if others {
        rules.insert(0, ("filter", vec!["FORWARD", "!", "-i", is, "-j", "DROP"]));
    }
    // Each goes to the top, so the last of a chain comes first in it.
    for (table, rule) in rules {
        let there = iptables(&[&["-t", table, "-C"], &rule[..]].concat()).is_ok();
        if !there {
            iptables(&[&["-t", table, "-I"], &rule[..]].concat())?;
        }
    }
    Ok(())
}

fn iptables(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("iptables").arg("-w").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("iptables: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("iptables: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Docker closes forwarding for all but its own; an accept elsewhere does not outvote it, so ask in the chain
/// that it leaves to others. Nothing to do where that chain is not.
fn open_docker_filter() {
    if iptables(&["-n", "-L", "DOCKER-USER"]).is_err() {
        return;
    }
    let wildcard = format!("{PREFIX}+");
    for direction in ["-i", "-o"] {
        let rule = ["DOCKER-USER", direction, &wildcard, "-j", "ACCEPT"];
        let there = iptables(&[&["-C"], &rule[..]].concat()).is_ok();
        if !there && let Err(e) = iptables(&[&["-I"], &rule[..]].concat()) {
            tracing::warn!("cannot open Docker's forward filter, so builds may have no network: {e}");
        }
    }
}
