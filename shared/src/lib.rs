//! The contract between felhom's programs: what a box should be, what it says of itself, and the messages
//! that carry both.
//!
//! ```text
//!   operator ── DesiredState ──▶ hub ── Poll ──▶ agent ── HostReport, Event ──▶ hub ──▶ operator
//!                (intent)                                   (reality)
//! ```
//!
//! Nothing here opens a file, a socket or looks at a clock: the same bytes give the same answer on the hub,
//! on the box and in a test. Intent is read strictly (an unknown field is refused: it may be the one that
//! matters), reality is read leniently (an agent newer than the hub must still be heard).

pub mod desired;
pub mod drive;
pub mod event;
pub mod exposition;
pub mod id;
pub mod key;
pub mod limits;
pub mod ordered;
pub mod report;
pub mod secret;
pub mod signed;
pub mod text;
pub mod wire;
