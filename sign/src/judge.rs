//! Whether an envelope is what a keyset allows: for auditors, and for whoever wants to know before uploading.

use felhom_shared::signed::{
    self, Authority, Keyset, Namespace, PublicKey, Rejection, Role, Signed, VerifiedOp, authorise,
    enough_roots, read_op,
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
    let (keyset, verified) = signed::successor(before, envelope)?;
    Ok(JudgedKeyset { keyset, signers: verified.signers().to_vec() })
}

/// Checks an operation: signatures by the role it needs, as many as the keyset asks for. Its window is not looked
/// at: an auditor reads operations long after their time.
pub fn op(keyset: &Keyset, envelope: &[u8]) -> Result<JudgedOp, Rejection> {
    let verified = read_op(Signed::decode(envelope)?, keyset)?;
    let authority = authorise(&verified, keyset)?;
    Ok(JudgedOp { verified, authority, needed: authority.threshold(keyset) })
}
