//! The last look before a guarded step: is the operation still good, and is the guest still the one?
//!
//! Everything is read anew: the envelope from disk, the keyset as it is now, the clock, and the guest from PVE.
//! Between this look and the effect there is only the write that says the step has begun.

use felhom_shared::desired::{DesiredState, GuestSpec};
use felhom_shared::id::{NodeName, StorageId};
use felhom_shared::report::Failure;
use felhom_shared::signed::{Rejection, Request, VerifiedOp};
use jiff::Timestamp;

use super::expect::{Match, compare};
use super::grants::Cleared;
use super::{Ops, clock};
use crate::observe::{Observer, failure};
use crate::pve::{GuestAt, Pve};
use crate::resources::storage::step::StorageStep;
use crate::state::StateError;
use crate::step::Step;

/// What the look came to.
#[derive(Debug)]
pub enum Permit<'a> {
    /// It may run now.
    Run(Cleared<'a>),
    /// It may not; the operation stands and may be looked at again.
    NotNow(Failure),
    /// It may not, and the operation is over.
    Never(Rejection),
}

/// Why a step may not run.
#[derive(Debug)]
pub enum No {
    /// The operation stands and may be looked at again.
    NotNow(Failure),
    /// The operation is over.
    Never(Rejection),
}

impl From<No> for Permit<'_> {
    fn from(no: No) -> Self {
        match no {
            No::NotNow(failure) => Self::NotNow(failure),
            No::Never(rejection) => Self::Never(rejection),
        }
    }
}

/// Where the guest is and what the document says of it.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The API.
    pub pve: &'a Pve,
    /// The node.
    pub node: &'a NodeName,
    /// The document in force.
    pub desired: &'a DesiredState,
}

impl Ops {
    /// Looks at a guarded step for the last time.
    pub async fn permit<'a>(
        &self,
        scene: Scene<'_>,
        spec: &GuestSpec,
        step: &'a Step,
    ) -> Result<Permit<'a>, StateError> {
        let never = |rejection| Ok(Permit::Never(rejection));
        let verified = match self.still_good(step, scene.desired)? {
            Ok((verified, _)) => verified,
            Err(no) => return Ok(no.into()),
        };
        let request = &verified.op().request;
        if verified.op().target.guest_id != Some(spec.guest_id) || !releases(request, step) {
            return never(Rejection::NotAskedFor);
        }
        let Some(expect) = request.expect() else { return never(Rejection::NotAskedFor) };
        if expect.vmid != spec.vmid {
            return never(Rejection::ExpectMismatch("the document gives it another vmid"));
        }
        let seen = match Observer::read_guest(scene.pve, scene.node, spec).await {
            Ok(seen) => seen,
            Err(error) => return Ok(Permit::NotNow(failure(&error))),
        };
        match compare(spec.guest_id, expect, &seen) {
            Match::Other(rejection) => return never(rejection),
            Match::Unreadable(failure) => return Ok(Permit::NotNow(failure)),
            Match::Same => {}
        }
        if let Request::RollbackGuest(rollback) = request {
            let at = GuestAt { node: scene.node, kind: spec.kind, vmid: spec.vmid };
            let snapshots = match scene.pve.snapshots(at).await {
                Ok(snapshots) => snapshots,
                Err(error) => return Ok(Permit::NotNow(failure(&error))),
            };
            let same = |snapshot: &crate::pve::SnapshotEntry| {
                snapshot.name == rollback.snapshot.as_str() && snapshot.snaptime_s == rollback.snaptime
            };
            if !snapshots.iter().any(same) {
                return never(Rejection::ExpectMismatch("it has no such snapshot of that time"));
            }
        }
        Ok(Permit::Run(Cleared::granted(step)))
    }

    /// The same for a drive or storage. What it was when it was signed is compared where it is planned, and a drive that is
    /// to be formatted once more by whoever does that. Returns what is brought there: the envelope.
    pub fn permit_storage(
        &self,
        desired: &DesiredState,
        storage: &StorageId,
        step: &Step,
    ) -> Result<Result<String, No>, StateError> {
        let (verified, envelope) = match self.still_good(step, desired)? {
            Ok(good) => good,
            Err(no) => return Ok(Err(no)),
        };
        let Step::Storage(step) = step else { return Ok(Err(No::Never(Rejection::NotAskedFor))) };
        let request = &verified.op().request;
        let released = match (request, step) {
            (Request::FormatDrive(order), StorageStep::FormatDrive(format)) => {
                order.filesystem == format.filesystem
            }
            (Request::AssignStorage(order), StorageStep::AssignStorage(assign)) => {
                order.role == assign.marker.role && order.content == assign.content
            }
            (Request::DetachStorage(_), StorageStep::DetachStorage(_)) => true,
            (Request::ReplaceDrive(order), StorageStep::ReplaceDrive(replace)) => {
                order.durable_id == replace.durable_id
            }
            _ => false,
        };
        if request.storage() != Some(storage) || !released {
            return Ok(Err(No::Never(Rejection::NotAskedFor)));
        }
        Ok(Ok(envelope))
    }

    /// The envelope from disk, judged with keyset and clock as they are now.
    fn still_good(
        &self,
        step: &Step,
        desired: &DesiredState,
    ) -> Result<Result<(VerifiedOp, String), No>, StateError> {
        let never = |rejection| Ok(Err(No::Never(rejection)));
        let Some(op_id) = step.grant() else { return never(Rejection::NotAskedFor) };
        if !self.state.book().standing(op_id).is_some_and(|standing| standing.is_waiting()) {
            return never(Rejection::Replayed);
        }
        let blob = self.state.blob(op_id)?;
        let clock = clock::reading(&self.state, Timestamp::now())?;
        match self.judge(&blob, Some(desired), clock) {
            Ok(verified) => Ok(Ok((verified, blob))),
            Err(rejection) if rejection.is_held() => Ok(Err(No::NotNow(Failure {
                code: rejection.code().to_owned(),
                text: rejection.to_string(),
            }))),
            Err(rejection) => never(rejection),
        }
    }
}

/// Whether a step is the one that was signed, with the same parameters.
fn releases(request: &Request, step: &Step) -> bool {
    match (request, step) {
        (Request::DestroyGuest(_), Step::DestroyGuest(_)) => true,
        (Request::RollbackGuest(signed), Step::RollbackGuest(step)) => {
            signed.snapshot.as_str() == step.snapshot
        }
        (Request::RestoreGuest(signed), Step::RestoreGuest(step)) => signed.volid.as_str() == step.volid,
        (Request::CreatePrivileged(_), Step::CreateGuest(_)) => true,
        _ => false,
    }
}
