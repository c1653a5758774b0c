//! The hub, for fetching what waits and bringing what was signed. No signing code calls this module.
//!
//! The hub is known by the certificate in a file: its own, byte for byte (whatever address it is reached at), or an
//! authority that signed it for the name in the address. Only HTTPS, no proxy, no redirect, answers bounded. What
//! it answers is data: the caller reads it as hostile.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use felhom_shared::id::HostId;
use felhom_shared::key::{ApiKey, KeyError, KeyKind};
use felhom_shared::text::chain;
use felhom_shared::wire::ApiError;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, Response};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::files::{self, FileError};

const TIMEOUT: Duration = Duration::from_secs(30);
const SHORT_ANSWER_BYTES_MAX: usize = 64 * 1024;
const CERTIFICATE_BYTES_MAX: usize = 256 * 1024;

/// Why the hub was not reached, or said no.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum NetworkError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0} holds no certificate (PEM) by which the hub could be known")]
    Certificate(PathBuf),
    #[error("{path} holds no operator's key (fhk1_o_…)")]
    Key { path: PathBuf, source: Option<KeyError> },
    #[error("the connection cannot be set up: {0}")]
    Setup(String),
    #[error("the hub cannot be reached: {0}")]
    Unreachable(String),
    #[error("the hub refuses ({status}, {}): {}", answer.code, answer.message)]
    Refused { status: u16, answer: ApiError },
    #[error("the hub's answer cannot be understood: {0}")]
    Malformed(String),
}

/// A hub, and the right to speak with it.
pub struct Hub {
    client: Client,
    runtime: tokio::runtime::Runtime,
    url: String,
    authorization: HeaderValue,
}

/// What the hub answers to an upload; it may say more.
#[derive(Deserialize)]
struct Queued {
    op_id: String,
}

impl Hub {
    /// The hub at `url`, known by the certificates in the file `ca`, asked with the operator's key in `key_file`.
    pub fn new(url: &str, ca: &Path, key_file: &Path) -> Result<Self, NetworkError> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls(ca)?)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| NetworkError::Setup(chain(&error)))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| NetworkError::Setup(error.to_string()))?;
        let authorization = authorization(key_file)?;
        Ok(Self { client, runtime, url: url.trim_end_matches('/').to_owned(), authorization })
    }

    /// The list of held steps, as bytes.
    pub fn pending(&self, host: Option<&str>, bytes_max: usize) -> Result<Vec<u8>, NetworkError> {
        let mut path = "/api/v1/operator/pending".to_owned();
        if let Some(host) = host {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("host", host).finish();
            path = format!("{path}?{query}");
        }
        self.call(Method::GET, &path, None, bytes_max)
    }

    /// Queues a signed operation for a host; answers its id.
    pub fn upload_op(&self, host_id: HostId, envelope: &str) -> Result<String, NetworkError> {
        let path = format!("/api/v1/operator/hosts/{host_id}/ops");
        let answer = self.call(Method::POST, &path, Some(envelope), SHORT_ANSWER_BYTES_MAX)?;
        let queued: Queued =
            serde_json::from_slice(&answer).map_err(|error| NetworkError::Malformed(error.to_string()))?;
        Ok(queued.op_id)
    }

    /// Stores a signed keyset under its version.
    pub fn put_keyset(&self, version: u64, envelope: &str) -> Result<(), NetworkError> {
        let path = format!("/api/v1/operator/keysets/{version}");
        self.call(Method::PUT, &path, Some(envelope), SHORT_ANSWER_BYTES_MAX).map(|_| ())
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
        bytes_max: usize,
    ) -> Result<Vec<u8>, NetworkError> {
        let url = format!("{}{path}", self.url);
        let mut request = self.client.request(method, url).header(AUTHORIZATION, self.authorization.clone());
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "text/plain").body(body.to_owned());
        }
        self.runtime.block_on(async {
            let response = request.send().await.map_err(|error| NetworkError::Unreachable(chain(&error)))?;
            answer(response, bytes_max).await
        })
    }
}

async fn answer(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, NetworkError> {
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| NetworkError::Unreachable(chain(&error)))?
    {
        if body.len() + chunk.len() > bytes_max {
            return Err(NetworkError::Malformed(format!("it is longer than {bytes_max} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return Ok(body);
    }
    let answer = serde_json::from_slice(&body).unwrap_or_else(|_| ApiError {
        code: "no_reason_given".to_owned(),
        message: "the answer is not of the hub's form; is something else listening at that address?"
            .to_owned(),
    });
    Err(NetworkError::Refused { status: status.as_u16(), answer })
}

fn authorization(path: &Path) -> Result<HeaderValue, NetworkError> {
    let refused = |source| NetworkError::Key { path: path.to_owned(), source };
    let bytes = files::read(path, 4096)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refused(None))?;
    let key = ApiKey::parse(text).map_err(|error| refused(Some(error)))?;
    if key.kind() != KeyKind::Operator {
        return Err(refused(None));
    }
    let bearer = Zeroizing::new(format!("Bearer {}", key.expose()));
    let mut value = HeaderValue::from_str(&bearer).map_err(|_| refused(None))?;
    value.set_sensitive(true);
    Ok(value)
}

fn tls(path: &Path) -> Result<ClientConfig, NetworkError> {
    let none = || NetworkError::Certificate(path.to_owned());
    let setup = |error: String| NetworkError::Setup(error);
    let pem = files::read(path, CERTIFICATE_BYTES_MAX)?;
    let known: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| none())?;
    let mut roots = RootCertStore::empty();
    for certificate in &known {
        roots.add(certificate.clone()).map_err(|_| none())?;
    }
    let provider = Arc::new(ring::default_provider());
    let by_authority = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|_| none())?;
    let verifier = Arc::new(KnownHub { known, by_authority, provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

/// The hub whose certificate is in the file, or is signed by one in it.
#[derive(Debug)]
struct KnownHub {
    known: Vec<CertificateDer<'static>>,
    by_authority: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for KnownHub {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.known.iter().any(|known| known == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        self.by_authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
