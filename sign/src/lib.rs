//! The operator's signing tool. What a hub cannot order is signed here, by a person, on the operator's machine.
//!
//! ```text
//!  hub's list (hostile) ─▶ pending ─▶ compose::read_draft ─▶ render + confirm ─▶ compose ─▶ seal ─▶ envelope
//!  draft or payload file ─────────────┘                      (a person says yes)  (nonce,    (Signer)
//!                                                                                  times)
//! ```
//!
//! What is signed was shown, and what is shown is this program's own reading of it. The network stands apart, in
//! the module `network` behind the feature of that name: no signing code calls it, and a build without it
//! has no network crate. Nothing here decides what a key may sign; that is the box's to decide, by the same
//! table (`felhom_shared::signed::authority_of`) that is shown here.

pub mod cli;
pub mod compose;
pub mod confirm;
pub mod files;
pub mod inventory;
pub mod judge;
pub mod keyfile;
pub mod keyset_edit;
#[cfg(feature = "network")]
pub mod network;
pub mod pending;
pub mod render;
pub mod seal;
pub mod secret;
pub mod show;
pub mod signer;
