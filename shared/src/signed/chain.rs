//! From one keyset to the next: the first is known by its digest, every other by the signatures of the one
//! before. There is no other way in, and no expiry that could lock a sleeping box out.

use super::envelope::{Namespace, Signed};
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
    enough(&keyset, &verified)?;
    Ok(Trusted(keyset))
}

/// The keyset after `trusted`: signed by enough root keys of both.
pub fn next(trusted: &Trusted, envelope: &[u8]) -> Result<Trusted, Rejection> {
    let signed = Signed::decode(envelope)?;
    let before = trusted.keyset();
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
    enough(before, &verified)?;
    enough(&keyset, &verified)?;
    Ok(Trusted(keyset))
}

/// Whether enough of the keyset's root keys are among the signers, each counted once.
fn enough(keyset: &Keyset, verified: &Verified) -> Result<(), Rejection> {
    let roots = keyset.keys_of(Role::Root);
    let given = verified.signers().iter().filter(|signer| roots.contains(signer)).count();
    let (given, needed) = (u8::try_from(given).unwrap_or(u8::MAX), keyset.thresholds.root);
    if given >= needed { Ok(()) } else { Err(Rejection::Threshold { needed, given }) }
}
