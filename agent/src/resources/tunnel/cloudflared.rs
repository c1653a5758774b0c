//! What a running cloudflared says of itself, on the loopback address that its unit fixes.
//!
//! `/ready` answers 200 or 503 with its number of connections to Cloudflare, and `/metrics` carries its version. Neither says
//! whether a hostname leads anywhere: that is seen from outside.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Client;
use serde::Deserialize;

use crate::tls::{PinSource, client_config};

const PATIENCE: Duration = Duration::from_secs(2);
const BYTES_MAX: usize = 1 << 20;
/// The first line of interest: `build_info{goversion="…",revision="…",type="",version="2025.4.0"} 1`
const BUILD_INFO: &str = "build_info{";

/// How a cloudflared answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// Nobody listens there.
    Down,
    /// It runs, with so many connections.
    Runs {
        /// To Cloudflare; it opens four.
        connections: u32,
    },
    /// Something answers, and not as cloudflared does.
    Unclear(String),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "readyConnections")]
    ready_connections: u32,
}

/// A look at one cloudflared.
#[derive(Debug, Clone)]
pub(super) struct Cloudflared {
    client: Client,
    address: SocketAddr,
}

impl Cloudflared {
    pub(super) fn at(address: SocketAddr) -> Option<Self> {
        // Nothing here is spoken over TLS; no certificate has this key.
        let tls = client_config(PinSource::SpkiPins(vec![[0; 32]])).ok()?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .pool_max_idle_per_host(0)
            .build()
            .ok()?;
        Some(Self { client, address })
    }

    pub(super) async fn ready(&self) -> Ready {
        match self.get("ready").await {
            Ok(body) => match serde_json::from_slice::<Answer>(&body) {
                Ok(answer) => Ready::Runs { connections: answer.ready_connections },
                Err(_) => Ready::Unclear(format!(
                    "what listens on {} does not answer as cloudflared does",
                    self.address
                )),
            },
            Err(error) if error.is_connect() => Ready::Down,
            Err(_) => Ready::Unclear(format!("what listens on {} does not answer in time", self.address)),
        }
    }

    pub(super) async fn version(&self) -> Option<String> {
        let body = self.get("metrics").await.ok()?;
        let text = String::from_utf8_lossy(&body);
        version_in(&text).map(str::to_owned)
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, reqwest::Error> {
        let mut response = self.client.get(format!("http://{}/{path}", self.address)).send().await?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await? {
            body.extend_from_slice(&piece);
            if body.len() > BYTES_MAX {
                break;
            }
        }
        Ok(body)
    }
}

/// Plain characters only: what a stranger on that port says goes into a report.
fn version_in(metrics: &str) -> Option<&str> {
    let line = metrics.lines().find(|line| line.starts_with(BUILD_INFO))?;
    let (_, version) = line.rsplit_once(",version=\"")?;
    let version = version.split('"').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-+_".contains(c);
    (!version.is_empty() && version.len() <= 40 && version.chars().all(plain)).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_metrics() {
        let old = "# HELP build_info Build\nbuild_info{goversion=\"go1.24\",revision=\"2025-04-01\",version=\"2025.4.0\"} 1\n";
        let new = "build_info{goversion=\"go1.26\",revision=\"x\",type=\"\",version=\"2026.11.0\"} 1\n";
        assert_eq!((version_in(old), version_in(new)), (Some("2025.4.0"), Some("2026.11.0")));
        for bad in ["", "build_info{version=\"1\n", "build_info{a=\"b\",version=\"\u{202e}x\"} 1\n"] {
            assert_eq!(version_in(bad), None, "{bad:?}");
        }
    }
}
