//! PostgreSQL for tests: a cluster of a test's own, from Debian's package `postgresql`.
//!
//! **What it owns.** A folder below the temporary one with the cluster's files, and its processes, which run
//! as the user `postgres` where the test is root (PostgreSQL refuses to be root). It listens on a port of its
//! own on the loopback address and asks for a password. It syncs to the disk, as a real one does.
//!
//! **Crash.** A shell watches over each cluster. When the test process ends, however it ends, the pipe that
//! it holds is closed, and the shell kills the cluster and removes its folder.
//!
//! For tests alone: whatever goes wrong is a panic that says what.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A loaded machine takes its time.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The user that the processes run as, where it is not the test's own.
#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

/// A running cluster. Dropping it stops and removes it.
pub struct Cluster {
    bin: PathBuf,
    folder: PathBuf,
    port: u16,
    password: String,
    account: Option<Account>,
    postmaster: Mutex<Option<Child>>,
    watch: Child,
    databases: AtomicU64,
}

impl Cluster {
    /// The cluster that the tests of one binary share, each with databases of its own.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Cluster::start(&[]))
    }

    /// A cluster with more settings, such as `max_connections=20`.
    pub fn start(settings: &[&str]) -> Cluster {
        let bin = programs();
        let account = account();
        let folder = new_folder(account);
        let watch = watch(&folder);
        let password = random_hex();
        let password_file = folder.join("password");
        fs::write(&password_file, &password).unwrap();
        give(&password_file, account);
        let data = folder.join("data");
        let made =
            run_as(
                account,
                Command::new(bin.join("initdb"))
                    .arg("-D")
                    .arg(&data)
                    .arg("--pwfile")
                    .arg(&password_file)
                    .args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]),
            )
            .stdin(Stdio::null())
            .output()
            .expect("initdb cannot be run");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let own: String = settings.iter().map(|setting| format!("{setting}\n")).collect();
        let configuration = format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 100\n\
             shared_buffers = 32MB\nfsync = on\nlogging_collector = off\n{own}"
        );
        let path = data.join("postgresql.conf");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}\n{configuration}")).unwrap();
        let port = free_port();
        let databases = AtomicU64::new(0);
        let postmaster = Mutex::new(None);
        let cluster = Cluster { bin, folder, port, password, account, postmaster, watch, databases };
        cluster.restart();
        cluster
    }

    /// A new, empty database; its URL.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder with the cluster's files (`data`) and its log (`log`).
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives a file to the user that the server runs as, and to nobody else: a key, for example.
    pub fn own(&self, path: &Path) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        give(path, self.account);
    }

    /// Carries statements out with `psql`; what they answer, a line for each row.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let output = Command::new(self.bin.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", statements])
            .env("PGPASSWORD", &self.password)
            .stdin(Stdio::null())
            .output()
            .expect("psql cannot be run");
        assert!(output.status.success(), "{statements}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// kill -9 for every process of the cluster, as a power cut would.
    pub fn kill(&self) {
        let mut postmaster = self.postmaster.lock().unwrap();
        let Some(child) = postmaster.as_mut() else { return };
        let pid = child.id() as i32;
        // So that it has no more children than these.
        signal(pid, libc::SIGSTOP);
        let family = children(pid);
        signal(pid, libc::SIGKILL);
        family.iter().for_each(|pid| signal(*pid, libc::SIGKILL));
        child.wait().unwrap();
        *postmaster = None;
        // The shared memory is free when the last of them is gone.
        wait("the killed processes are gone", || family.iter().all(|pid| !is_postgres(*pid)));
    }

    /// Stops the processes where they are: connections stand, and nobody answers.
    pub fn freeze(&self) {
        self.signal_all(libc::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal_all(libc::SIGCONT);
    }

    fn signal_all(&self, number: i32) {
        if let Some(child) = self.postmaster.lock().unwrap().as_ref() {
            let pid = child.id() as i32;
            signal(pid, number);
            children(pid).into_iter().for_each(|pid| signal(pid, number));
        }
    }

    /// Starts it where it is not running; waits until it answers.
    pub fn restart(&self) {
        let mut postmaster = self.postmaster.lock().unwrap();
        if postmaster.is_none() {
            let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
            let mut command = Command::new(self.bin.join("postgres"));
            command.arg("-D").arg(self.folder.join("data")).args(["-p", &self.port.to_string()]);
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
            *postmaster = Some(run_as(self.account, &mut command).spawn().expect("postgres cannot be run"));
        }
        let child = postmaster.as_mut().unwrap();
        let ready = self.bin.join("pg_isready");
        wait("PostgreSQL is ready", || {
            if let Some(status) = child.try_wait().unwrap() {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("postgres ended with {status}:\n{log}");
            }
            let asked =
                Command::new(&ready).args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]).status();
            asked.is_ok_and(|status| status.success())
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

/// The newest of Debian's versions.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/initdb").is_file() && path.join("bin/postgres").is_file())
        .max_by_key(|path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()));
    newest
        .map(|path| path.join("bin"))
        .expect("PostgreSQL is missing: apt-get install postgresql (cargo xtask test does it)")
}

fn account() -> Option<Account> {
    // SAFETY: it only answers a number.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .expect("there is no user postgres: apt-get install postgresql (cargo xtask test does it)");
    let numbers: Vec<u32> = line.split(':').skip(2).take(2).map(|word| word.parse().unwrap()).collect();
    Some(Account { uid: numbers[0], gid: numbers[1] })
}

fn run_as(account: Option<Account>, command: &mut Command) -> &mut Command {
    if let Some(Account { uid, gid }) = account {
        // The test's own folder may be closed to that user.
        command.uid(uid).gid(gid).current_dir("/");
    }
    // A terminal's Ctrl-C is for the test; the watch ends the cluster.
    command.process_group(0)
}

fn new_folder(account: Option<Account>) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("towpath-postgres-{}", random_hex()));
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    give(&folder, account);
    folder
}

fn give(path: &Path, account: Option<Account>) {
    if let Some(Account { uid, gid }) = account {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

/// Waits for the end of its input, which only the test's process holds open.
fn watch(folder: &Path) -> Child {
    let script = "
        trap '' INT TERM HUP
        cat >/dev/null
        pid=$(head -n 1 \"$1/data/postmaster.pid\" 2>/dev/null)
        if [ -n \"$pid\" ] && grep -qs postgres \"/proc/$pid/comm\"; then
            kill -CONT \"$pid\"; kill -QUIT \"$pid\"
            for i in $(seq 100); do [ -e \"/proc/$pid\" ] || break; sleep 0.1; done
        fi
        rm -rf \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(folder).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("sh cannot be run")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn random_hex() -> String {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn signal(pid: i32, number: i32) {
    // SAFETY: it sends a signal to a process of ours.
    unsafe { libc::kill(pid, number) };
}

/// (name, parent) of a process.
fn stat(pid: i32) -> Option<(String, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (start, rest) = text.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    let state = words.next()?;
    let parent = words.next()?.parse().ok()?;
    (state != "Z").then(|| (start.split_once('(').map_or("", |(_, name)| name).to_owned(), parent))
}

fn is_postgres(pid: i32) -> bool {
    stat(pid).is_some_and(|(name, _)| name.starts_with("postgres"))
}

fn children(parent: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|(_, found)| found == parent))
        .collect()
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < START_TIMEOUT, "not within {} s: {what}", START_TIMEOUT.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}
