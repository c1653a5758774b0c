//! The hub from outside: in process over HTTP, and as the program that an operator runs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli;
mod durable;
mod events;
mod folder;
mod keys;
mod keysets;
mod ledger;
mod poll;
mod publish;
mod report;
mod secrets;
mod signed_ops;
mod silence;
mod source;
mod world;
