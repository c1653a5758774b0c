//! Signed operations: what only a person with a key may order, and how anybody can check that.
//!
//! ```text
//!  envelope ──decode──▶ Signed ──verify(namespace, keys)──▶ Verified ──op()──▶ VerifiedOp
//!  (text file)          (no claim is believed)              (who signed)       (what, strictly read)
//! ```
//!
//! The bytes that travelled are what is verified: nothing is normalised before, and after it the payload is
//! parsed once and must encode to the same bytes again, so that no two readers can see two meanings. Only
//! [`Signed::verify`] makes a [`Verified`], and only [`Verified::op`] makes a [`VerifiedOp`]. Time is an
//! argument; nothing here looks at a clock, opens a file or holds a private key.

mod authority;
mod canonical;
mod chain;
mod drive;
mod envelope;
mod key;
mod keyset;
mod op;
mod rejection;
mod request;
mod verify;
mod window;

pub use authority::{Authority, Quorum, authorise, authority_of, read_op};
pub use chain::{Trusted, enough_roots, genesis, next, successor};
pub use drive::{
    AssignStorage, DetachStorage, DriveWord, ExpectDrive, ExpectStorage, FormatDrive, HeadDigest,
    ReplaceDrive, content_words,
};
pub use envelope::{Namespace, OpId, Signed, ToBeSigned};
pub use key::{KeyRefusal, PublicKey};
pub use keyset::{KeyEntry, Keyset, Role, Thresholds};
pub use op::{Draft, Nonce, Op, Target};
pub use rejection::Rejection;
pub use request::{
    BackupVolid, ConfigDigest, Empty, Expect, Expected, LedgerRebase, Request, ResetGeneration, RestoreGuest,
    RollbackGuest, SnapshotName, VoidBefore,
};
pub use verify::{Verified, VerifiedOp};
pub use window::{Clock, check_window};
