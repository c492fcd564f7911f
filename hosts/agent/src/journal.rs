//! The command at hand, on disk: what keeps begun work from running twice, and results from getting lost.
//!
//! State: one file, `ongoing-deployment/command.json`, replaced as a whole and synced.
//! ```text
//! (nothing) -> Accepted -> Running -> Finished -> (nothing)
//! ```
//! `Accepted` is written before the server hears of the acknowledgement (for a no-op nothing is written),
//! `Running` before the first effect, `Finished` before the result is sent. So an agent that died in
//! - `Accepted` has done nothing yet: it acknowledges again, and runs the command if it is still wanted;
//! - `Running` may have done anything: leftover processes are ended, and the command fails with AWS's
//!   "failed after restart" code, never to be run again;
//! - `Finished` has the result: it is delivered.

use crate::control::Command;
use crate::diagnostics::Outcome;
use crate::layout::{Layout, remove_durably, write_durably};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    Accepted { command: Command },
    Running { command: Command, deployment_id: String },
    Finished { command: Command, outcome: Outcome },
}

#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    pub fn new(layout: &Layout) -> Journal {
        Journal { path: layout.ongoing().join("command.json") }
    }

    /// A file that cannot be read is set aside, for it must not stop the agent for good.
    pub fn load(&self) -> io::Result<Option<Entry>> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        match serde_json::from_slice(&text) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) => {
                let aside = self.path.with_extension("damaged");
                tracing::error!(
                    "{} cannot be read ({error}); it is kept as {}",
                    self.path.display(),
                    aside.display()
                );
                fs::rename(&self.path, aside)?;
                Ok(None)
            }
        }
    }

    pub fn save(&self, entry: &Entry) -> io::Result<()> {
        let text = serde_json::to_vec(entry).map_err(io::Error::other)?;
        write_durably(&self.path, &text, 0o600)
    }

    pub fn clear(&self) -> io::Result<()> {
        remove_durably(&self.path)
    }
}
