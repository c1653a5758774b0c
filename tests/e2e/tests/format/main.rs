//! Formatting: once, the right drive, on the word of a signature. And the many ways to have the wrong one formatted, each
//! tried on `felhom-host` itself, as an agent that was taken over would: it has the signature, and asks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod ground;
mod whole_way;
mod wrong_drive;
mod wrong_word;
