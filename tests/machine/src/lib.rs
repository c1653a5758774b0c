//! Whole Debian machines under test, and one way to write a test for either kind.
//!
//! A **container** is a Debian root booted by systemd-nspawn: real systemd, journald and apt, there within a second. A
//! **VM** is the same root with its own kernel under qemu: its power can be cut, its clock set, its memory used up, its
//! disks pulled. What a test says to them is the same: a shell script, and what should come of it.
//!
//! ```no_run
//! use felhom_machine::Machine;
//! let machine = Machine::container("a_name_for_its_logs");
//! assert_eq!(machine.sh("systemctl is-active systemd-journald").trim(), "active");
//! ```
//!
//! `cargo xtask machine` makes the root and runs these tests; an ordinary test run leaves them out, because they need
//! root and some minutes. When a test fails, console and journal of its machine stay, and it says where.
//! Nothing here knows what a test is about, and no machine reaches any network but its own.

mod container;
mod evidence;
mod guide;
mod house;
mod machine;
mod monitor;
mod store;
mod tunnel;
mod vm;

pub use guide::Guide;
pub use house::House;
pub use machine::{Answer, Machine};
pub use tunnel::Tunnel;
pub use vm::{Medium, Vm};
