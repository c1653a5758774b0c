//! What the end-to-end tests stand on: a house (a Proxmox node and the agent on it), documents, hubs of both kinds
//! and the rules that must hold whatever happens.
//!
//! ```no_run
//! use felhom_tests::{House, document, lxc};
//! let house = House::new();
//! let mut agent = house.agent();
//! agent.desire(&document([lxc(101, "web")]));
//! agent.settle();
//! house.obeys(&document([lxc(101, "web")]));
//! ```
//!
//! The node is fake-pve, which speaks the real HTTPS API; the agent is the agent's own code. Nothing in here knows
//! what a test is about, and nothing sleeps without a deadline: adding a test is one function in `tests/`.

mod agent;
pub mod bench;
mod certificate;
mod daemon;
mod document;
pub mod host_desk;
mod hostile_hub;
mod house;
mod keyring;
mod program;
mod random;
mod real_hub;
mod rules;
mod talker;
pub mod tunnel_unit;
mod wait;

pub use agent::{Agent, Killed, Told};
pub use certificate::Certificate;
pub use daemon::Running;
pub use document::{always_open, clone_of, document, guest_id, host_id, lxc, on_storage, qemu, with_mount};
pub use hostile_hub::{Answer, HostileHub};
pub use house::House;
pub use keyring::{Key, Keyring, op_on};
pub use program::Program;
pub use random::Random;
pub use real_hub::{Enrolled, HubProgram, LocalHub};
pub use rules::broken;
pub use talker::{Acknowledged, talk};
pub use wait::{eventually, wait_until};
