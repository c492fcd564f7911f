//! What the operator decides for all sandboxes of one server.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Settings of a [`crate::Runner`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the runner's own (created 0700). Never visible inside. Must be on a real disk or tmpfs.
    pub state_dir: PathBuf,
    /// The server's home: nothing of it is visible but toolchains; its path is HOME inside.
    pub home: PathBuf,
    /// The server's PATH: what it finds, builds find.
    pub path: String,
    /// The server's environment, from which the named variables pass through.
    pub environment: BTreeMap<String, String>,
    /// Names to pass besides [`Config::PASSED`].
    pub passthrough_env: Vec<String>,
    /// Folders to give inside, copy-on-write, at the same path.
    pub extra_folders: Vec<PathBuf>,
    pub network: NetworkConfig,
    /// The executable whose `main` calls [`crate::init_if_sandbox`] first. Usually `/proc/self/exe`.
    pub helper: PathBuf,
}

/// Addresses of the sandboxes' side of the network, as root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// First address of a /16 that is not routed here otherwise. Each sandbox takes a /30 of it.
    pub range: Ipv4Addr,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        NetworkConfig { range: Ipv4Addr::new(10, 213, 0, 0) }
    }
}

impl Config {
    /// Variables that always pass through, with the files that they name: proxies, certificates, indexes, locale.
    pub const PASSED: &[&str] = &[
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "FTP_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "ftp_proxy",
        "all_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "NIX_SSL_CERT_FILE",
        "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "PIP_CERT",
        "GIT_SSL_CAINFO",
        "GIT_SSL_CAPATH",
        "AWS_CA_BUNDLE",
        "HTTPLIB2_CA_CERTS",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        "CARGO_HTTP_CAINFO",
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_FIND_LINKS",
        "PIP_DEFAULT_TIMEOUT",
        "PIP_DISABLE_PIP_VERSION_CHECK",
        "NPM_CONFIG_REGISTRY",
        "npm_config_registry",
        "GOPROXY",
        "GOSUMDB",
        "LANG",
        "LC_ALL",
        "TZ",
    ];

    /// The usual settings for this process: its own HOME, PATH and environment.
    pub fn from_env(state_dir: impl AsRef<Path>) -> Config {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Config {
            state_dir: state_dir.as_ref().to_owned(),
            home: PathBuf::from(environment.get("HOME").map_or("/root", String::as_str)),
            path: environment
                .get("PATH")
                .cloned()
                .unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned()),
            environment,
            passthrough_env: Vec::new(),
            extra_folders: Vec::new(),
            network: NetworkConfig::default(),
            helper: PathBuf::from("/proc/self/exe"),
        }
    }
}
