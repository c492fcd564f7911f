//! A sandbox that is none: commands run on the host, binds are symlinks into a folder of the test's own.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use towpath_api::async_trait;
use towpath_codebuild::sandbox::{Sandbox, Sandboxes};
use towpath_runner::{BindSource, Command, ExitStatus, RunnerError, Spec};

pub struct Folders {
    pub root: PathBuf,
    pub started: AtomicUsize,
    /// Sandboxes that were started and not destroyed.
    pub alive: Arc<AtomicUsize>,
    pub specs: Mutex<Vec<Spec>>,
}

impl Folders {
    pub fn new(root: PathBuf) -> Arc<Folders> {
        let (started, alive) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        Arc::new(Folders { root, started, alive, specs: Mutex::new(Vec::new()) })
    }
}

#[async_trait]
impl Sandboxes for Folders {
    fn base(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    async fn start(&self, spec: Spec) -> Result<Arc<dyn Sandbox>, RunnerError> {
        for bind in &spec.binds {
            let BindSource::Path(source) = &bind.source else { continue };
            std::fs::create_dir_all(bind.target.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(source, &bind.target).unwrap();
        }
        self.started.fetch_add(1, Ordering::SeqCst);
        self.alive.fetch_add(1, Ordering::SeqCst);
        self.specs.lock().unwrap().push(spec);
        Ok(Arc::new(Folder { groups: Mutex::new(Vec::new()), alive: self.alive.clone() }))
    }
}

struct Folder {
    groups: Mutex<Vec<i32>>,
    alive: Arc<AtomicUsize>,
}

#[async_trait]
impl Sandbox for Folder {
    async fn exec(&self, command: Command) -> Result<ExitStatus, RunnerError> {
        if let Some(user) = command.user.filter(|user| user != "root") {
            return Err(RunnerError::Spawn {
                program: command.argv[0].clone(),
                detail: format!("no user {user}"),
            });
        }
        let mut child = std::process::Command::new(&command.argv[0]);
        child.args(&command.argv[1..]).env_clear().env("PATH", std::env::var("PATH").unwrap());
        child.env("HOME", "/nonexistent").envs(command.env).current_dir("/").stdin(Stdio::null());
        child.stdout(command.stdout.map_or_else(Stdio::null, Stdio::from));
        child.stderr(command.stderr.map_or_else(Stdio::null, Stdio::from));
        std::os::unix::process::CommandExt::process_group(&mut child, 0);
        let spawned = child.spawn();
        drop(child);
        let mut spawned = spawned.map_err(|error| RunnerError::Spawn {
            program: command.argv[0].clone(),
            detail: error.to_string(),
        })?;
        self.groups.lock().unwrap().push(spawned.id() as i32);
        let status = tokio::task::spawn_blocking(move || spawned.wait()).await.unwrap().unwrap();
        let signal = status.signal();
        let code = status.code().unwrap_or_else(|| 128 + signal.unwrap_or(0));
        Ok(ExitStatus { code, signal, out_of_memory: false })
    }

    async fn destroy(&self) {
        for group in self.groups.lock().unwrap().drain(..) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }

    fn weaknesses(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for group in self.groups.lock().unwrap().drain(..) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}
