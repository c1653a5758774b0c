//! Which steps need a signature. The agent's own table: what the hub says of a step does not count.
//!
//! Exhaustive on purpose: a new step does not compile until somebody has decided its class here.

use felhom_shared::report::Class;

use crate::step::Step;

/// The class of a step.
#[must_use]
pub fn class_of(step: &Step) -> Class {
    match step {
        Step::FetchFile(_)
        | Step::CreateGuest(_)
        | Step::CloneGuest(_)
        | Step::SetConfig(_)
        | Step::GrowDisk(_)
        | Step::StartGuest
        | Step::ShutdownGuest { .. }
        | Step::RebootGuest { .. } => Class::Routine,
    }
}
