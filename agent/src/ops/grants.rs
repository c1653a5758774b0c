//! Leave to do a guarded step, once. A [`Grant`] is a signed operation that the ledger holds and nothing has begun;
//! [`Cleared`] is a step that may run now, and the only thing [`crate::resources::guest::apply`] accepts.

use std::collections::BTreeMap;

use felhom_shared::report::Class;
use felhom_shared::signed::{OpId, Request, VerifiedOp};

use crate::class::class_of;
use crate::item::ItemId;
use crate::step::Step;

/// A reserved operation on a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    op_id: OpId,
    request: Request,
}

impl Grant {
    /// Only what was verified becomes a grant; that it is reserved is the caller's to know ([`super::Ops`]).
    pub(super) fn of(verified: &VerifiedOp) -> Self {
        Self { op_id: verified.op_id().clone(), request: verified.op().request.clone() }
    }

    /// A grant as a test of `plan` needs it. Plans act on nothing.
    #[cfg(test)]
    pub(crate) fn for_test(op_id: OpId, request: Request) -> Self {
        Self { op_id, request }
    }

    /// Which operation.
    #[must_use]
    pub fn op_id(&self) -> &OpId {
        &self.op_id
    }

    /// What was signed.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }
}

/// The grants of a box: at most one for each item, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(BTreeMap<ItemId, Grant>);

impl Grants {
    /// No grant at all.
    pub const NONE: &'static Self = &Self(BTreeMap::new());

    pub(super) fn add(&mut self, item: ItemId, grant: Grant) {
        self.0.entry(item).or_insert(grant);
    }

    /// The grant for an item.
    #[must_use]
    pub fn of(&self, item: &ItemId) -> Option<&Grant> {
        self.0.get(item)
    }
}

/// A step that may run now.
#[derive(Debug, Clone, Copy)]
pub struct Cleared<'a>(&'a Step);

impl<'a> Cleared<'a> {
    /// A routine step needs nothing; a guarded one is not cleared this way.
    #[must_use]
    pub fn routine(step: &'a Step) -> Option<Self> {
        (class_of(step) == Class::Routine).then_some(Self(step))
    }

    /// A guarded step whose operation was looked at again a moment ago.
    pub(super) fn granted(step: &'a Step) -> Self {
        Self(step)
    }

    /// The step.
    #[must_use]
    pub fn step(self) -> &'a Step {
        self.0
    }
}
