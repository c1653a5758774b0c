//! What the benches in `bin/` share: reading what a process costs, a hub as a child process, load, and tables.
//!
//! A figure alone says little on a noisy machine, so every bench runs its rivals in turn (A B A B …) and prints
//! medians and ratios. Nothing here is a test: a missed target is printed as missed and fails nothing.

pub mod fleet;
pub mod hub_child;
pub mod load;
pub mod table;
pub mod usage;
