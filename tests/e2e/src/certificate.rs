//! A server's certificate made for one test, and the pin by which an agent knows it.

use std::net::TcpStream;
use std::sync::Arc;

use felhom_agent::tls::{pin_text, spki_pin_of_pem};
use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::PrivateKeyDer;

/// A self-signed certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// What a server serves with.
    pub server: Arc<ServerConfig>,
    /// `sha256:…` as it stands in an agent's configuration.
    pub pin: String,
}

impl Certificate {
    /// A certificate nobody has seen before.
    #[must_use]
    pub fn fresh() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("ring makes a key");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("rcgen writes PKCS#8");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has both versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("key and certificate belong together");
        let pin = spki_pin_of_pem(made.cert.pem().as_bytes()).expect("rcgen writes PEM");
        Self { server: Arc::new(server), pin: pin_text(&pin) }
    }

    /// Serves one connection on the calling thread, for tests that write the answer byte by byte.
    #[must_use]
    pub fn serve(&self, socket: TcpStream) -> rustls::StreamOwned<ServerConnection, TcpStream> {
        let connection = ServerConnection::new(Arc::clone(&self.server)).expect("the configuration is whole");
        rustls::StreamOwned::new(connection, socket)
    }
}
