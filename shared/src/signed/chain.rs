//! From one keyset to the next: the first is known by its digest, every other by the signatures of the one
//! before. There is no other way in, and no expiry that could lock a sleeping box out.

use super::authority::enough;
use super::envelope::{Namespace, Signed};
use super::key::PublicKey;
use super::keyset::{Keyset, Role};
use super::rejection::Rejection;
use super::verify::Verified;

/// A keyset that is trusted, and how one came to trust it. Only [`genesis`] and [`next`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted(Keyset);

impl Trusted {
    /// The keyset.
    #[must_use]
    pub fn keyset(&self) -> &Keyset {
        &self.0
    }
}

/// The first keyset: signed by its own root keys, and known by a digest that did not come from the hub.
pub fn genesis(envelope: &[u8], digest: &str) -> Result<Trusted, Rejection> {
    let signed = Signed::decode(envelope)?;
    let keyset = Keyset::parse(signed.unverified_payload())?;
    if keyset.version != 1 || keyset.digest() != digest {
        return Err(Rejection::KeysetGenesis);
    }
    let verified = signed.verify(Namespace::Keyset, &keyset.keys_of(Role::Root))?;
    enough_roots(&keyset, verified.signers())?;
    Ok(Trusted(keyset))
}

/// The keyset after `trusted`: signed by enough root keys of both.
pub fn next(trusted: &Trusted, envelope: &[u8]) -> Result<Trusted, Rejection> {
    successor(trusted.keyset(), envelope).map(|(keyset, _)| Trusted(keyset))
}

/// The keyset after `before`, and who signed it. Trusted no more than `before` is: see [`next`].
pub fn successor(before: &Keyset, envelope: &[u8]) -> Result<(Keyset, Verified), Rejection> {
    let signed = Signed::decode(envelope)?;
    let keyset = Keyset::parse(signed.unverified_payload())?;
    if Some(keyset.version) != before.version.checked_add(1) {
        return Err(Rejection::KeysetVersion);
    }
    if keyset.prev_sha256.as_deref() != Some(before.digest().as_str()) {
        return Err(Rejection::KeysetPrev);
    }
    let mut roots = before.keys_of(Role::Root);
    roots.extend(keyset.keys_of(Role::Root));
    let verified = signed.verify(Namespace::Keyset, &roots)?;
    enough_roots(before, verified.signers())?;
    enough_roots(&keyset, verified.signers())?;
    Ok((keyset, verified))
}

/// Whether enough root keys of the keyset are among the signers, each counted once.
pub fn enough_roots(keyset: &Keyset, signers: &[PublicKey]) -> Result<(), Rejection> {
    let roots = keyset.keys_of(Role::Root);
    let given = signers.iter().filter(|signer| roots.contains(signer)).count();
    enough(given, keyset.thresholds.root)
}
