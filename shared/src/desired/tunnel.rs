//! The Cloudflare tunnel of a box, as the operator wants it.
//!
//! A document without this section leaves a tunnel as it is. The token stands here by name and hash; which hostnames lead
//! where is kept with Cloudflare and is not the box's business. The program comes from the box's own package sources, never
//! from here: a hub can say which one must run, and not bring one.

use serde::{Deserialize, Serialize};

use super::Presence;
use super::parse::{DesiredError, invalid};
use crate::id::Sha256Hex;
use crate::secret::SecretRef;

const REVERT_AFTER_S: u32 = 60;
const REVERT_AFTER_S_BOUNDS: std::ops::RangeInclusive<u32> = 15..=900;

/// One tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunnelSpec {
    /// Whether there is to be one; `absent` stops it and removes its token.
    #[serde(default = "present")]
    pub presence: Presence,
    /// Its token. Needed where it is present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretRef>,
    /// The `cloudflared` that must run, by its hash; without it, the one that the box has installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_sha256: Option<Sha256Hex>,
    /// How long a change has to prove itself before what was there comes back, seconds, 15 to 900.
    #[serde(default = "revert_after_s", skip_serializing_if = "is_usual")]
    pub revert_after_s: u32,
}

fn present() -> Presence {
    Presence::Present
}

fn revert_after_s() -> u32 {
    REVERT_AFTER_S
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_usual(seconds: &u32) -> bool {
    *seconds == REVERT_AFTER_S
}

/// Refuses what no box could do.
pub(super) fn check(spec: Option<&TunnelSpec>) -> Result<(), DesiredError> {
    let Some(spec) = spec else { return Ok(()) };
    if !REVERT_AFTER_S_BOUNDS.contains(&spec.revert_after_s) {
        return invalid("tunnel.revert_after_s", "it must be 15 to 900");
    }
    match (spec.presence, &spec.token) {
        (Presence::Present, None) => {
            invalid("tunnel.token", "a tunnel needs its token: name it and its SHA-256")
        }
        (Presence::Absent, Some(_)) => invalid("tunnel.token", "a tunnel that is to be absent has no token"),
        (Presence::Present, Some(_)) | (Presence::Absent, None) => Ok(()),
    }
}
