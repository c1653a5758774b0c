//! The hub's certificate: its own, made once, or files given. Agents know it by its public key, so renewing the
//! certificate with the same key changes nothing for them.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use crate::config::Config;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum TlsError {
    #[error("cannot read or write {path}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path} does not hold a PEM {what}: {text}")]
    Pem { path: PathBuf, what: &'static str, text: String },
    #[error("the hub's own certificate cannot be made: {0}")]
    Make(String),
    #[error("certificate and key do not serve TLS: {0}")]
    Use(#[from] rustls::Error),
}

/// What is served, and what agents know it by.
pub struct Identity {
    /// For the acceptor.
    pub server: Arc<ServerConfig>,
    /// `sha256:<hex>` of the public key.
    pub pin: String,
}

/// Reads the certificate, making the hub's own at first start.
pub fn identity(config: &Config) -> Result<Identity, TlsError> {
    let (certificate, key) = match (&config.certificate, &config.private_key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ => own(&config.data_dir)?,
    };
    let bad = |path: &Path, what, text: String| TlsError::Pem { path: path.to_owned(), what, text };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect)
        .map_err(|error| bad(&certificate, "certificate", error.to_string()))?;
    let private =
        PrivateKeyDer::from_pem_file(&key).map_err(|error| bad(&key, "private key", error.to_string()))?;
    let pair = rustls::crypto::ring::sign::any_supported_type(&private)?;
    let spki =
        pair.public_key().ok_or_else(|| bad(&key, "private key", "it has no public key".to_owned()))?;
    let pin = format!("sha256:{}", data_encoding::HEXLOWER.encode(&Sha256::digest(&spki)));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Identity { server: Arc::new(server), pin })
}

fn own(folder: &Path) -> Result<(PathBuf, PathBuf), TlsError> {
    let (certificate, key) = (folder.join("hub-cert.pem"), folder.join("hub-key.pem"));
    if !key.exists() || !certificate.exists() {
        let made = rcgen::generate_simple_self_signed(["felhom-hub".to_owned(), "localhost".to_owned()])
            .map_err(|error| TlsError::Make(error.to_string()))?;
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::File { path, source }
        };
        write_private(&key, made.signing_key.serialize_pem().as_bytes()).map_err(file(&key))?;
        std::fs::write(&certificate, made.cert.pem()).map_err(file(&certificate))?;
    }
    Ok((certificate, key))
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(new, path)
}
