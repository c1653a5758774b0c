//! What must hold for whatever bytes come: for the libFuzzer targets. The workspace's smoke test takes the same
//! module by its path, and needs neither a fuzzer nor this package.

mod properties;

/// A signed envelope.
pub fn envelope(data: &[u8]) {
    properties::envelope(data);
}

/// An operation's payload, or a draft.
pub fn op(data: &[u8]) {
    properties::op(data);
}

/// A keyset's payload, or a signed keyset.
pub fn keyset(data: &[u8]) {
    properties::keyset(data);
}

/// A desired document.
pub fn desired(data: &[u8]) {
    properties::desired(data);
}
