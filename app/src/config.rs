//! Settings of a server: flags first, then `TOWPATH_…` variables, then the configuration file, then
//! defaults. All three set the same things under the same names.

use clap::Args;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use towpath_codebuild::Bounds;

pub const DEFAULT_LISTEN: &str = "127.0.0.1:4566";
pub const DEFAULT_REGION: &str = "us-east-1";
/// Less than this, and no shell starts.
const MIN_DISK_BYTES: u64 = 16 << 20;
pub const DEFAULT_ACCOUNT: &str = "000000000000";
/// As long as AWS keeps them.
pub const DEFAULT_KEEP_HISTORY_DAYS: u32 = 365;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration file {path} cannot be read: {cause}")]
    Unreadable { path: String, cause: std::io::Error },
    #[error("the configuration file {path} is wrong: {cause}")]
    Malformed { path: String, cause: toml::de::Error },
    #[error("{name} is {value:?}, but must be {wanted}")]
    Invalid { name: &'static str, value: String, wanted: &'static str },
    #[error("set both TOWPATH_ROOT_ACCESS_KEY_ID and TOWPATH_ROOT_SECRET_ACCESS_KEY, or neither")]
    HalfRootCredentials,
    #[error("set both tls-cert and tls-key, or neither")]
    HalfCertificate,
}

/// What can be set; every field is also a key of the configuration file.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Address and port to listen on [default: 127.0.0.1:4566]
    #[arg(long, env = "TOWPATH_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Folder of all state [default: /var/lib/towpath as root, else ~/.local/share/towpath]
    #[arg(long, env = "TOWPATH_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The account that everything belongs to, 12 digits [default: 000000000000]
    #[arg(long, env = "TOWPATH_ACCOUNT_ID", value_name = "ID")]
    pub account_id: Option<String>,
    /// The region that ARNs and signatures name [default: us-east-1]
    #[arg(long, env = "TOWPATH_REGION", value_name = "REGION")]
    pub region: Option<String>,
    /// URL under which clients reach this server, for clone URLs [default: http://LISTEN, https with TLS]
    #[arg(long, env = "TOWPATH_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Speak TLS, with certificates of an authority of the server's own, made at the first start
    #[arg(long, env = "TOWPATH_TLS", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub tls: Option<bool>,
    /// Speak TLS, with the certificate in this PEM file, followed by its chain; read again on SIGHUP
    #[arg(long, env = "TOWPATH_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, a PEM file
    #[arg(long, env = "TOWPATH_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Builds that run at the same time; 0 leaves them to workers [default: number of processors]
    #[arg(long, env = "TOWPATH_BUILD_SLOTS", value_name = "N")]
    pub build_slots: Option<usize>,
    /// Bytes that one build may write to disk, its source and artifacts among them [default: 64 GiB]
    #[arg(long, env = "TOWPATH_BUILD_DISK_BYTES", value_name = "BYTES")]
    pub build_disk_bytes: Option<u64>,
    /// Bytes of one build's output that its log keeps [default: 1 GiB]
    #[arg(long, env = "TOWPATH_BUILD_LOG_BYTES", value_name = "BYTES")]
    pub build_log_bytes: Option<u64>,
    /// Environment variable to pass into builds, besides proxies and certificates (repeatable)
    #[arg(long = "pass-env", env = "TOWPATH_PASS_ENV", value_name = "NAME", value_delimiter = ',')]
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// Folder to show inside builds, copy-on-write, at the same path (repeatable)
    #[arg(long = "pass-folder", env = "TOWPATH_PASS_FOLDER", value_name = "DIR", value_delimiter = ',')]
    #[serde(default)]
    pub pass_folder: Vec<PathBuf>,
    /// First address of the /16 that sandboxes have as root [default: 10.213.0.0]
    #[arg(long, env = "TOWPATH_SANDBOX_NETWORK", value_name = "ADDRESS")]
    pub sandbox_network: Option<std::net::Ipv4Addr>,
    /// `towpath server`: the PostgreSQL database of all nodes, postgresql://USER:PASSWORD@HOST/NAME
    #[arg(long, env = "TOWPATH_DATABASE", hide_env_values = true, value_name = "URL")]
    pub database: Option<Hidden>,
    /// `towpath server`: the object store of all nodes, s3://BUCKET/PREFIX
    #[arg(long, env = "TOWPATH_OBJECTS", hide_env_values = true, value_name = "URL")]
    pub objects: Option<Hidden>,
    /// `towpath server`: file with the secret of all nodes, instead of TOWPATH_CLUSTER_KEY
    #[arg(long, env = "TOWPATH_CLUSTER_KEY_FILE", value_name = "FILE")]
    pub cluster_key_file: Option<PathBuf>,
    /// `towpath server`: this node's name [default: the machine's host name]
    #[arg(long, env = "TOWPATH_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// Days for which ended executions, builds and deployments are kept; 0 keeps them for ever [default: 365]
    #[arg(long, env = "TOWPATH_KEEP_HISTORY_DAYS", value_name = "N")]
    pub keep_history_days: Option<u32>,
    /// What is logged to standard error: error, warn, info, debug, or a filter such as towpath_s3=debug
    /// [default: info]
    #[arg(long, env = "TOWPATH_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

/// What the server speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    Plain,
    /// TLS with certificates of an authority of the server's own.
    Local,
    /// TLS with a certificate from files.
    Given {
        certificate: PathBuf,
        key: PathBuf,
    },
}

impl Transport {
    pub fn scheme(&self) -> &'static str {
        match self {
            Transport::Plain => "http",
            Transport::Local | Transport::Given { .. } => "https",
        }
    }

    fn decide(
        tls: Option<bool>,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Result<Transport, ConfigError> {
        match (tls, certificate, key) {
            (Some(false), None, None) | (None, None, None) => Ok(Transport::Plain),
            (Some(true), None, None) => Ok(Transport::Local),
            (None | Some(true), Some(certificate), Some(key)) => Ok(Transport::Given { certificate, key }),
            (Some(false), _, _) => Err(ConfigError::Invalid {
                name: "tls",
                value: "false".into(),
                wanted: "true or left out where tls-cert and tls-key are set",
            }),
            _ => Err(ConfigError::HalfCertificate),
        }
    }
}

/// A setting that may hold a password: never shown.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl std::str::FromStr for Hidden {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Hidden, Self::Err> {
        Ok(Hidden(text.to_owned()))
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("…")
    }
}

/// What nodes share, as it was set.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    pub database: Option<Hidden>,
    pub objects: Option<Hidden>,
    pub cluster_key_file: Option<PathBuf>,
    pub name: Option<String>,
}

/// Settings with everything decided.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub data: PathBuf,
    pub account: String,
    pub region: String,
    pub public_url: Option<String>,
    pub transport: Transport,
    pub build_slots: usize,
    pub build_bounds: Bounds,
    pub pass_env: Vec<String>,
    pub pass_folder: Vec<PathBuf>,
    pub sandbox_network: Option<std::net::Ipv4Addr>,
    pub keep_history_days: u32,
    pub log: String,
    pub root: Option<RootKeys>,
    pub shared: Shared,
}

/// Root credentials given from outside.
#[derive(Clone)]
pub struct RootKeys {
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl std::fmt::Debug for RootKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(formatter, "RootKeys({}, …)", self.access_key_id)
    }
}

impl Config {
    /// `flags` already hold what the environment says; `file` is `--config`, and must exist if given.
    pub fn load(flags: Settings, file: Option<&Path>) -> Result<Config, ConfigError> {
        let file = match file {
            Some(path) => read_file(path)?,
            None => Settings::default(),
        };
        let listen = flags.listen.or(file.listen).unwrap_or_else(|| DEFAULT_LISTEN.into());
        let account = flags.account_id.or(file.account_id).unwrap_or_else(|| DEFAULT_ACCOUNT.into());
        let region = flags.region.or(file.region).unwrap_or_else(|| DEFAULT_REGION.into());
        let invalid = |name, value: &str, wanted| ConfigError::Invalid { name, value: value.into(), wanted };
        if account.len() != 12 || !account.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(invalid("account-id", &account, "12 digits"));
        }
        if region.is_empty()
            || !region.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        {
            return Err(invalid("region", &region, "lower-case letters, digits and hyphens"));
        }
        let slots = flags.build_slots.or(file.build_slots).unwrap_or_else(processors);
        let mut bounds = Bounds::default();
        bounds.disk_bytes = flags.build_disk_bytes.or(file.build_disk_bytes).unwrap_or(bounds.disk_bytes);
        bounds.log_bytes = flags.build_log_bytes.or(file.build_log_bytes).unwrap_or(bounds.log_bytes);
        if bounds.disk_bytes < MIN_DISK_BYTES {
            let text = bounds.disk_bytes.to_string();
            return Err(invalid("build-disk-bytes", &text, "at least 16777216 (16 MiB)"));
        }
        let either = |a: Vec<String>, b: Vec<String>| if a.is_empty() { b } else { a };
        let folders = if flags.pass_folder.is_empty() { file.pass_folder } else { flags.pass_folder };
        Ok(Config {
            listen: listen
                .parse()
                .map_err(|_| invalid("listen", &listen, "an address and a port, such as 127.0.0.1:4566"))?,
            data: flags.data.or(file.data).unwrap_or_else(default_data),
            account,
            region,
            public_url: flags.public_url.or(file.public_url),
            transport: Transport::decide(
                flags.tls.or(file.tls),
                flags.tls_cert.or(file.tls_cert),
                flags.tls_key.or(file.tls_key),
            )?,
            build_slots: slots,
            build_bounds: bounds,
            pass_env: either(flags.pass_env, file.pass_env),
            pass_folder: folders,
            sandbox_network: flags.sandbox_network.or(file.sandbox_network),
            keep_history_days: flags
                .keep_history_days
                .or(file.keep_history_days)
                .unwrap_or(DEFAULT_KEEP_HISTORY_DAYS),
            log: flags.log.or(file.log).unwrap_or_else(|| "info".into()),
            root: root_keys()?,
            shared: Shared {
                database: flags.database.or(file.database).filter(|url| !url.0.is_empty()),
                objects: flags.objects.or(file.objects).filter(|url| !url.0.is_empty()),
                cluster_key_file: flags.cluster_key_file.or(file.cluster_key_file),
                name: flags.name.or(file.name).filter(|name| !name.is_empty()),
            },
        })
    }
}

fn read_file(path: &Path) -> Result<Settings, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|cause| ConfigError::Unreadable { path: shown.clone(), cause })?;
    toml::from_str(&text).map_err(|cause| ConfigError::Malformed { path: shown, cause })
}

pub fn root_keys() -> Result<Option<RootKeys>, ConfigError> {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (set("TOWPATH_ROOT_ACCESS_KEY_ID"), set("TOWPATH_ROOT_SECRET_ACCESS_KEY")) {
        (Some(access_key_id), Some(secret_access_key)) => {
            Ok(Some(RootKeys { access_key_id, secret_access_key }))
        }
        (None, None) => Ok(None),
        _ => Err(ConfigError::HalfRootCredentials),
    }
}

pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Where state lives unless told otherwise.
pub fn default_data() -> PathBuf {
    if let Some(named) = std::env::var_os("TOWPATH_DATA").filter(|named| !named.is_empty()) {
        return PathBuf::from(named);
    }
    state_folder()
}

/// The same where nobody told otherwise.
pub fn state_folder() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    match home {
        Some(home) if !is_root() => {
            let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
            base.unwrap_or_else(|| home.join(".local/share")).join("towpath")
        }
        _ => PathBuf::from("/var/lib/towpath"),
    }
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("towpath.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:5000\"\nregion = \"eu-west-1\"\npass-env = [\"A\"]\nkeep-history-days = 30\n")
            .unwrap();
        let flags = Settings { region: Some("eu-north-1".into()), ..Settings::default() };
        let config = Config::load(flags, Some(&file)).unwrap();
        assert_eq!(config.listen.port(), 5000);
        assert_eq!(config.region, "eu-north-1");
        assert_eq!(config.pass_env, ["A"]);
        assert_eq!(config.account, DEFAULT_ACCOUNT);
        assert_eq!(config.keep_history_days, 30);
    }

    #[test]
    fn tls_is_decided_once() {
        let decide = |tls, certificate: Option<&str>, key: Option<&str>| {
            Transport::decide(tls, certificate.map(Into::into), key.map(Into::into))
        };
        let given = Transport::Given { certificate: "c".into(), key: "k".into() };
        assert_eq!(decide(None, None, None).unwrap(), Transport::Plain);
        assert_eq!(decide(Some(true), None, None).unwrap(), Transport::Local);
        assert_eq!(decide(None, Some("c"), Some("k")).unwrap(), given);
        assert_eq!(decide(Some(true), Some("c"), Some("k")).unwrap(), given);
        for half in [decide(None, Some("c"), None), decide(Some(true), None, Some("k"))] {
            assert!(half.unwrap_err().to_string().contains("both tls-cert and tls-key"));
        }
        assert!(decide(Some(false), Some("c"), Some("k")).is_err());
    }

    #[test]
    fn mistakes_are_told_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("towpath.toml");
        std::fs::write(&file, "lisen = \"127.0.0.1:5000\"\n").unwrap();
        let error = Config::load(Settings::default(), Some(&file)).unwrap_err();
        assert!(error.to_string().contains("lisen"), "{error}");
        let flags = Settings { account_id: Some("12".into()), ..Settings::default() };
        assert!(Config::load(flags, None).unwrap_err().to_string().contains("12 digits"));
        let flags = Settings { listen: Some("4566".into()), ..Settings::default() };
        assert!(Config::load(flags, None).unwrap_err().to_string().contains("an address and a port"));
    }
}
