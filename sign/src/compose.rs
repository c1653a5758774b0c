//! From a draft to an operation: the nonce, the times and the key's id are made here, on the signer's machine,
//! and never taken from elsewhere. What makes no sense is refused before anybody is asked to sign it.

use felhom_shared::signed::{Draft, Nonce, Op, Rejection, Request, authority_of};

/// Why a draft does not become an operation.
#[derive(Debug, Clone, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum ComposeError {
    #[error("it is not an operation that this program knows ({})", .0.code())]
    Malformed(#[source] Rejection),
    #[error("the operation makes no sense: {0}")]
    Senseless(&'static str),
    #[error("no nonce: the system's random source fails")]
    Random,
    #[error("this machine's clock is before 1970: set it")]
    Clock,
}

/// What the system says of the time, milliseconds since 1970.
pub fn now_ms() -> Result<u64, ComposeError> {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).map_err(|_| ComposeError::Clock)
}

/// Reads a draft, strictly, and refuses what no box would take.
pub fn read_draft(text: &[u8]) -> Result<Draft, ComposeError> {
    let draft = Draft::parse(text).map_err(ComposeError::Malformed)?;
    sense(&draft)?;
    Ok(draft)
}

/// Reads a complete operation, strictly, and refuses what no box would take.
pub fn read_op(payload: &[u8]) -> Result<Op, ComposeError> {
    let op = Op::parse(payload).map_err(ComposeError::Malformed)?;
    sense(&draft_of(&op))?;
    Ok(op)
}

/// The part of an operation that a person decides on.
#[must_use]
pub fn draft_of(op: &Op) -> Draft {
    Draft { request: op.request.clone(), target: op.target }
}

fn sense(draft: &Draft) -> Result<(), ComposeError> {
    let expect = draft.request.expect();
    let no = |reason| Err(ComposeError::Senseless(reason));
    match (expect, draft.target.guest_id) {
        (Some(_), None) => return no("it is about a guest, and names none"),
        (None, Some(_)) => return no("it is about the host, and names a guest"),
        _ => {}
    }
    let creates = matches!(draft.request, Request::CreatePrivileged(_));
    match expect {
        Some(expect) if creates && expect.config_digest.is_some() => {
            no("it creates a guest and expects one to be there")
        }
        Some(expect) if !creates && expect.config_digest.is_none() => {
            no("it changes a guest and does not say which configuration that guest must have")
        }
        _ => Ok(()),
    }
}

/// Makes the operation, to be taken up to `valid_ms` from `now_ms`, or for as long as its kind allows.
pub fn compose(draft: Draft, now_ms: u64, valid_ms: u64, key_id: String) -> Result<Op, ComposeError> {
    let life_ms = valid_ms.min(authority_of(&draft.request).life_ms_max);
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|_| ComposeError::Random)?;
    Ok(draft.into_op(Nonce(nonce), now_ms, now_ms.saturating_add(life_ms), key_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "018f3c1e-5d3a-7c2b-9e4f-a1b2c3d4e5f6";
    const GUEST: &str = "018f3c1e-5d3a-7c2b-9e4f-0a0b0c0d0e0f";

    fn draft(op: &str, guest: &str, params: &str) -> Result<Draft, ComposeError> {
        let text = format!(
            r#"{{"op":"{op}","target":{{"host_id":"{HOST}","guest_id":{guest}}},"params":{params}}}"#
        );
        read_draft(text.as_bytes())
    }

    #[test]
    fn what_no_box_would_take_is_not_offered_for_signing() {
        let guest = format!("\"{GUEST}\"");
        let web =
            |digest: &str| format!(r#"{{"expect":{{"vmid":101,"name":"web","config_digest":{digest}}}}}"#);
        let digest = format!("\"{}\"", "ab".repeat(20));
        assert!(draft("guest.destroy", &guest, &web(&digest)).is_ok());
        assert!(draft("guest.create_privileged", &guest, &web("null")).is_ok());
        assert!(draft("clock.reset", "null", "{}").is_ok());
        for (op, guest, params) in [
            ("guest.destroy", "null", web(&digest)),
            ("guest.destroy", guest.as_str(), web("null")),
            ("guest.create_privileged", guest.as_str(), web(&digest)),
            ("clock.reset", guest.as_str(), "{}".to_owned()),
        ] {
            assert!(matches!(draft(op, guest, &params), Err(ComposeError::Senseless(_))), "{op} {params}");
        }
        assert!(matches!(draft("guest.reboot", &guest, "{}"), Err(ComposeError::Malformed(_))));
    }

    #[test]
    fn no_operation_lives_longer_than_its_kind_may() {
        let draft = draft("clock.reset", "null", "{}").unwrap();
        let week = 7 * 24 * 3_600_000;
        let op = compose(draft.clone(), 1_000, 10 * week, String::new()).unwrap();
        assert_eq!(op.expires_at - op.issued_at, week);
        let op = compose(draft.clone(), 1_000, 60_000, String::new()).unwrap();
        assert_eq!(op.expires_at, 61_000);
        assert_ne!(op.nonce, compose(draft, 1_000, 60_000, String::new()).unwrap().nonce);
    }
}
