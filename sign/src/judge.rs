//! Whether an envelope is what a keyset allows: for auditors, and for whoever wants to know before uploading.

use felhom_shared::signed::{
    Authority, Keyset, Namespace, PublicKey, Rejection, Role, Signed, VerifiedOp, authority_of,
};

/// An operation that was checked against a keyset.
#[derive(Debug)]
pub struct JudgedOp {
    /// What, and who.
    pub verified: VerifiedOp,
    /// What it needed.
    pub authority: Authority,
    /// How many signatures that is in this keyset.
    pub needed: u8,
}

/// A keyset that was checked against the one before, or against itself.
#[derive(Debug)]
pub struct JudgedKeyset {
    /// The keyset.
    pub keyset: Keyset,
    /// Who signed.
    pub signers: Vec<PublicKey>,
}

/// Reads a keyset that the operator chose to trust by naming its file. Its own root keys must have signed it: that
/// it is whole is checked, that it is the right one is not.
pub fn own_word(envelope: &[u8]) -> Result<JudgedKeyset, Rejection> {
    let signed = Signed::decode(envelope)?;
    let keyset = Keyset::parse(signed.unverified_payload())?;
    let verified = signed.verify(Namespace::Keyset, &keyset.keys_of(Role::Root))?;
    let signers = verified.signers().to_vec();
    enough_roots(&keyset, &signers)?;
    Ok(JudgedKeyset { keyset, signers })
}

/// Checks that `envelope` is the keyset after `before`, signed by enough root keys of both.
pub fn successor(before: &Keyset, envelope: &[u8]) -> Result<JudgedKeyset, Rejection> {
    let signed = Signed::decode(envelope)?;
    let keyset = Keyset::parse(signed.unverified_payload())?;
    if Some(keyset.version) != before.version.checked_add(1) {
        return Err(Rejection::KeysetVersion);
    }
    if keyset.prev_sha256.as_deref() != Some(before.digest().as_str()) {
        return Err(Rejection::KeysetPrev);
    }
    let roots: Vec<_> = before.keys_of(Role::Root).into_iter().chain(keyset.keys_of(Role::Root)).collect();
    let signers = signed.verify(Namespace::Keyset, &roots)?.signers().to_vec();
    enough_roots(before, &signers)?;
    enough_roots(&keyset, &signers)?;
    Ok(JudgedKeyset { keyset, signers })
}

/// Whether enough root keys of `keyset` are among `signers`.
pub fn enough_roots(keyset: &Keyset, signers: &[PublicKey]) -> Result<(), Rejection> {
    let roots = keyset.keys_of(Role::Root);
    let given = signers.iter().filter(|signer| roots.contains(signer)).count();
    enough(given, keyset.thresholds.root)
}

fn enough(given: usize, needed: u8) -> Result<(), Rejection> {
    let given = u8::try_from(given).unwrap_or(u8::MAX);
    if given >= needed { Ok(()) } else { Err(Rejection::Threshold { needed, given }) }
}

/// Checks an operation: signatures by the role it needs, as many as the keyset asks for. Its window is not looked
/// at: an auditor reads operations long after their time.
pub fn op(keyset: &Keyset, envelope: &[u8]) -> Result<JudgedOp, Rejection> {
    let signed = Signed::decode(envelope)?;
    // As on the box: which role may sign is known only once the operation is read, so every key that may sign
    // operations is tried, and the role is asked afterwards.
    let mut keys = keyset.keys_of(Role::Ops);
    keys.extend(keyset.keys_of(Role::Root));
    let verified = signed.verify(Namespace::Op, &keys)?.op()?;
    let authority = authority_of(&verified.op().request);
    let role_keys = keyset.keys_of(authority.role);
    if verified.signers().iter().any(|signer| !role_keys.contains(&signer)) {
        return Err(Rejection::UnknownKey);
    }
    let needed = authority.threshold(keyset);
    enough(verified.signers().len(), needed)?;
    Ok(JudgedOp { verified, authority, needed })
}
