//! `towpath backup` and `towpath restore`: a data folder as one file, and back.

use super::CliError;
use crate::{backup, config};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  towpath backup towpath-monday.tar\n  \
                        towpath backup --data ./state /mnt/backups/towpath.tar\n\n\
                        The server may run meanwhile. The file holds the keys that protect every secret: it is\n\
                        readable by you alone, and should stay so. Nodes on a shared database and object store are\n\
                        backed up with pg_dump and a copy of the objects: docs/configuration.md has the commands.")]
pub struct Backup {
    /// The new file
    file: PathBuf,
    /// The server's data folder [default: TOWPATH_DATA, else where `towpath up` keeps its state]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Backup {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let data = self.data.unwrap_or_else(config::default_data);
        let made = runtime()?.block_on(backup::backup(&data, &self.file))?;
        println!(
            "{}: {} files, {} bytes of {}",
            self.file.display(),
            made.files.len(),
            made.bytes,
            data.display()
        );
        println!("  restore it with: towpath restore {} --data NEW-DIR", self.file.display());
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  towpath restore towpath-monday.tar --data /var/lib/towpath\n  \
                        towpath up --data /var/lib/towpath\n\nBuilds that ran when the backup was made begin again.")]
pub struct Restore {
    /// A file that `towpath backup` made
    file: PathBuf,
    /// The new data folder; it must be empty or not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

impl Restore {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let made = runtime()?.block_on(backup::restore(&self.file, &self.data))?;
        let data = self.data.display();
        println!(
            "{data}: {} files, {} bytes, as they were at {}",
            made.files.len(),
            made.bytes,
            made.created_at
        );
        println!("  start it with: towpath up --data {data}");
        Ok(ExitCode::SUCCESS)
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
