//! SSH signatures put together by hand, field by field, from OpenSSH's PROTOCOL.sshsig and PROTOCOL.u2f.
//!
//! Does not use the crate that the reader uses: what both agree on has been written twice, and what no honest
//! signer writes can be written here.

use data_encoding::BASE64;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256, Sha512};

/// Algorithm of a software key.
pub(crate) const ED25519: &str = "ssh-ed25519";
/// Algorithm of a key in a security key.
pub(crate) const SECURITY_KEY: &str = "sk-ssh-ed25519@openssh.com";
/// The flag that says a person touched the key.
pub(crate) const TOUCHED: u8 = 1;

/// A signature's fields, each of which may be anything.
#[derive(Clone)]
pub(crate) struct Forged {
    pub(crate) version: u32,
    pub(crate) public: Vec<u8>,
    pub(crate) namespace: String,
    pub(crate) reserved: Vec<u8>,
    pub(crate) hash: String,
    pub(crate) signature: Vec<u8>,
}

impl Forged {
    /// The signature of a software key as ssh-keygen makes it.
    pub(crate) fn by(key: &SigningKey, namespace: &str, payload: &str) -> Self {
        let raw = key.sign(&to_sign(namespace, payload)).to_bytes();
        Self {
            version: 1,
            public: public(key),
            namespace: namespace.to_owned(),
            reserved: Vec::new(),
            hash: "sha512".to_owned(),
            signature: [field(ED25519.as_bytes()), field(&raw)].concat(),
        }
    }

    /// The signature of a security key with this application, flags and counter.
    pub(crate) fn by_security_key(
        key: &SigningKey,
        (application, flags, counter): (&str, u8, u32),
        namespace: &str,
        payload: &str,
    ) -> Self {
        let mut signed = Sha256::digest(application.as_bytes()).to_vec();
        signed.push(flags);
        signed.extend(counter.to_be_bytes());
        signed.extend(Sha256::digest(to_sign(namespace, payload)));
        let raw = key.sign(&signed).to_bytes();
        let mut signature = [field(SECURITY_KEY.as_bytes()), field(&raw)].concat();
        signature.push(flags);
        signature.extend(counter.to_be_bytes());
        let public = security_key(key, application);
        Self { public, signature, ..Self::by(key, namespace, payload) }
    }

    /// The armor as ssh-keygen prints it.
    pub(crate) fn armor(&self) -> String {
        let blob = [
            b"SSHSIG".to_vec(),
            self.version.to_be_bytes().to_vec(),
            field(&self.public),
            field(self.namespace.as_bytes()),
            field(&self.reserved),
            field(self.hash.as_bytes()),
            field(&self.signature),
        ];
        armored(&blob.concat())
    }
}

/// The armor around any bytes: lines of seventy characters.
pub(crate) fn armored(blob: &[u8]) -> String {
    let base64 = BASE64.encode(blob);
    let lines: Vec<&str> = base64
        .as_bytes()
        .chunks(70)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

/// What a key signs for a payload.
pub(crate) fn to_sign(namespace: &str, payload: &str) -> Vec<u8> {
    let digest = Sha512::digest(payload.as_bytes());
    [b"SSHSIG".to_vec(), field(namespace.as_bytes()), field(b""), field(b"sha512"), field(&digest)].concat()
}

/// A software key's public half as it stands in a signature.
pub(crate) fn public(key: &SigningKey) -> Vec<u8> {
    [field(ED25519.as_bytes()), field(key.verifying_key().as_bytes())].concat()
}

/// A security key's public half as it stands in a signature.
pub(crate) fn security_key(key: &SigningKey, application: &str) -> Vec<u8> {
    let point = field(key.verifying_key().as_bytes());
    [field(SECURITY_KEY.as_bytes()), point, field(application.as_bytes())].concat()
}

/// The line of a public key as it stands in a keyset.
pub(crate) fn line(algorithm: &str, public: &[u8]) -> String {
    format!("{algorithm} {}", BASE64.encode(public))
}

/// SSH's `string`: four bytes of length, then the bytes.
pub(crate) fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a test's field is short");
    [&length.to_be_bytes(), bytes].concat()
}
