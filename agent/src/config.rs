//! The agent's configuration: one TOML file, every default in this file.
//!
//! Never edited by code. Secrets are not in it: it names the files that hold them, and refuses one that others
//! may read.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use felhom_shared::id::{HostId, NodeName};
use felhom_shared::key::ApiKey;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::pve::ApiToken;
use crate::resources::tunnel::METRICS;

/// Where the configuration is looked for.
pub const DEFAULT_PATH: &str = "/etc/felhom/agent.toml";

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this box is at the hub.
    pub host_id: HostId,
    /// Where the agent keeps its state.
    #[serde(default = "state_dir")]
    pub state_dir: PathBuf,
    /// Guests that may be changed in an hour without a signature. Only a person at the box can raise it.
    #[serde(default = "change_budget_per_hour")]
    pub change_budget_per_hour: u32,
    /// Below which folder `sys`, `run/udev` and `proc` tell of drives, and the tunnel lies. `/` but beside a double.
    #[serde(default = "drives_root")]
    pub drives_root: PathBuf,
    /// The hub.
    pub hub: HubConfig,
    /// The Proxmox API of this host.
    #[serde(default)]
    pub pve: PveConfig,
    /// Whose signatures count.
    #[serde(default)]
    pub trust: TrustConfig,
    /// Numbers for a monitoring of the operator's own.
    #[serde(default)]
    pub metrics: MetricsConfig,
    /// The tunnel.
    #[serde(default)]
    pub tunnel: TunnelConfig,
}

/// The tunnel of this box.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TunnelConfig {
    /// The Cloudflare account whose tunnels may run here; none: any. Not the hub's to say.
    pub account: Option<String>,
    /// Where the tunnel's unit has cloudflared tell of itself. As the unit says, but beside a double.
    pub metrics: SocketAddr,
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self { account: None, metrics: METRICS }
    }
}

/// Numbers for a monitoring of the operator's own. Off by default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// The file for node-exporter's textfile collector, which reads names that end in `.prom`.
    #[serde(default)]
    pub textfile: Option<PathBuf>,
}

/// Whose signatures count.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustConfig {
    /// SHA-256 of the first keyset's payload, 64 hex digits. Comes on paper, never from the hub. Without it nothing
    /// that needs a signature is ever done.
    #[serde(default)]
    pub genesis_sha256: Option<String>,
}

/// How the hub is reached and recognised.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubConfig {
    /// `https://…`
    pub url: String,
    /// Accepted public keys, `sha256:<hex>` of the certificate's SubjectPublicKeyInfo.
    pub pins: Vec<String>,
    /// The file with the host's API key.
    #[serde(default = "hub_key_file")]
    pub key_file: PathBuf,
    /// How long a poll stays parked, seconds, from 5 to 50: shorter where something on the way cuts quiet connections
    /// sooner than in a minute.
    #[serde(default = "poll_wait_s")]
    pub poll_wait_s: u64,
}

/// How the Proxmox API is reached and recognised.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PveConfig {
    /// The API's address.
    pub url: String,
    /// The certificate that pveproxy serves; read again when it is renewed. Without it, the one pveproxy takes.
    pub certificate: Option<PathBuf>,
    /// The file with the API token, `user@realm!id=secret`.
    pub token_file: PathBuf,
    /// The node's name, where the API shows several.
    pub node: Option<NodeName>,
}

impl Default for PveConfig {
    fn default() -> Self {
        Self {
            url: "https://127.0.0.1:8006".to_owned(),
            certificate: None,
            token_file: "/etc/felhom/pve-token".into(),
            node: None,
        }
    }
}

/// The longest that a poll stays parked; systemd's patience with the agent is reckoned with it.
pub(crate) const POLL_WAIT_S_MAX: u64 = 50;
const POLL_WAIT_S_MIN: u64 = 5;

/// Where pveproxy looks for its certificate, in its order: one given by a person, then the cluster's own.
const PVEPROXY_CERTIFICATES: [&str; 2] = ["/etc/pve/local/pveproxy-ssl.pem", "/etc/pve/local/pve-ssl.pem"];

impl PveConfig {
    /// The file with the certificate to expect.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        let served = || PVEPROXY_CERTIFICATES.iter().map(PathBuf::from).find(|path| path.exists());
        let known = self.certificate.clone().or_else(served);
        known.unwrap_or_else(|| PVEPROXY_CERTIFICATES[1].into())
    }
}

fn state_dir() -> PathBuf {
    "/var/lib/felhom".into()
}

fn drives_root() -> PathBuf {
    "/".into()
}

fn hub_key_file() -> PathBuf {
    "/etc/felhom/hub-key".into()
}

/// Below the idle limits of common proxies and NATs.
fn poll_wait_s() -> u64 {
    POLL_WAIT_S_MAX
}

fn change_budget_per_hour() -> u32 {
    20
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a valid configuration.
    #[error("{path} is not a valid configuration: {text}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and what, as the parser says it.
        text: String,
    },
    /// A secret that others on the box may read.
    #[error("{path} may be read by others: make it private with `chmod 600 {path}`")]
    TooOpen {
        /// Which file.
        path: PathBuf,
    },
    /// A file that does not hold what it should.
    #[error("{path} does not hold {what}: {reason}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// What is wrong; never the content.
        reason: String,
    },
}

impl HubConfig {
    /// How long a poll stays parked, within what is allowed.
    #[must_use]
    pub fn poll_wait_s(&self) -> u64 {
        self.poll_wait_s.clamp(POLL_WAIT_S_MIN, POLL_WAIT_S_MAX)
    }
}

impl Config {
    /// Reads a configuration file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path)?;
        toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), text: error.to_string() })
    }

    /// The host's API key.
    pub fn hub_key(&self) -> Result<ApiKey, ConfigError> {
        let path = &self.hub.key_file;
        ApiKey::parse(&read_secret(path)?).map_err(|error| ConfigError::Content {
            path: path.clone(),
            what: "a felhom key",
            reason: error.to_string(),
        })
    }

    /// The Proxmox API token.
    pub fn pve_token(&self) -> Result<ApiToken, ConfigError> {
        let path = &self.pve.token_file;
        ApiToken::new(read_secret(path)?.trim()).map_err(|error| ConfigError::Content {
            path: path.clone(),
            what: "a Proxmox API token",
            reason: error.to_string(),
        })
    }
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let metadata =
        fs::metadata(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(ConfigError::TooOpen { path: path.to_owned() });
    }
    read_text(path).map(Zeroizing::new)
}
