//! `GET /hosts/{host_id}`: everything the hub knows of one host.

mod assign;
mod drives;
mod guests;
mod hand_in;
mod numbers;
mod page;
mod past;
mod signing;
pub(super) mod standing;
mod storages;
mod tunnel;

pub(super) use assign::assign;
pub(super) use hand_in::{FORM_BYTES_MAX, hand_in};
pub(super) use page::host;
