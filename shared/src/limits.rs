//! Every bound of the protocol, in one place, with its unit in its name.
//!
//! A limit is part of the contract: both sides enforce it, and raising one is a protocol change.

/// Largest desired-state document in bytes, as JSON text.
pub const DESIRED_BYTES_MAX: usize = 1024 * 1024;
/// Largest report in bytes, after decompression.
pub const REPORT_BYTES_MAX: usize = 1024 * 1024;
/// Largest request body in bytes as it travels, compressed or not.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most guests in one desired state.
pub const GUESTS_MAX: usize = 500;
/// Most events in one post.
pub const EVENTS_PER_POST_MAX: usize = 200;
/// Most drives with a purpose in one desired state.
pub const STORAGES_MAX: usize = 64;
/// Longest secret in bytes.
pub const SECRET_BYTES_MAX: usize = 8 * 1024;
/// Most secrets that one document may name.
pub const SECRETS_MAX: usize = 16;
/// Longest free text of an event or outcome in bytes; longer text is cut at a character.
pub const TEXT_BYTES_MAX: usize = 2048;
/// Longest long poll the hub grants, in seconds.
pub const POLL_WAIT_S_MAX: u64 = 300;
/// Largest accepted step between two generations; a larger jump is refused as a sign of a broken hub.
pub const GENERATION_STEP_MAX: u64 = 1 << 20;
/// Lowest VMID that PVE gives to guests.
pub const VMID_MIN: u32 = 100;
/// Highest VMID of PVE.
pub const VMID_MAX: u32 = 999_999_999;
/// Largest root or data volume in GiB that a document may ask for.
pub const VOLUME_GIB_MAX: u32 = 65_536;
/// Largest memory of a guest in MiB.
pub const MEMORY_MIB_MAX: u32 = 4 * 1024 * 1024;
/// Most cores of a guest (PVE's own bound for containers).
pub const CORES_MAX: u32 = 8192;
/// Largest envelope of a signed operation or keyset in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 32 * 1024;
/// Largest payload within an envelope in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// Most signatures on one payload.
pub const SIGNATURES_MAX: usize = 4;
/// Most keys in a keyset.
pub const KEYSET_KEYS_MAX: usize = 16;
/// Most keysets in one poll answer.
pub const KEYSETS_PER_POLL_MAX: usize = 16;
/// Most signed operations in one poll answer.
pub const OPS_PER_POLL_MAX: usize = 16;
/// Largest answer to a poll in bytes: a document, its secrets, operations, keysets, and room for the JSON around them.
pub const POLL_BYTES_MAX: usize = DESIRED_BYTES_MAX
    + SECRETS_MAX * SECRET_BYTES_MAX
    + (OPS_PER_POLL_MAX + KEYSETS_PER_POLL_MAX + 2) * ENVELOPE_BYTES_MAX;
/// Longest life of an operation that destroys something, in milliseconds (48 h).
pub const DESTRUCTION_LIFE_MS_MAX: u64 = 48 * 3600 * 1000;
/// Longest life of any other operation, in milliseconds (7 days).
pub const OP_LIFE_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// How far an operation may be issued in the box's future, in milliseconds (5 min).
pub const CLOCK_SKEW_MS: u64 = 5 * 60 * 1000;

/// Cuts `text` to [`TEXT_BYTES_MAX`] at a character boundary and marks the cut.
#[must_use]
pub fn cut_text(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = TEXT_BYTES_MAX - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_at_a_character() {
        let cut = cut_text(&"ő".repeat(TEXT_BYTES_MAX));
        assert!(cut.len() <= TEXT_BYTES_MAX);
        assert!(cut.ends_with("ő…"));
        assert_eq!(cut_text("short"), "short");
    }
}
