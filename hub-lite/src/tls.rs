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
use zeroize::Zeroizing;

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
    let make = |error: rcgen::Error| TlsError::Make(error.to_string());
    let file = |path: &Path, source| TlsError::File { path: path.to_owned(), source };
    if !key.exists() {
        let pair = rcgen::KeyPair::generate().map_err(make)?;
        let pem = Zeroizing::new(pair.serialize_pem());
        write_first(&key, pem.as_bytes()).map_err(|error| file(&key, error))?;
    }
    if !certificate.exists() {
        // From the key as it lies there: the boxes know the key, so a lost certificate locks nobody out.
        let pem = Zeroizing::new(std::fs::read_to_string(&key).map_err(|error| file(&key, error))?);
        let pair = rcgen::KeyPair::from_pem(&pem).map_err(make)?;
        let names = ["felhom-hub".to_owned(), "localhost".to_owned()];
        let made = rcgen::CertificateParams::new(names).and_then(|params| params.self_signed(&pair));
        let pem = made.map_err(make)?.pem();
        write_first(&certificate, pem.as_bytes()).map_err(|error| file(&certificate, error))?;
    }
    Ok((certificate, key))
}

/// Writes a file that only its owner may read, whole or not at all, durably, and only if there is none: of two
/// processes that begin a hub at once the first one's pepper and key count.
pub(crate) fn write_first(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension(format!("new-{}", uuid::Uuid::new_v4()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&new, path);
    std::fs::remove_file(&new)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}
