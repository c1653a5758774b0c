//! API keys: `fhk1_<kind>_<lookup>_<secret>_<checksum>`.
//!
//! The lookup part finds the row, the secret proves, the checksum catches a key that was cut when copied. The
//! kind stands in the key so that a guest's key sent to a host's endpoint is refused before any lookup. The
//! text of a key is shown once; it has no `Display`, and `Debug` does not show it.

use std::fmt;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// An agent on a Proxmox host.
    Host,
    /// A controller inside a guest.
    Guest,
    /// An operator's command line.
    Operator,
}

impl KeyKind {
    /// The letter within the key.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Host => 'h',
            Self::Guest => 'g',
            Self::Operator => 'o',
        }
    }
}

/// Why a text is not an API key. Says nothing of the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not of the form `fhk1_…`.
    #[error("this is not a felhom key; a key looks like fhk1_h_…")]
    Form,
    /// The checksum does not match: the key was cut or mistyped.
    #[error("the key's checksum does not match: copy it again, whole")]
    Checksum,
}

/// An API key in the hands of its owner.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ApiKey {
    text: String,
    lookup_end: usize,
    #[zeroize(skip)]
    kind: KeyKind,
}

const PREFIX: &str = "fhk1_";
const LOOKUP_CHARS: usize = 16;
const SECRET_CHARS: usize = 52;

impl ApiKey {
    /// Makes a key from fresh random bytes, which the caller draws.
    #[must_use]
    pub fn from_random(kind: KeyKind, lookup: [u8; 10], secret: &[u8; 32]) -> Self {
        let mut text = format!(
            "{PREFIX}{}_{}_{}",
            kind.letter(),
            BASE32_NOPAD.encode(&lookup).to_ascii_lowercase(),
            BASE32_NOPAD.encode(secret).to_ascii_lowercase()
        );
        let sum = checksum(&text);
        text.push('_');
        text.push_str(&sum);
        Self { text, lookup_end: PREFIX.len() + 2 + LOOKUP_CHARS, kind }
    }

    /// Reads a key as typed or sent; surrounding white space is dropped.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let rest = text.strip_prefix(PREFIX).ok_or(KeyError::Form)?;
        let mut parts = rest.split('_');
        let (Some(kind), Some(lookup), Some(secret), Some(sum), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(KeyError::Form);
        };
        let kind = match kind {
            "h" => KeyKind::Host,
            "g" => KeyKind::Guest,
            "o" => KeyKind::Operator,
            _ => return Err(KeyError::Form),
        };
        let base32 = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b));
        if lookup.len() != LOOKUP_CHARS || secret.len() != SECRET_CHARS || !base32(lookup) || !base32(secret)
        {
            return Err(KeyError::Form);
        }
        if checksum(&text[..text.len() - sum.len() - 1]) != sum {
            return Err(KeyError::Checksum);
        }
        Ok(Self { lookup_end: PREFIX.len() + 2 + LOOKUP_CHARS, kind, text: text.to_owned() })
    }

    /// Whose key it is.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The part that finds the key's row; not secret.
    #[must_use]
    pub fn lookup(&self) -> &str {
        &self.text[PREFIX.len() + 2..self.lookup_end]
    }

    /// The whole key, to be sent in an `Authorization: Bearer` header or hashed; never to be logged.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({PREFIX}{}_{}_…)", self.kind.letter(), self.lookup())
    }
}

fn checksum(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text.as_bytes())[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ApiKey {
        ApiKey::from_random(KeyKind::Host, [7; 10], &[9; 32])
    }

    #[test]
    fn a_key_reads_back_and_its_debug_keeps_the_secret() {
        let key = key();
        let again = ApiKey::parse(&format!(" {}\n", key.expose())).unwrap();
        assert_eq!(again.expose(), key.expose());
        assert_eq!(again.kind(), KeyKind::Host);
        assert_eq!(again.lookup(), key.lookup());
        let secret = key.expose().split('_').nth(3).unwrap();
        assert!(!format!("{key:?}").contains(secret));
    }

    #[test]
    fn every_single_changed_character_is_noticed() {
        let text = key().expose().to_owned();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(ApiKey::parse(&changed).is_err(), "{changed}");
        }
        assert_eq!(ApiKey::parse(&text[..text.len() - 1]).unwrap_err(), KeyError::Checksum);
    }
}
