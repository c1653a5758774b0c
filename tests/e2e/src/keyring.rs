//! Keys to throw away, and what they sign: the operator's side of signed operations, without the operator's tool.
//!
//! Every key follows from a number, so that a failing test signs the same bytes again.

use ed25519_dalek::{Signer, SigningKey};
use felhom_shared::id::GuestId;
use felhom_shared::report::PendingOp;
use felhom_shared::signed::{
    Draft, KeyEntry, Keyset, Namespace, Nonce, Op, PublicKey, Request, Role, Signed, Target, Thresholds,
    ToBeSigned,
};
use jiff::Timestamp;
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{Algorithm, HashAlg, LineEnding, Signature, SshSig};
use uuid::Uuid;

use crate::document::host_id;

const HOUR_MS: u64 = 3600 * 1000;

/// A key.
#[derive(Debug, Clone)]
pub struct Key(SigningKey);

impl Key {
    /// The key of a number.
    #[must_use]
    pub fn number(number: u8) -> Self {
        Self(SigningKey::from_bytes(&[number; 32]))
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let line = ssh_key::PublicKey::new(self.data(), "").to_openssh().expect("a key has a line");
        line.parse().expect("a fresh key is a strong one")
    }

    fn data(&self) -> KeyData {
        KeyData::Ed25519(Ed25519PublicKey(self.0.verifying_key().to_bytes()))
    }

    /// The key itself, for tests that sign what no signer should.
    #[must_use]
    pub fn raw(&self) -> &SigningKey {
        &self.0
    }

    /// An armored signature.
    #[must_use]
    pub fn armor(&self, namespace: Namespace, payload: &str) -> String {
        let raw = self.0.sign(ToBeSigned::new(namespace, payload).as_bytes());
        self.armor_of(namespace.as_str(), HashAlg::Sha512, &raw.to_bytes())
    }

    /// The armor around any 64 bytes.
    #[must_use]
    pub fn armor_of(&self, namespace: &str, hash: HashAlg, raw: &[u8; 64]) -> String {
        let signature = Signature::new(Algorithm::Ed25519, raw.to_vec()).expect("64 bytes");
        let sig = SshSig::new(self.data(), namespace, hash, signature).expect("a namespace");
        format!("{}\n", sig.to_pem(LineEnding::LF).expect("it encodes").trim_end())
    }

    /// An envelope with this key's signature alone.
    #[must_use]
    pub fn sign(&self, namespace: Namespace, payload: &str) -> String {
        Signed::join(payload, &[self.armor(namespace, payload)])
    }
}

/// One root key, one operator's key, and the keyset that says so.
#[derive(Debug, Clone)]
pub struct Keyring {
    /// Signs keysets, and operations on trust and time.
    pub root: Key,
    /// Signs operations on guests.
    pub ops: Key,
    keyset: Keyset,
}

impl Default for Keyring {
    fn default() -> Self {
        Self::new()
    }
}

impl Keyring {
    /// A keyring.
    #[must_use]
    pub fn new() -> Self {
        let (root, ops) = (Key::number(1), Key::number(2));
        let entry = |key: &Key, role| KeyEntry { public: key.public(), roles: vec![role] };
        let keyset = Keyset {
            version: 1,
            prev_sha256: None,
            keys: vec![entry(&root, Role::Root), entry(&ops, Role::Ops)],
            thresholds: Thresholds { root: 1, ops: 1, destroy: 1, release: 1 },
            hub_pins: Vec::new(),
            escrow_recipients: Vec::new(),
        };
        Self { root, ops, keyset }
    }

    /// The keyset in its present version.
    #[must_use]
    pub fn keyset(&self) -> &Keyset {
        &self.keyset
    }

    /// The keyset, signed by the root key.
    #[must_use]
    pub fn keyset_blob(&self) -> String {
        self.root.sign(Namespace::Keyset, &self.keyset.to_payload())
    }

    /// The next version after `change`, signed by the root key.
    #[must_use]
    pub fn next(&self, change: impl FnOnce(&mut Keyset)) -> Self {
        let mut keyset = self.keyset.clone();
        keyset.version += 1;
        keyset.prev_sha256 = Some(self.keyset.digest());
        change(&mut keyset);
        Self { keyset, ..self.clone() }
    }

    /// A pending operation as it was reported, issued now and signed by the operator.
    #[must_use]
    pub fn release(&self, pending: &PendingOp) -> String {
        let draft = serde_json::json!({"op": pending.op, "target": pending.target, "params": pending.params});
        let draft = Draft::parse(draft.to_string().as_bytes()).expect("a reported draft is a good one");
        self.sign(&self.issued(draft))
    }

    /// A draft with a fresh nonce, issued now for an hour.
    #[must_use]
    pub fn issued(&self, draft: Draft) -> Op {
        let now_ms = u64::try_from(Timestamp::now().as_millisecond()).expect("it is after 1970");
        let nonce = Nonce(*Uuid::new_v4().as_bytes());
        draft.into_op(nonce, now_ms, now_ms + HOUR_MS, self.ops.public().fingerprint())
    }

    /// An operation signed by the operator's key.
    #[must_use]
    pub fn sign(&self, op: &Op) -> String {
        self.ops.sign(Namespace::Op, &op.to_payload())
    }

    /// An operation on the box, signed by the root key.
    #[must_use]
    pub fn root_op(&self, request: Request) -> String {
        let draft = Draft { request, target: Target { host_id: host_id(), guest_id: None } };
        let op = Op { key_id: self.root.public().fingerprint(), ..self.issued(draft) };
        self.root.sign(Namespace::Op, &op.to_payload())
    }
}

/// A draft for a guest of this host.
#[must_use]
pub fn op_on(guest_id: GuestId, request: Request) -> Draft {
    Draft { request, target: Target { host_id: host_id(), guest_id: Some(guest_id) } }
}
