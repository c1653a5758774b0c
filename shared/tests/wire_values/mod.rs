//! The values behind the golden files. Built field by field, so that a new field does not compile until somebody
//! has decided what the frozen example holds.

pub(crate) mod desired;
pub(crate) mod messages;
pub(crate) mod report;

use felhom_shared::id::{GuestId, Vmid};
use jiff::Timestamp;
use uuid::Uuid;

pub(crate) fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(0x701e_2d01_0000_4000_8000_0000_0000_0000 + number)
}

pub(crate) fn guest_id(number: u128) -> GuestId {
    GuestId(uuid(number))
}

pub(crate) fn vmid(number: u32) -> Vmid {
    Vmid::new(number).unwrap()
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
