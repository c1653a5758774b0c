//! felhom-agent: fetches what a Proxmox host should be, makes it so, and reports.
//!
//! The inside follows the data and nothing flows back:
//! `hub poll → accept → observe → plan → execute → report → hub`.

pub mod pve;
