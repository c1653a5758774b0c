//! The agent's API token: a secret that can be sent to PVE and to nothing else.

use std::fmt;

use bytes::Bytes;
use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

/// An API token, `user@realm!tokenid=secret`. Wiped when dropped, shown nowhere.
#[derive(Clone)]
pub struct ApiToken(Zeroizing<String>);

impl ApiToken {
    /// Checks the form; the refused text is wiped and not repeated in the error.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidToken> {
        let text = Zeroizing::new(text.into());
        let sound = text.split_once('=').is_some_and(|(id, secret)| {
            let (user, name) = id.split_once('!').unwrap_or_default();
            user.contains('@') && !name.is_empty() && !secret.is_empty()
        });
        let printable = text.bytes().all(|b| b.is_ascii_graphic());
        if sound && printable { Ok(Self(text)) } else { Err(InvalidToken) }
    }

    /// The public part, `user@realm!tokenid`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.split_once('=').map_or("", |(id, _)| id)
    }

    /// The header's only copy on our side lives in one shared buffer, which wipes itself with the client.
    pub(super) fn header(&self) -> HeaderValue {
        let bytes = Zeroizing::new(format!("PVEAPIToken={}", *self.0).into_bytes());
        let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(bytes))
            .expect("a token is printable ASCII, which is checked when it is made");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiToken({}, secret withheld)", self.id())
    }
}

/// A text that is no API token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an API token; one looks like user@realm!tokenid=secret, on one line")]
pub struct InvalidToken;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_shows_its_name_and_never_its_secret() {
        let token = ApiToken::new("felhom@pve!agent=0f1e2d3c").unwrap();
        let shown = format!("{token:?} {:?}", token.header());
        assert!(shown.contains("felhom@pve!agent"));
        assert!(!shown.contains("0f1e2d3c"), "{shown}");
    }

    #[test]
    fn texts_that_are_no_token_are_refused_without_being_repeated() {
        for bad in
            ["", "x", "a@b=secret", "a!b=secret", "a@b!c=", "a@b!c=sec ret", "a@b!c=secret\n", "a@b!=secret"]
        {
            let error = ApiToken::new(bad).expect_err(bad);
            assert!(!error.to_string().contains("sec ret"));
        }
    }
}
