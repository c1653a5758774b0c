//! The node's certificate: self-signed, kept as PEM where a client can pin it. Keys
//! never leave the directory.

use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXUPPER;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use crate::StartError;

/// File names in the double's directory.
pub(crate) const CERTIFICATE: &str = "pve-ssl.pem";
const KEY: &str = "pve-ssl.key";

/// A TLS configuration and the certificate's fingerprint as PVE prints it.
pub(crate) struct Identity {
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) fingerprint: String,
}

/// The certificate in `dir`, made where there is none.
pub(crate) fn load_or_make(dir: &Path, node: &str) -> Result<Identity, StartError> {
    if !dir.join(CERTIFICATE).exists() {
        make(dir, node)?;
    }
    load(dir)
}

/// A new certificate over the old one.
pub(crate) fn renew(dir: &Path, node: &str) -> Result<Identity, StartError> {
    make(dir, node)?;
    load(dir)
}

fn make(dir: &Path, node: &str) -> Result<(), StartError> {
    let names =
        vec![node.to_owned(), format!("{node}.home.arpa"), "localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).map_err(StartError::Certificate)?;
    params.distinguished_name.push(DnType::OrganizationName, "Proxmox Virtual Environment");
    params.distinguished_name.push(DnType::CommonName, format!("{node}.home.arpa"));
    let key = KeyPair::generate().map_err(StartError::Certificate)?;
    let certificate = params.self_signed(&key).map_err(StartError::Certificate)?;
    crate::files::write_private(&dir.join(KEY), key.serialize_pem().as_bytes())?;
    crate::files::write_atomic(&dir.join(CERTIFICATE), certificate.pem().as_bytes())
}

fn load(dir: &Path) -> Result<Identity, StartError> {
    let broken = |_| StartError::BrokenCertificate(dir.join(CERTIFICATE));
    let certificate = CertificateDer::from_pem_file(dir.join(CERTIFICATE)).map_err(broken)?;
    let key = PrivateKeyDer::from_pem_file(dir.join(KEY)).map_err(broken)?;
    let digest = HEXUPPER.encode(&Sha256::digest(&certificate));
    let pairs: Vec<&str> = digest.as_bytes().chunks(2).filter_map(|c| std::str::from_utf8(c).ok()).collect();
    let fingerprint = pairs.join(":");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(StartError::Tls)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(StartError::Tls)?;
    Ok(Identity { tls: Arc::new(tls), fingerprint })
}
