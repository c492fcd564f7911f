//! The memory limit where no control group can be made: watched from outside, many times a second.
//!
//! Weaker than a control group, and reported so: page cache is not counted, and what grows within one interval
//! is seen late (a resource limit on each process's own data is the backstop).

use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sys;

const INTERVAL: Duration = Duration::from_millis(50);
/// A sandbox with more processes is over its process limit long before.
const PROCESSES: usize = 65_536;

/// Kills the largest process below `init_pid` whenever all of them together hold more than `limit_bytes`;
/// counts the kills.
pub async fn watch(init_pid: i32, limit_bytes: u64, kills: Arc<AtomicU64>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let held: Vec<(i32, u64)> =
            descendants(init_pid).into_iter().map(|pid| (pid, held_bytes(pid))).collect();
        if held.iter().map(|(_, bytes)| bytes).sum::<u64>() <= limit_bytes {
            continue;
        }
        if let Some((pid, _)) = held.iter().max_by_key(|(_, bytes)| bytes)
            && kill(*pid)
        {
            kills.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A process's children are its threads' children.
pub(super) fn descendants(of: i32) -> Vec<i32> {
    let (mut found, mut next) = (Vec::new(), vec![of]);
    while let Some(pid) = next.pop() {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|c| c.parse().ok()) {
                found.push(child);
                next.push(child);
            }
        }
        if found.len() > PROCESSES {
            break;
        }
    }
    found
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim)
}

/// Its own memory: anonymous and shared, not files.
fn held_bytes(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes = |name| field(&status, name)?.strip_suffix(" kB")?.trim().parse::<u64>().ok();
    (kilobytes("RssAnon:").unwrap_or(0) + kilobytes("RssShmem:").unwrap_or(0)) * 1024
}

/// Kills a process if it is still one of a sandbox: its number may have passed to another meanwhile.
fn kill(pid: i32) -> bool {
    // SAFETY: no memory is involved.
    let Ok(fd) = sys::check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }) else { return false };
    // SAFETY: the kernel has just returned this descriptor.
    let pidfd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // One number for each process namespace that it is in.
    let nested = field(&status, "NSpid:").is_some_and(|pids| pids.split_whitespace().count() > 1);
    nested && sys::signal_pidfd(std::os::fd::AsFd::as_fd(&pidfd), libc::SIGKILL).is_ok()
}
