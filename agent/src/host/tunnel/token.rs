//! What can be known of a token without stopping anything: that it is one, and whose.
//!
//! A hub that belongs to somebody else may name a token of its own account, and with it lead people into the house. Where the
//! box's configuration names the account, no other is taken.

use data_encoding::BASE64;
use felhom_shared::report::Failure;
use felhom_shared::secret::SecretValue;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::host::clerk::failed;

/// Base64 of this, as JSON. Source: cloudflared, `connection.TunnelToken`.
#[derive(Deserialize)]
struct Token<'a> {
    /// The account.
    a: &'a str,
    /// The tunnel.
    t: &'a str,
    /// Its secret.
    s: &'a str,
}

/// Refuses what is no token, and another account's where one is configured.
pub(super) fn check(value: &SecretValue, account: Option<&str>) -> Result<(), Failure> {
    let decoded = Zeroizing::new(BASE64.decode(value.expose().as_bytes()).unwrap_or_default());
    let token: Option<Token<'_>> = serde_json::from_slice(&decoded).ok();
    let Some(token) = token.filter(|token| !token.t.is_empty() && !token.s.is_empty()) else {
        let text =
            "the secret is no tunnel's token: was it copied whole? Put it anew with `felhom-hub secret put`";
        return Err(failed("tunnel_token_malformed", text.to_owned()));
    };
    if account.is_some_and(|account| account != token.a) {
        let text =
            "the token is of another Cloudflare account than /etc/felhom/agent.toml names under [tunnel]";
        return Err(failed("tunnel_account_differs", text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_and_a_token_of_another_account_are_refused_without_showing_it() {
        let code = |text: &str, account| {
            let refused = check(&SecretValue::new(text).unwrap(), account).err();
            assert!(!refused.as_ref().is_some_and(|failure| failure.text.contains(text)));
            refused.map(|failure| failure.code)
        };
        let token = BASE64.encode(br#"{"a":"ours","t":"7a0e","s":"c2VjcmV0"}"#);
        assert_eq!(code(&token, None), None);
        assert_eq!(code(&token, Some("ours")), None);
        assert_eq!(code(&token, Some("theirs")).as_deref(), Some("tunnel_account_differs"));
        let cut = &token[..token.len() - 5];
        let empty = BASE64.encode(br#"{"a":"ours","t":"","s":""}"#);
        for text in ["not-a-token", cut, &empty, &BASE64.encode(b"[1]")] {
            assert_eq!(code(text, None).as_deref(), Some("tunnel_token_malformed"), "{text}");
        }
    }
}
