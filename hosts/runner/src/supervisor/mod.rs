//! The supervisor of one sandbox: the server's executable, run again, single-threaded.
//!
//! It owns everything of the sandbox: the mount namespace in which its root is put together, init, the cgroup,
//! the number, the folder on disk. It ends when its holder's socket closes or says so, when init ends, at the
//! wall limit, or on SIGTERM; then it takes down what it made. Killed, it takes init along (parent-death
//! signal), its mounts vanish with its namespace, and a sweep removes the rest.

mod copied;
mod disk;
mod memory;
mod mirror;
pub mod network;
mod relay;
mod serve;
mod usernet;
mod view;

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::cgroup::Cgroup;
use crate::channel::{self, Channel};
use crate::init;
use crate::messages::{
    Failure, FromInit, FromSupervisor, Holder, InitPlan, Plan, Socket, Step, ToInit, ToSupervisor,
};
use crate::slots::Slot;
use crate::spec::{Mode, Network, Report};
use crate::sys::{self, Cloned};
use crate::trash;

/// What argv[0] is when this process is to be a supervisor.
pub const NAME: &str = "towpath-sandbox-init";

/// Exit codes of a supervisor that cannot say what is wrong, for it has nobody to say it to.
const NO_CHANNEL: i32 = 2;
const NO_PLAN: i32 = 3;

/// Why a supervisor ended that never answered.
pub fn silent_end(status: std::process::ExitStatus) -> String {
    match status.code() {
        Some(NO_CHANNEL) => "it found no channel on its standard input".into(),
        Some(NO_PLAN) => "its plan did not arrive".into(),
        _ => status.to_string(),
    }
}

/// Runs as a supervisor; never returns.
pub fn run() -> ! {
    let started = Instant::now();
    let channel = match take_channel() {
        Ok(channel) => channel,
        Err(_) => std::process::exit(NO_CHANNEL),
    };
    let plan = match channel.receive() {
        Ok(Some((ToSupervisor::Start(plan), _))) => plan,
        _ => std::process::exit(NO_PLAN),
    };
    let (state_dir, code) = (plan.state_dir.clone(), supervise(*plan, channel, started));
    trash::be_modest();
    trash::empty(&state_dir).ok();
    std::process::exit(code)
}

/// The holder's channel is standard input; a supervisor has no streams of its own.
fn take_channel() -> io::Result<Channel> {
    // SAFETY: duplicates descriptor 0 to a fresh number; no memory is involved.
    let fd = sys::check(unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3) }.into())?;
    // SAFETY: the kernel has just returned this descriptor.
    let channel = Channel::from_fd(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for stream in 0..3 {
        // SAFETY: replaces the standard streams; nothing else owns them.
        sys::check(unsafe { libc::dup2(null.as_raw_fd(), stream) }.into())?;
    }
    drop(null);
    sys::close_from(3, &[channel.raw()]);
    nix::unistd::setsid().ok();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    Ok(channel)
}

/// The sandbox's folder on disk, locked for as long as this process lives.
struct Home {
    path: PathBuf,
    _lock: File,
}

/// Everything that a running sandbox is made of.
struct Made {
    plan: Plan,
    home: Home,
    cgroup: Cgroup,
    /// Only held: the sandbox's number is free when it is dropped.
    _slot: Option<Slot>,
    owner: u32,
    init: Channel,
    init_pid: i32,
    init_fd: OwnedFd,
    root: OwnedFd,
    doors: Vec<relay::Door>,
    report: Report,
    usernet: Option<usernet::Helper>,
}

fn supervise(plan: Plan, channel: Channel, started: Instant) -> i32 {
    let (id, state_dir) = (plan.spec.id.clone(), plan.state_dir.clone());
    match make(plan, started) {
        Ok(made) => serve::run(made, channel),
        Err(failure) => {
            let path = run_folder(&state_dir, &id);
            if failure.step != CLAIM {
                discard(&state_dir, &path);
            }
            channel.send(&FromSupervisor::Failed(failure), &[]).ok();
            1
        }
    }
}

/// Where a sandbox's folder is.
pub fn run_folder(state_dir: &Path, id: &str) -> PathBuf {
    state_dir.join("run").join(id)
}

/// Where the supervisor of this number makes it.
pub fn draft_folder(state_dir: &Path, id: &str, supervisor_pid: u32) -> PathBuf {
    run_folder(state_dir, &format!(".{supervisor_pid}.{id}"))
}

/// Detaches this process's own mounts below the state directory, then discards the sandbox's folder.
fn discard(state_dir: &Path, folder: &Path) {
    nix::mount::umount2(&state_dir.join("bench"), nix::mount::MntFlags::MNT_DETACH).ok();
    trash::discard(state_dir, folder).ok();
}

const CLAIM: &str = "claim the sandbox's folder";

/// Makes the folder beside its place and moves it there when it is locked: a folder in its place whose lock is free
/// has no supervisor any more.
fn claim(plan: &Plan) -> Result<Home, Failure> {
    let draft = draft_folder(&plan.state_dir, &plan.spec.id, std::process::id());
    fs::DirBuilder::new().mode(0o700).create(&draft).step(|| CLAIM.into())?;
    take(plan, &draft).inspect_err(|_| {
        // Where the disk has no room for more, nothing stays.
        fs::remove_dir_all(&draft).ok();
    })
}

fn take(plan: &Plan, draft: &Path) -> Result<Home, Failure> {
    let mut options = File::options();
    let lock =
        options.write(true).create_new(true).mode(0o600).open(draft.join("lock")).step(|| CLAIM.into())?;
    lock.try_lock().step(|| CLAIM.into())?;
    fs::write(draft.join("supervisor"), std::process::id().to_string()).step(|| CLAIM.into())?;
    if let Holder::Supervisor { .. } = plan.holder {
        fs::write(draft.join("host"), "").step(|| CLAIM.into())?;
    }
    // Fails where another's folder is: none is ever empty.
    let path = run_folder(&plan.state_dir, &plan.spec.id);
    fs::rename(draft, &path).step(|| CLAIM.into())?;
    Ok(Home { path, _lock: lock })
}

fn make(plan: Plan, started: Instant) -> Result<Made, Failure> {
    let home = claim(&plan)?;
    let mut weaknesses = Vec::new();
    let slot = match plan.mode {
        Mode::Root => Some(Slot::take().step(|| "take a sandbox number".into())?),
        Mode::Rootless => None,
    };
    let cgroup = Cgroup::create(&plan.state_dir, &plan.spec.id, &plan.spec.limits, &mut weaknesses);
    let record: Vec<String> = cgroup.folders().iter().map(|f| f.display().to_string()).collect();
    fs::write(home.path.join("cgroups"), record.join("\n")).step(|| "record the control groups".into())?;
    let result = make_inside(&plan, &home, slot.as_ref(), &cgroup, weaknesses, started);
    match result {
        Ok((inside, root, doors, report, usernet)) => Ok(Made {
            owner: slot.as_ref().map_or(0, Slot::first_uid),
            plan,
            home,
            cgroup,
            _slot: slot,
            init: inside.channel,
            init_pid: inside.pid,
            init_fd: inside.pidfd,
            root,
            doors,
            report,
            usernet,
        }),
        Err(failure) => {
            cgroup.remove().ok();
            Err(failure)
        }
    }
}

/// pid 1, seen from outside; killed when dropped unread, since its channel closes then.
struct Inside {
    channel: Channel,
    pid: i32,
    pidfd: OwnedFd,
}

type Furnished = (Inside, OwnedFd, Vec<relay::Door>, Report, Option<usernet::Helper>);

fn make_inside(
    plan: &Plan,
    home: &Home,
    slot: Option<&Slot>,
    cgroup: &Cgroup,
    mut weaknesses: Vec<String>,
    started: Instant,
) -> Result<Furnished, Failure> {
    let usernet = usernet::prepare(plan)?;
    if plan.mode == Mode::Rootless {
        mirror::own_namespaces()?;
    } else {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).step(|| "unshare mounts".into())?;
    }
    view::private_mounts()?;
    let inside = clone_init(plan, cgroup)?;
    map_ids(inside.pid, slot)?;
    // It works on the network while the root is put together.
    let usernet = usernet.map(|prepared| prepared.connect(inside.pid)).transpose()?;
    let owner = slot.map_or(0, Slot::first_uid);
    let idmap = match plan.mode {
        Mode::Root => {
            Some(File::open(format!("/proc/{}/ns/user", inside.pid)).step(|| "open id map".into())?.into())
        }
        Mode::Rootless => None,
    };
    let shop = view::Workshop::new(plan, home.path.clone(), idmap, owner)?;
    let root = match plan.mode {
        Mode::Root => copied::build(&shop, &mut weaknesses)?,
        Mode::Rootless => mirror::build(&shop, &mut weaknesses)?,
    };
    shop.furnish(&root, &mut weaknesses)?;
    let (resolvers, relayed_resolver) = network::resolvers(plan);
    shop.write_own_files(&root, &resolvers)?;
    let address = match (plan.spec.network, slot) {
        (Network::Egress, Some(slot)) => Some(network::connect(plan, slot, inside.pid)?),
        _ => None,
    };
    let report_address = address.as_ref().map(|a| a.address);
    let unreachable = match plan.spec.network {
        Network::Egress => network::unreachable().step(|| "list the host's addresses".into())?,
        Network::None => Vec::new(),
    };
    let init_plan = InitPlan {
        mode: plan.mode,
        hostname: plan.spec.hostname.clone(),
        env: plan.spec.env.clone(),
        address,
        unreachable,
        rlimits: rlimits(plan, cgroup),
    };
    if let Some(usernet) = &usernet {
        usernet.await_ready()?;
    }
    let (root, told) = start_init(&inside.channel, init_plan, root.fd())?;
    weaknesses.extend(told);
    let (doors, published) = open_doors(plan, &inside.channel, relayed_resolver)?;
    let report = Report {
        mode: plan.mode,
        weaknesses,
        published,
        address: report_address,
        supervisor_pid: std::process::id() as i32,
        init_pid: inside.pid,
        setup_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
    };
    Ok((inside, root, doors, report, usernet))
}

fn clone_init(plan: &Plan, cgroup: &Cgroup) -> Result<Inside, Failure> {
    let (ours, theirs) = channel::pair().step(|| "make init's channel".into())?;
    let namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET;
    let into =
        cgroup.unified().map(|fd| fd.try_clone_to_owned()).transpose().step(|| "open the group".into())?;
    let clone =
        |into: Option<&OwnedFd>| cgroup.clone_within(|| sys::clone_into(namespaces, into.map(AsFd::as_fd)));
    let (cloned, joined) = match clone(into.as_ref()) {
        // The kernel or the owner of the common ancestor may forbid cloning into a group; joining may work.
        Err(_) if into.is_some() => (clone(None), false),
        cloned => (cloned, true),
    };
    let cloned = cloned.map_err(|e| Failure {
        step: "make namespaces".into(),
        detail: e.to_string(),
        remedy: (plan.mode == Mode::Rootless).then(|| mirror::REMEDY.to_owned()),
    })?;
    match cloned {
        Cloned::Child => {
            drop(ours);
            init::run(theirs)
        }
        Cloned::Parent { pid, pidfd } => {
            if !joined {
                cgroup.join_unified(pid).step(|| "join the control group".into())?;
            }
            Ok(Inside { channel: ours, pid, pidfd })
        }
    }
}

fn map_ids(init_pid: i32, slot: Option<&Slot>) -> Result<(), Failure> {
    let map = slot.map_or("0 0 1".to_owned(), |slot| format!("0 {} 65536", slot.first_uid()));
    let step = || "map users".into();
    if slot.is_none() {
        fs::write(format!("/proc/{init_pid}/setgroups"), "deny").step(step)?;
    }
    fs::write(format!("/proc/{init_pid}/uid_map"), &map).step(step)?;
    fs::write(format!("/proc/{init_pid}/gid_map"), &map).step(step)
}

/// Resource limits stand in for what no control group enforces.
fn rlimits(plan: &Plan, cgroup: &Cgroup) -> Vec<(u32, u64)> {
    let mut limits = vec![];
    if !cgroup.enforces_pids() {
        let pids = plan.spec.limits.pids.unwrap_or(crate::Limits::DEFAULT_PIDS);
        limits.push((libc::RLIMIT_NPROC, u64::from(pids)));
    }
    if let Some(bytes) = plan.spec.limits.memory_bytes.filter(|_| !cgroup.enforces_memory()) {
        // Counts what is only reserved, too: a backstop for the watch (see [`memory`]), not the limit itself.
        limits.push((libc::RLIMIT_DATA, bytes.saturating_mul(4)));
    }
    limits
}

/// Hands init its plan and waits until it is confined. Returns the inside's root.
fn start_init(
    init: &Channel,
    plan: InitPlan,
    root: std::os::fd::BorrowedFd<'_>,
) -> Result<(OwnedFd, Vec<String>), Failure> {
    init.send(&ToInit::Setup(plan), &[root]).step(|| "start init".into())?;
    match init.receive().step(|| "wait for init".into())? {
        Some((FromInit::Ready { weaknesses }, mut fds)) if fds.len() == 1 => Ok((fds.remove(0), weaknesses)),
        Some((FromInit::Failed(failure), _)) => Err(failure),
        _ => Err(Failure { step: "start init".into(), detail: "it ended".into(), remedy: None }),
    }
}

fn open_doors(
    plan: &Plan,
    init: &Channel,
    resolver: Option<std::net::IpAddr>,
) -> Result<(Vec<relay::Door>, Vec<SocketAddr>), Failure> {
    let mut doors = Vec::new();
    for relay in &plan.spec.relays {
        let listener = inside_socket(init, relay.inside, Socket::Stream)?;
        doors.push(relay::Door::Out { listener: listener.into(), outside: relay.outside });
    }
    if let (Some(resolver), Network::Egress) = (resolver, plan.spec.network) {
        let (inside, outside) = (SocketAddr::from(([127, 0, 0, 1], 53)), SocketAddr::new(resolver, 53));
        let stream = inside_socket(init, inside, Socket::Stream)?;
        doors.push(relay::Door::Out { listener: stream.into(), outside });
        let socket = inside_socket(init, inside, Socket::Datagram)?;
        doors.push(relay::Door::Names { socket: socket.into(), outside });
    }
    let mut published = Vec::new();
    for publish in &plan.spec.publish {
        let step = || format!("listen on {}", publish.host);
        let listener = TcpListener::bind(publish.host).step(step)?;
        listener.set_nonblocking(true).step(step)?;
        published.push(listener.local_addr().step(step)?);
        doors.push(relay::Door::In { listener, inside_port: publish.inside_port });
    }
    Ok((doors, published))
}

fn inside_socket(init: &Channel, address: SocketAddr, kind: Socket) -> Result<OwnedFd, Failure> {
    let step = || format!("listen on {address} inside");
    init.send(&ToInit::Listen { seq: 0, address, kind }, &[]).step(step)?;
    match init.receive().step(step)? {
        Some((FromInit::Socket { .. }, mut fds)) if fds.len() == 1 => Ok(fds.remove(0)),
        Some((FromInit::SocketFailed { detail, .. }, _)) => Err(detail).step(step),
        _ => Err("init ended").step(step),
    }
}
