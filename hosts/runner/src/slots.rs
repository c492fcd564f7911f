//! Numbers that no two sandboxes of this machine share: each stands for a uid range and a /30 of addresses.
//!
//! A number is held by an advisory lock on a file, so it is free again the moment its supervisor dies.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

/// Above what systemd-nspawn and subuid ranges use, below the signed limit that some programs have.
const FIRST_UID: u32 = 0x7000_0000;
const UIDS: u32 = 65_536;
const COUNT: u32 = 4_096;
const FOLDER: &str = "/run/towpath-slots";

/// A number, as long as this value lives.
pub struct Slot {
    pub number: u32,
    _lock: File,
}

impl Slot {
    /// Takes the lowest free number. Root only: the numbers are the machine's.
    pub fn take() -> io::Result<Slot> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(FOLDER)?;
        for number in 0..COUNT {
            let path = format!("{FOLDER}/{number}");
            let file =
                File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
            match file.try_lock() {
                Ok(()) => return Ok(Slot { number, _lock: file }),
                Err(fs::TryLockError::WouldBlock) => {}
                Err(fs::TryLockError::Error(e)) => return Err(e),
            }
        }
        Err(io::Error::other(format!("all {COUNT} sandbox numbers of this machine are taken")))
    }

    /// The host's number for the inside's root; 65536 follow.
    pub fn first_uid(&self) -> u32 {
        FIRST_UID + self.number * UIDS
    }

    /// The host's end of the sandbox's /30, and the inside's.
    pub fn addresses(&self, range: Ipv4Addr) -> (Ipv4Addr, Ipv4Addr) {
        let base = (u32::from(range) & 0xffff_0000) + self.number * 4;
        (Ipv4Addr::from(base + 1), Ipv4Addr::from(base + 2))
    }
}
