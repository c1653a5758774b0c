//! May this operation run on this box, now? Pure, and in one fixed order: size, form, signatures, strict reading,
//! target, authority, what the document asks for, time. What comes later is not looked at before what comes
//! earlier has passed. Asked when an envelope arrives, and again right before the effect.

use felhom_shared::desired::{DesiredState, GuestSpec, Presence, StorageAction};
use felhom_shared::id::{HostId, StorageId};
use felhom_shared::signed::{
    Clock, Op, Rejection, Request, Signed, Trusted, VerifiedOp, authorise, check_window, read_op,
};

/// What a judgement depends on besides the envelope.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// This box.
    pub host_id: HostId,
    /// Whom it trusts.
    pub trusted: Option<&'a Trusted>,
    /// The document in force: the registry of guests.
    pub desired: Option<&'a DesiredState>,
    /// What it knows of the time.
    pub clock: Clock,
    /// Whether the hub has seen more of the ledger than is here.
    pub rolled_back: bool,
}

impl Judge<'_> {
    /// Judges an envelope. Whether its nonce was used is the ledger's to say.
    pub fn judge(&self, envelope: &[u8]) -> Result<VerifiedOp, Rejection> {
        let signed = Signed::decode(envelope)?;
        let keyset = self.trusted.ok_or(Rejection::NoTrustRoot)?.keyset();
        let verified = read_op(signed, keyset)?;
        let op = verified.op();
        self.check_target(op)?;
        authorise(&verified, keyset)?;
        self.check_asked_for(op)?;
        check_window(op, self.clock)?;
        if self.rolled_back && !matches!(op.request, Request::LedgerRebase(_)) {
            return Err(Rejection::LedgerRolledBack);
        }
        Ok(verified)
    }

    fn check_target(&self, op: &Op) -> Result<(), Rejection> {
        if op.target.host_id != self.host_id {
            return Err(Rejection::WrongHost);
        }
        match (op.request.expect(), op.target.guest_id) {
            (None, None) => Ok(()),
            (Some(_), Some(_)) => self.spec(op).map(|_| ()).ok_or(Rejection::UnknownGuest),
            (None, Some(_)) | (Some(_), None) => Err(Rejection::UnknownGuest),
        }
    }

    fn spec(&self, op: &Op) -> Option<&GuestSpec> {
        let guest_id = op.target.guest_id?;
        self.desired?.guests.iter().find(|spec| spec.guest_id == guest_id)
    }

    /// A signature releases what the document asks for; it does not replace the asking. What a document never asks
    /// for (a rollback, a restore) needs the guest to be wanted.
    fn check_asked_for(&self, op: &Op) -> Result<(), Rejection> {
        if let Some(storage) = op.request.storage() {
            return self.check_storage_asked_for(&op.request, storage);
        }
        let (Some(spec), Some(expect)) = (self.spec(op), op.request.expect()) else { return Ok(()) };
        let there = expect.config_digest.is_some();
        let fits = match op.request {
            Request::DestroyGuest(_) => spec.presence == Presence::Absent && there,
            Request::CreatePrivileged(_) => {
                spec.presence == Presence::Present && !spec.unprivileged && !there
            }
            Request::RollbackGuest(_) | Request::RestoreGuest(_) => {
                spec.presence == Presence::Present && there
            }
            Request::FormatDrive(_)
            | Request::AssignStorage(_)
            | Request::DetachStorage(_)
            | Request::ReplaceDrive(_)
            | Request::ClockReset(_)
            | Request::VoidBefore(_)
            | Request::LedgerRebase(_)
            | Request::ResetGeneration(_) => true,
        };
        if fits { Ok(()) } else { Err(Rejection::NotAskedFor) }
    }

    fn check_storage_asked_for(&self, request: &Request, storage: &StorageId) -> Result<(), Rejection> {
        let specs = self.desired.map(|desired| &desired.storage[..]).unwrap_or_default();
        let spec = specs.iter().find(|spec| spec.storage == *storage).ok_or(Rejection::NotAskedFor)?;
        let fits = match request {
            Request::FormatDrive(format) => {
                spec.action == StorageAction::Format
                    && spec.filesystem == Some(format.filesystem)
                    && spec.durable_id == format.expect.durable_id
            }
            Request::AssignStorage(assign) => {
                spec.action != StorageAction::Ignore
                    && (spec.role, &spec.content) == (assign.role, &assign.content)
                    && spec.durable_id == assign.expect.durable_id
            }
            Request::DetachStorage(detach) => {
                spec.action == StorageAction::Ignore && spec.durable_id == detach.expect.durable_id
            }
            Request::ReplaceDrive(replace) => {
                spec.action != StorageAction::Ignore && spec.durable_id == replace.durable_id
            }
            _ => false,
        };
        if fits { Ok(()) } else { Err(Rejection::NotAskedFor) }
    }
}
