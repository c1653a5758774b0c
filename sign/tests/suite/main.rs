//! The program as a person and as a script use it, beside the real OpenSSH programs.
//!
//! `ssh-keygen`, `ssh-agent` and `ssh-add` must be installed; a test that does not find them fails and says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod inspect;
mod keyset;
#[cfg(feature = "network")]
mod network;
mod openssh;
mod pending;
mod security_key;
mod tools;
