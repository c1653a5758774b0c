//! Secrets at rest: sealed under a key that is drawn from the pepper, which lies outside the database. Who has only the
//! database, or a copy of it, reads none of them; who can write it cannot give one host another's.
//!
//! ChaCha20-Poly1305 with a nonce of its own for each value; host and name are bound to it.

use felhom_shared::id::HostId;
use felhom_shared::secret::{SecretRef, SecretValue};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Why a secret cannot be sealed or opened. Says nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The system has no randomness.
    #[error("no randomness")]
    Random,
    /// Another pepper, another host, or a changed row.
    #[error(
        "a secret cannot be opened: the pepper is not the one it was sealed with, or the database was changed"
    )]
    Closed,
}

/// Seals and opens. Cheap to make.
pub struct Seal(LessSafeKey);

impl Seal {
    /// With a key of 32 bytes that is used for nothing else.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key of 32 bytes")))
    }

    /// Nonce and sealed value.
    pub fn close(
        &self,
        host_id: HostId,
        named: &SecretRef,
        value: &SecretValue,
    ) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let mut sealed = nonce.to_vec();
        let mut text = Zeroizing::new(value.expose().as_bytes().to_vec());
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), bound(host_id, named), &mut text)
            .map_err(|_| SealError::Closed)?;
        sealed.extend_from_slice(&text);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// The value, if it is this host's under this name and hash.
    pub fn open(&self, host_id: HostId, named: &SecretRef, sealed: &[u8]) -> Result<SecretValue, SealError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Closed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Closed)?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let open = self.0.open_in_place(nonce, bound(host_id, named), &mut text);
        let text =
            std::str::from_utf8(open.map_err(|_| SealError::Closed)?).map_err(|_| SealError::Closed)?;
        let value = SecretValue::new(text).map_err(|_| SealError::Closed)?;
        if value.sha256() == named.sha256 { Ok(value) } else { Err(SealError::Closed) }
    }
}

fn bound(host_id: HostId, named: &SecretRef) -> Aad<String> {
    Aad::from(format!("felhom/secret/v1\0{host_id}\0{}", named.secret))
}

#[cfg(test)]
mod tests {
    use felhom_shared::secret::SecretName;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_secret_opens_for_its_host_and_name_under_its_key_and_no_other() {
        let value = SecretValue::new("eyJhIjoi").unwrap();
        let named = SecretRef { secret: SecretName::new("tunnel-token").unwrap(), sha256: value.sha256() };
        let (host_id, other) = (HostId(Uuid::from_u128(1)), HostId(Uuid::from_u128(2)));
        let seal = Seal::new(&[7; 32]);
        let sealed = seal.close(host_id, &named, &value).unwrap();
        assert!(!sealed.windows(8).any(|part| part == b"eyJhIjoi"));
        assert_ne!(sealed, seal.close(host_id, &named, &value).unwrap(), "a nonce is used once");
        assert_eq!(seal.open(host_id, &named, &sealed).unwrap(), value);
        let renamed = SecretRef { secret: SecretName::new("other").unwrap(), ..named.clone() };
        assert!(seal.open(other, &named, &sealed).is_err() && seal.open(host_id, &renamed, &sealed).is_err());
        assert!(Seal::new(&[8; 32]).open(host_id, &named, &sealed).is_err());
        for cut in [0, 5, NONCE_LEN, sealed.len() - 1] {
            assert!(seal.open(host_id, &named, &sealed[..cut]).is_err());
        }
    }
}
