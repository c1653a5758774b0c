//! A tunnel's token: base64 of `{"a": account, "t": tunnel, "s": base64 of its secret}`.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelToken {
    /// The account.
    pub a: String,
    /// The tunnel's id.
    pub t: String,
    /// Its secret, base64.
    pub s: String,
}

impl TunnelToken {
    /// A token of the tunnel with this id, with the secret that follows from `word`.
    #[must_use]
    pub fn new(tunnel_id: &str, word: &str) -> Self {
        let secret = BASE64.encode(format!("{word:-<32}").as_bytes());
        Self { a: "f0".repeat(16), t: tunnel_id.to_owned(), s: secret }
    }

    /// As Cloudflare hands it out.
    #[must_use]
    pub fn text(&self) -> String {
        BASE64.encode(&serde_json::to_vec(self).expect("three words"))
    }

    /// What a text says, if it is a token.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let token: Self = serde_json::from_slice(&BASE64.decode(text.trim().as_bytes()).ok()?).ok()?;
        (token.t.len() == 36 && BASE64.decode(token.s.as_bytes()).is_ok()).then_some(token)
    }
}
