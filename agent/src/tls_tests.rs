//! Real handshakes over memory: a server with a fresh certificate, a client that pins another or the same.

use std::fs;
use std::io;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConnection, ServerConfig, ServerConnection};

use super::*;

struct Identity {
    pem: String,
    server: Arc<ServerConfig>,
}

fn identity() -> Identity {
    identity_signing_with(None)
}

/// With `other`, a thief: the certificate of one key, the signatures of another.
fn identity_signing_with(other: Option<rcgen::KeyPair>) -> Identity {
    let made = rcgen::generate_simple_self_signed(["pve1".to_owned()]).unwrap();
    let key = other.unwrap_or(made.signing_key);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let signer = provider.key_provider.load_private_key(key).unwrap();
    let certified = rustls::sign::CertifiedKey::new(vec![made.cert.der().clone()], signer);
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    Identity { pem: made.cert.pem(), server: Arc::new(server) }
}

/// Carries bytes both ways until the handshake stands or the client gives up.
fn handshake(client: &Arc<ClientConfig>, server: &Identity) -> Result<(), String> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(&server.server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        carry(|to| client.write_tls(to), |from| server.read_tls(from));
        server.process_new_packets().map_err(|e| e.to_string())?;
        carry(|to| server.write_tls(to), |from| client.read_tls(from));
        client.process_new_packets().map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn carry(
    mut write: impl FnMut(&mut dyn io::Write) -> io::Result<usize>,
    mut read: impl FnMut(&mut dyn io::Read) -> io::Result<usize>,
) {
    let mut bytes = Vec::new();
    while write(&mut bytes).unwrap() > 0 {}
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        read(&mut rest).unwrap();
    }
}

fn file_client(pem: &str) -> (tempfile::TempDir, PathBuf, Arc<ClientConfig>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pveproxy-ssl.pem");
    fs::write(&path, pem).unwrap();
    let config = client_config(PinSource::CertificateFile(path.clone())).unwrap();
    (dir, path, Arc::new(config))
}

#[test]
fn certificate_in_the_file_is_accepted_and_no_other() {
    let (ours, stranger) = (identity(), identity());
    let (_dir, path, client) = file_client(&ours.pem);
    assert_eq!(handshake(&client, &ours), Ok(()));
    let refused = handshake(&client, &stranger).unwrap_err();
    assert!(refused.contains("sha256:") && refused.contains(path.to_str().unwrap()), "{refused}");
}

#[test]
fn renewed_certificate_is_found_by_reading_the_file_again() {
    let (old, new) = (identity(), identity());
    let (_dir, path, client) = file_client(&old.pem);
    fs::write(&path, &new.pem).unwrap();
    // pveproxy may serve the old one until it is reloaded; the file is only looked at when the leaf is unknown.
    assert_eq!(handshake(&client, &old), Ok(()));
    assert_eq!(handshake(&client, &new), Ok(()));
    assert!(handshake(&client, &old).is_err());
}

#[test]
fn a_file_that_vanished_refuses_the_unknown_and_keeps_the_known() {
    let (ours, stranger) = (identity(), identity());
    let (_dir, path, client) = file_client(&ours.pem);
    fs::remove_file(&path).unwrap();
    let refused = handshake(&client, &stranger).unwrap_err();
    assert!(refused.contains("cannot be read again"), "{refused}");
    assert_eq!(handshake(&client, &ours), Ok(()));
}

#[test]
fn pinned_key_is_accepted_and_a_refusal_shows_both_pins() {
    let (ours, next, stranger) = (identity(), identity(), identity());
    let pins = [&ours, &next].map(|identity| spki_pin_of_pem(identity.pem.as_bytes()).unwrap());
    let client = Arc::new(client_config(PinSource::SpkiPins(pins.to_vec())).unwrap());
    assert_eq!(handshake(&client, &ours), Ok(()));
    assert_eq!(handshake(&client, &next), Ok(()));
    let refused = handshake(&client, &stranger).unwrap_err();
    let seen = pin_text(&spki_pin_of_pem(stranger.pem.as_bytes()).unwrap());
    assert!(refused.contains(&seen) && refused.contains(&pin_text(&pins[0])), "{refused}");
}

#[test]
fn a_stolen_certificate_without_its_key_is_refused() {
    let thief = identity_signing_with(Some(rcgen::KeyPair::generate().unwrap()));
    let pin = spki_pin_of_pem(thief.pem.as_bytes()).unwrap();
    let by_pin = Arc::new(client_config(PinSource::SpkiPins(vec![pin])).unwrap());
    let (_dir, _path, by_file) = file_client(&thief.pem);
    for client in [by_pin, by_file] {
        let refused = handshake(&client, &thief).unwrap_err();
        assert!(refused.contains("BadSignature") || refused.contains("signature"), "{refused}");
    }
}

#[test]
fn nothing_to_pin_is_an_error_before_any_connection() {
    assert!(matches!(client_config(PinSource::SpkiPins(vec![])), Err(TlsError::NoPins)));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty.pem");
    fs::write(&path, "no certificate here\n").unwrap();
    for path in [path, dir.path().join("missing.pem")] {
        assert!(matches!(
            client_config(PinSource::CertificateFile(path)),
            Err(TlsError::CertificateFile { .. })
        ));
    }
}

#[test]
fn pins_read_back_from_their_text() {
    let pin = spki_pin_of_pem(identity().pem.as_bytes()).unwrap();
    assert_eq!(parse_pin(&pin_text(&pin)).unwrap(), pin);
    assert_eq!(parse_pin(&pin_text(&pin).to_uppercase().replace("SHA256", "sha256")).unwrap(), pin);
    for bad in ["", "sha256:", "sha256:00", "sha1:00", &pin_text(&pin)[..70]] {
        assert!(parse_pin(bad).is_err(), "{bad}");
    }
}
