//! TLS towards the agent's only two peers, pveproxy on this host and the hub, each known by its leaf certificate.
//!
//! There are no root certificates here: a public authority's word that a name belongs to somebody says nothing
//! about whether this is *our* hub, and pveproxy's certificate is signed by a private authority anyway. So this
//! module looks at neither name, chain nor validity period; it compares the leaf with what was pinned, and has
//! the handshake's signature verified against that leaf. It refuses to offer a way to connect unchecked.

mod provider;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use sha2::{Digest, Sha256};

/// Where the knowledge of the peer's leaf certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// The leaf equals, byte for byte, a certificate in this PEM file. For pveproxy, whose certificate PVE
    /// renews on its own: when the leaf is not in the file as last read, the file is read once more.
    CertificateFile(PathBuf),
    /// The SHA-256 of the leaf's SubjectPublicKeyInfo is one of these. For the hub; the second pin is the
    /// next key, so that it can be changed without visiting every box.
    SpkiPins(Vec<[u8; 32]>),
}

/// Why TLS could not be set up, or a peer was refused.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The pinned certificate file cannot be read or holds no readable certificate.
    #[error("cannot read a certificate from {}; check that the file exists, is PEM and is readable by the agent", path.display())]
    CertificateFile {
        /// The file.
        path: PathBuf,
        /// What reading it ran into.
        source: rustls::pki_types::pem::Error,
    },
    /// No pin at all: nothing could ever be accepted.
    #[error("no pin was given for the peer's key; enrol again or add the hub's pin to the configuration")]
    NoPins,
    /// Bytes given as a certificate are none.
    #[error("this is not a PEM certificate: {0}")]
    NotACertificate(String),
    /// A text given as a pin is none.
    #[error("{0:?} is not a pin; one looks like sha256: followed by 64 hexadecimal digits")]
    NotAPin(String),
    /// rustls refuses the configuration.
    #[error("tls cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// Refusal of a peer's leaf, told so that a person can act on it.
#[derive(Debug, thiserror::Error)]
enum UnexpectedLeaf {
    #[error(
        "the server's certificate ({seen}) is not in {}, which was read again just now; restart pveproxy if \
         the file is newer than the service, else something other than pveproxy is answering", path.display()
    )]
    NotInFile { path: PathBuf, seen: String },
    #[error(
        "the server's certificate ({seen}) is not the one last read from {}, and the file cannot be read again \
         ({reason}); make it readable to the agent", path.display()
    )]
    FileUnreadable { path: PathBuf, seen: String, reason: String },
    #[error(
        "the server's key is {seen}, but pinned is {pinned}; if the hub's key was changed on purpose, add the new \
         pin to the agent's configuration, else the connection is being intercepted"
    )]
    NotPinned { seen: String, pinned: String },
}

/// A TLS client that accepts exactly the peers that `source` describes.
pub fn client_config(source: PinSource) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(provider::provider());
    let verifier = PinnedLeaf::new(source, Arc::clone(&provider))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // A resumed session is not shown to the verifier again; a withdrawn pin would keep working until it expires.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The pin of the first certificate in a PEM text: SHA-256 of its SubjectPublicKeyInfo.
pub fn spki_pin_of_pem(pem: &[u8]) -> Result<[u8; 32], TlsError> {
    let leaf = CertificateDer::from_pem_slice(pem).map_err(|e| TlsError::NotACertificate(e.to_string()))?;
    spki_pin(&leaf).map_err(|e| TlsError::NotACertificate(e.to_string()))
}

/// A pin as people read it: `sha256:` and hexadecimal digits.
#[must_use]
pub fn pin_text(pin: &[u8; 32]) -> String {
    format!("sha256:{}", data_encoding::HEXLOWER.encode(pin))
}

/// Reads what [`pin_text`] writes; upper-case digits are accepted too.
pub fn parse_pin(text: &str) -> Result<[u8; 32], TlsError> {
    text.strip_prefix("sha256:")
        .and_then(|hex| data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| TlsError::NotAPin(text.to_owned()))
}

/// The verifier: see the module's text for what it looks at.
struct PinnedLeaf {
    known: Known,
    provider: Arc<CryptoProvider>,
}

enum Known {
    File { path: PathBuf, last_read: Mutex<Vec<CertificateDer<'static>>> },
    Pins(Vec<[u8; 32]>),
}

impl PinnedLeaf {
    fn new(source: PinSource, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let known = match source {
            PinSource::CertificateFile(path) => match read_certificates(&path) {
                Ok(certificates) => Known::File { path, last_read: Mutex::new(certificates) },
                Err(source) => return Err(TlsError::CertificateFile { path, source }),
            },
            PinSource::SpkiPins(pins) if pins.is_empty() => return Err(TlsError::NoPins),
            PinSource::SpkiPins(pins) => Known::Pins(pins),
        };
        Ok(Self { known, provider })
    }

    fn check(&self, leaf: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        match &self.known {
            Known::File { path, last_read } => check_against_file(leaf, path, last_read).map_err(refusal),
            Known::Pins(pins) => {
                let seen = spki_pin(leaf)?;
                if pins.contains(&seen) {
                    return Ok(());
                }
                let pinned = pins.iter().map(pin_text).collect::<Vec<_>>().join(" or ");
                Err(refusal(UnexpectedLeaf::NotPinned { seen: pin_text(&seen), pinned }))
            }
        }
    }
}

fn check_against_file(
    leaf: &CertificateDer<'_>,
    path: &Path,
    last_read: &Mutex<Vec<CertificateDer<'static>>>,
) -> Result<(), UnexpectedLeaf> {
    // The list is replaced whole, so a panic elsewhere cannot have left it half written.
    let mut last_read = last_read.lock().unwrap_or_else(PoisonError::into_inner);
    if last_read.iter().any(|known| known == leaf) {
        return Ok(());
    }
    let seen = || pin_text(&Sha256::digest(leaf).into());
    match read_certificates(path) {
        Ok(certificates) => *last_read = certificates,
        Err(error) => {
            return Err(UnexpectedLeaf::FileUnreadable {
                path: path.to_owned(),
                seen: seen(),
                reason: error.to_string(),
            });
        }
    }
    if last_read.iter().any(|known| known == leaf) {
        return Ok(());
    }
    Err(UnexpectedLeaf::NotInFile { path: path.to_owned(), seen: seen() })
}

/// At least one certificate, or an error: an empty file pins nothing.
fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    let certificates = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(rustls::pki_types::pem::Error::NoItemsFound);
    }
    Ok(certificates)
}

fn spki_pin(leaf: &CertificateDer<'_>) -> Result<[u8; 32], rustls::Error> {
    let spki = ParsedCertificate::try_from(leaf)?.subject_public_key_info();
    Ok(Sha256::digest(spki.as_ref()).into())
}

/// Not as rustls' `CertificateError::Other`: that one is shown to people in its debug form.
fn refusal(why: UnexpectedLeaf) -> rustls::Error {
    rustls::Error::Other(OtherError(Arc::new(why)))
}

impl fmt::Debug for PinnedLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedLeaf").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for PinnedLeaf {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
