//! `GET /hosts/{host_id}`: everything the hub knows of one host.

mod guests;
mod numbers;
mod page;
mod past;
pub(super) mod standing;

pub(super) use page::host;
