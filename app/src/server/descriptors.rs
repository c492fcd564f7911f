//! File descriptors: every client has one, and an agent's is held open. Shells start programs with room for
//! 1,024, for the sake of programs that use `select`; a server asks for what it may have.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// More than a server of this size can use.
const WANTED: u64 = 65_536;
/// Of all descriptors, those that are not clients': files, sandboxes, the database.
const OWN_SHARE: u64 = 4;
const MAX_CONNECTIONS: u64 = 20_000;

/// Raises this process's limit as far as it may, and says how many clients fit into it.
pub fn make_room() -> usize {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1_024, 1_024));
    let wanted = hard.min(WANTED).max(soft);
    let room = match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, limit = soft, "the limit of open files stays as it is");
            soft
        }
    };
    connections(room)
}

fn connections(room: u64) -> usize {
    (room - room / OWN_SHARE).min(MAX_CONNECTIONS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_the_servers_own() {
        assert_eq!(connections(1_024), 768);
        assert_eq!(connections(1 << 20), 20_000);
    }
}
