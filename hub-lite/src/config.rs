//! The hub's configuration: one TOML file, every default in this file. Secrets are not in it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::store::Commit;

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where HTTPS is served.
    pub listen: SocketAddr,
    /// Plain HTTP for a reverse proxy on the same machine; loopback only.
    pub listen_plain: Option<SocketAddr>,
    /// Numbers for Prometheus at `/metrics`, in plain HTTP and for whoever is on this machine; loopback only.
    pub metrics_listen: Option<SocketAddr>,
    /// Database, certificate, pepper.
    pub data_dir: PathBuf,
    /// How boxes reach this hub, if not at `listen`.
    pub public_url: Option<String>,
    /// A certificate chain in PEM; without it the hub makes its own.
    pub certificate: Option<PathBuf>,
    /// Its private key in PEM.
    pub private_key: Option<PathBuf>,
    /// How long an agent waits between cycles without news.
    pub poll_interval_s: u64,
    /// A host is stale after this long without a report.
    pub stale_after_s: u64,
    /// A host is down after this long without a report.
    pub down_after_s: u64,
    /// How often silence is looked for.
    pub check_every_s: u64,
    /// Reports older than this are forgotten, except each host's latest; durable records never are.
    pub keep_reports_days: u32,
    /// How often last-seen times and metrics are written down.
    pub flush_every_s: u64,
    /// Most connections at once.
    pub connections_max: u32,
    /// Time zone of the pages.
    pub timezone: String,
    /// How writes are committed; for benches.
    #[serde(skip)]
    pub commit: Commit,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            listen_plain: None,
            metrics_listen: None,
            data_dir: "/var/lib/felhom-hub".into(),
            public_url: None,
            certificate: None,
            private_key: None,
            poll_interval_s: 60,
            stale_after_s: 30 * 60,
            down_after_s: 60 * 60,
            check_every_s: 60,
            keep_reports_days: 90,
            flush_every_s: 300,
            connections_max: 50_000,
            timezone: "Europe/Budapest".to_owned(),
            commit: Commit::default(),
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
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
        /// Where and what.
        text: String,
    },
    /// The values contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), text: error.to_string() })?;
        config.check()?;
        Ok(config)
    }

    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |text| Err(ConfigError::Contradiction(text));
        if self.certificate.is_some() != self.private_key.is_some() {
            return refuse("`certificate` and `private_key` come together");
        }
        if self.listen_plain.is_some_and(|address| !address.ip().is_loopback()) {
            return refuse("`listen_plain` must be a loopback address: keys travel on it in clear");
        }
        if self.metrics_listen.is_some_and(|address| !address.ip().is_loopback()) {
            return refuse(
                "`metrics_listen` must be a loopback address: it asks nobody who they are. From elsewhere, `/metrics` at `listen` takes an operator's key",
            );
        }
        if self.stale_after_s == 0 || self.down_after_s <= self.stale_after_s {
            return refuse("`down_after_s` must be more than `stale_after_s`, and both more than 0");
        }
        if self.check_every_s == 0 || self.flush_every_s == 0 || !(5..=3600).contains(&self.poll_interval_s) {
            return refuse(
                "`check_every_s` and `flush_every_s` must be at least 1, `poll_interval_s` 5 to 3600",
            );
        }
        Ok(())
    }

    /// The staleness threshold.
    #[must_use]
    pub fn stale_after(&self) -> Duration {
        Duration::from_secs(self.stale_after_s)
    }

    /// The outage threshold.
    #[must_use]
    pub fn down_after(&self) -> Duration {
        Duration::from_secs(self.down_after_s)
    }
}
