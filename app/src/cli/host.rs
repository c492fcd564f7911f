//! `towpath host`: isolated machines on this one, each with a deployment agent inside. A host has its own
//! root, hostname, processes and network; what happens in it never touches the machine's own files.

mod registration;

use super::CliError;
use super::output::{bold, dim, harmless};
use crate::client::{Client, Target};
use crate::config;
use clap::Subcommand;
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use towpath_runner::{
    Bind, Command as Inside, Config as RunnerConfig, Limits, Network, Publish, Relay, host,
};

/// Where an agent inside finds the server, whatever its address outside is.
const INSIDE_PORT: u16 = 4566;
/// What fits into a command's environment.
const MAX_AUTHORITY_BYTES: usize = 64 << 10;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  towpath host run web-1 --tag role=web --publish 8081:8080\n  \
                        towpath host exec web-1 -- cat /etc/hostname\n  towpath host list\n  towpath host stop web-1")]
pub struct Host {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a host and register it for deployments; it runs until it is stopped
    Run(Run),
    /// List the running hosts
    List(List),
    /// Run a command in a host; its exit code is this one's
    Exec(Exec),
    /// Stop hosts: processes, files, registration
    Stop(Stop),
}

#[derive(clap::Args)]
struct Run {
    /// The host's name, and its hostname
    name: String,
    /// The server's URL [default: as for other commands]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The server's data folder, for its address and root credentials [default: TOWPATH_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A tag that deployment groups select by (repeatable)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Make a port of the host reachable on this machine: OUTSIDE:INSIDE, or INSIDE for a free port (repeatable)
    #[arg(long = "publish", short = 'p', value_name = "[OUTSIDE:]INSIDE", value_parser = parse_publish)]
    publish: Vec<(u16, u16)>,
    /// Memory limit in MiB
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// Processors, such as 0.5
    #[arg(long, value_name = "N")]
    cpus: Option<f64>,
    /// Without network beyond the server and published ports
    #[arg(long)]
    no_network: bool,
    /// Without agent and registration: a bare machine
    #[arg(long)]
    no_agent: bool,
    /// Print what was started as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct List {
    /// Print the hosts as JSON
    #[arg(long)]
    json: bool,
    /// The data folder under which the hosts were started
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Exec {
    name: String,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    argv: Vec<String>,
    /// User inside: a name or UID[:GID] [default: root]
    #[arg(long, short)]
    user: Option<String>,
    /// Give the command a terminal
    #[arg(long, short)]
    tty: bool,
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Stop {
    #[arg(required_unless_present = "all")]
    names: Vec<String>,
    /// Stop every host
    #[arg(long)]
    all: bool,
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a tag is KEY=VALUE".into()),
    }
}

fn parse_publish(text: &str) -> Result<(u16, u16), String> {
    let (outside, inside) = text.split_once(':').unwrap_or(("0", text));
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is no port"));
    match (port(outside)?, port(inside)?) {
        (_, 0) => Err("the port inside cannot be 0".into()),
        ports => Ok(ports),
    }
}

fn state_dir(data: Option<&Path>) -> PathBuf {
    data.map(Path::to_path_buf).unwrap_or_else(config::default_data).join("hosts")
}

impl Host {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match self.command {
            Command::Run(run) => runtime.block_on(run.run()),
            Command::List(list) => list.run(),
            Command::Exec(exec) => runtime.block_on(exec.run()),
            Command::Stop(stop) => runtime.block_on(stop.run()),
        }
    }
}

impl Run {
    async fn run(self) -> Result<ExitCode, CliError> {
        let target = Target { endpoint_url: self.endpoint.clone(), data: self.data.clone() };
        let (relays, service) = if self.no_agent {
            (Vec::new(), None)
        } else {
            let client = Client::connect(&target)?;
            let keys = registration::register(&client, &self.name, &self.tags)?;
            let relay = Relay {
                inside: SocketAddr::from(([127, 0, 0, 1], INSIDE_PORT)),
                outside: outside_address(&client.endpoint)?,
            };
            (vec![relay], Some(agent_command(&self.name, &client, &keys)?))
        };
        let state = state_dir(self.data.as_deref());
        if host::list(&state)?.iter().any(|running| running.name == self.name) {
            return Err(format!(
                "a host named {} is running already; `towpath host stop {}` ends it",
                self.name, self.name
            )
            .into());
        }
        let spec = host::HostSpec {
            name: self.name.clone(),
            limits: Limits {
                memory_bytes: self.memory.map(|mib| mib << 20),
                cpus: self.cpus,
                ..Limits::default()
            },
            network: if self.no_network { Network::None } else { Network::Egress },
            env: Vec::new(),
            binds: own_folders(&state, &self.name)?,
            relays,
            publish: self.publish.iter().map(|(outside, inside)| published(*outside, *inside)).collect(),
            service,
            labels: self.tags.clone(),
        };
        let started = host::run(&RunnerConfig::from_env(&state), spec).await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&started)?);
        } else {
            print_host(&started);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Where deployments write. As root all of a host's root is copy-on-write; without root a host gets
/// folders of its own there, empty at first.
const OWN_FOLDERS: &[&str] = &["/opt", "/srv", "/var/log"];

fn own_files(state: &Path, name: &str) -> PathBuf {
    state.join("files").join(name)
}

fn own_folders(state: &Path, name: &str) -> Result<Vec<Bind>, CliError> {
    if config::is_root() {
        return Ok(Vec::new());
    }
    let mut binds = Vec::new();
    for folder in OWN_FOLDERS {
        let source = own_files(state, name).join(folder.trim_start_matches('/'));
        std::fs::create_dir_all(&source)?;
        binds.push(Bind::writable(source, *folder));
    }
    Ok(binds)
}

fn published(outside: u16, inside: u16) -> Publish {
    Publish { host: SocketAddr::from(([127, 0, 0, 1], outside)), inside_port: inside }
}

/// The agent, with credentials in its own environment only.
fn agent_command(name: &str, client: &Client, keys: &registration::Keys) -> Result<Vec<String>, CliError> {
    let mut command = vec![
        "/usr/bin/env".into(),
        format!("AWS_ACCESS_KEY_ID={}", keys.access_key_id),
        format!("AWS_SECRET_ACCESS_KEY={}", keys.secret_access_key),
        format!("AWS_REGION={}", client.region),
    ];
    let relay = format!("127.0.0.1:{INSIDE_PORT}");
    if !client.endpoint.starts_with("https://") {
        command.extend(["/usr/local/bin/towpath", "agent", "--endpoint"].map(str::to_owned));
        command.push(format!("http://{relay}"));
    } else {
        // The certificate is for the server's own name, so the agent keeps that and is told where to connect.
        if let Some(authority) = authority(client)? {
            command.push(format!("TOWPATH_CA={authority}"));
        }
        command.extend(["/usr/local/bin/towpath", "agent", "--endpoint"].map(str::to_owned));
        command.extend([client.endpoint.clone(), "--connect-to".to_owned(), relay]);
    }
    command.extend(["--name".to_owned(), name.to_owned()]);
    Ok(command)
}

/// The certificate that this machine's tools were told to trust; what the machine trusts anyway is inside too.
fn authority(client: &Client) -> Result<Option<String>, CliError> {
    let named = std::env::var_os(super::env::CA_BUNDLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let Some(path) = client.authority.clone().or(named) else { return Ok(None) };
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if text.len() > MAX_AUTHORITY_BYTES {
        let path = path.display();
        return Err(format!(
            "{path} has more certificates than a host can be given; name one with the authority alone"
        )
        .into());
    }
    Ok(Some(text))
}

/// The address behind a URL, for the relay.
fn outside_address(endpoint: &str) -> Result<SocketAddr, CliError> {
    use std::net::ToSocketAddrs;
    let (rest, usual_port) = match (endpoint.strip_prefix("http://"), endpoint.strip_prefix("https://")) {
        (Some(rest), _) => (rest, 80),
        (_, Some(rest)) => (rest, 443),
        _ => return Err(format!("{endpoint}: a host reaches its server over http:// or https://").into()),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let with_port = if has_port { authority.to_owned() } else { format!("{authority}:{usual_port}") };
    let mut found = with_port.to_socket_addrs().map_err(|error| format!("{endpoint}: {error}"))?;
    found.next().ok_or_else(|| format!("{endpoint} has no address").into())
}

fn print_host(host: &host::Host) {
    let address = host.address.map(|address| address.to_string()).unwrap_or_else(|| "-".into());
    let tags: Vec<String> = host.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let published: Vec<String> = host.published.iter().map(|address| format!("http://{address}")).collect();
    println!("{:<16} {address:<15} {:<24} {}", bold(&host.name), tags.join(","), published.join(" "));
    for weakness in &host.weaknesses {
        println!("{}", dim(&format!("  weaker than asked for: {}", harmless(weakness))));
    }
}

impl List {
    fn run(self) -> Result<ExitCode, CliError> {
        let hosts = host::list(&state_dir(self.data.as_deref()))?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&json!(hosts))?);
        } else if hosts.is_empty() {
            println!("no hosts are running; `towpath host run NAME` starts one");
        } else {
            hosts.iter().for_each(print_host);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Exec {
    async fn run(self) -> Result<ExitCode, CliError> {
        use std::os::fd::AsFd;
        let mut command = Inside::new(self.argv);
        command.user = self.user;
        if self.tty {
            command.terminal = Some(host::terminal_size().ok_or("--tty needs a terminal on standard input")?);
        } else {
            command.stdin = Some(std::io::stdin().as_fd().try_clone_to_owned()?);
            command.stdout = Some(std::io::stdout().as_fd().try_clone_to_owned()?);
            command.stderr = Some(std::io::stderr().as_fd().try_clone_to_owned()?);
        }
        let status = host::exec(&state_dir(self.data.as_deref()), &self.name, command).await?;
        Ok(ExitCode::from(u8::try_from(status.code).unwrap_or(255)))
    }
}

impl Stop {
    async fn run(self) -> Result<ExitCode, CliError> {
        let state = state_dir(self.data.as_deref());
        let names = match self.all {
            true => host::list(&state)?.into_iter().map(|host| host.name).collect(),
            false => self.names,
        };
        let target = Target { endpoint_url: None, data: self.data };
        let mut failed = false;
        for name in names {
            if let Err(error) = host::stop(&state, &name).await {
                eprintln!("towpath: {name}: {error}");
                failed = true;
                continue;
            }
            remove_own_files(&state, &name);
            // A server that is gone has nothing left to deregister from.
            if let Ok(client) = Client::connect(&target) {
                registration::deregister(&client, &name);
            }
            println!("stopped {name}");
        }
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn remove_own_files(state: &Path, name: &str) {
    let files = own_files(state, name);
    if files.exists()
        && let Err(error) = std::fs::remove_dir_all(&files)
    {
        eprintln!("towpath: {} is left over: {error}", files.display());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_and_tags_are_read() {
        assert_eq!(parse_publish("8081:8080").unwrap(), (8081, 8080));
        assert_eq!(parse_publish("8080").unwrap(), (0, 8080));
        assert!(parse_publish("8080:0").is_err());
        assert!(parse_publish("99999").is_err());
        assert_eq!(parse_tag("role=web=1").unwrap(), ("role".into(), "web=1".into()));
        assert!(parse_tag("role").is_err());
    }

    #[test]
    fn where_a_relay_leads() {
        for (endpoint, address) in [
            ("http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("https://127.0.0.1:5000/", "127.0.0.1:5000"),
            ("https://[::1]", "[::1]:443"),
        ] {
            assert_eq!(outside_address(endpoint).unwrap().to_string(), address);
        }
        assert!(outside_address("ftp://127.0.0.1:5000").is_err());
    }
}
