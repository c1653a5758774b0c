//! One function for each parser. Each takes any bytes at all, must not panic but by an assertion of its own, and
//! asserts that what is accepted has one meaning and one spelling.

use data_encoding::BASE64;
use felhom_shared::desired::DesiredState;
use felhom_shared::signed::{self, Clock, Draft, Keyset, Op, OpId, Signed, authority_of, check_window};

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "-----END SSH SIGNATURE-----\n";

/// What is taken apart goes together to the same bytes again.
pub(crate) fn envelope(data: &[u8]) {
    let Ok(signed) = Signed::decode(data) else { return };
    let payload = signed.unverified_payload();
    assert!(payload.ends_with(b"\n") && !payload[..payload.len() - 1].contains(&b'\n'), "one line");
    let armors = std::str::from_utf8(&data[payload.len()..]).expect("armor is ASCII");
    let armors: Vec<String> = armors.split_inclusive(END).map(respelled).collect();
    assert_eq!(armors.len(), signed.claimed_signers().len());
    assert!((1..=4).contains(&armors.len()));
    assert_eq!([payload, armors.concat().as_bytes()].concat(), data, "another spelling was accepted");
    assert_eq!(*signed.op_id(), OpId::of(data));
    for armor in &armors {
        let alone = [payload, armor.as_bytes()].concat();
        assert!(Signed::decode(&alone).is_ok(), "a signature is good beside another only");
    }
}

/// The one spelling of an armored blob.
fn respelled(armor: &str) -> String {
    let body = armor.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)).expect("an armor's frame");
    let blob = BASE64.decode(body.replace('\n', "").as_bytes()).expect("strict base64");
    let body = BASE64.encode(&blob);
    let lines: Vec<&str> =
        body.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("{BEGIN}{}\n{END}", lines.join("\n"))
}

/// What is read is written the same again, can be judged at any time, and shows a person nothing that hides.
pub(crate) fn op(data: &[u8]) {
    if let Ok(draft) = Draft::parse(data) {
        assert_eq!(Draft::parse(draft.to_json().as_bytes()), Ok(draft), "a draft reads back");
    }
    let Ok(op) = Op::parse(data) else { return };
    assert_eq!(op.to_payload().as_bytes(), data, "another spelling was accepted");
    let life_ms_max = authority_of(&op.request).life_ms_max;
    for now in [0, op.issued_at, op.expires_at, u64::MAX] {
        for floor_ms in [0, op.issued_at, u64::MAX] {
            let taken = check_window(&op, Clock { system_ms: now, floor_ms });
            let life = op.expires_at.checked_sub(op.issued_at);
            assert!(taken.is_err() || life.is_some_and(|life| life > 0 && life <= life_ms_max));
        }
    }
    let shown = op.request.consequence();
    assert!(shown.chars().all(|c| c.is_ascii() && !c.is_ascii_control()), "{shown:?}");
}

/// What is read is written the same again and makes sense; a chain takes nothing unsigned.
pub(crate) fn keyset(data: &[u8]) {
    if let Ok(keyset) = Keyset::parse(data) {
        assert_eq!(keyset.to_payload().as_bytes(), data, "another spelling was accepted");
        assert_eq!(keyset.check(), Ok(()));
        assert_eq!(keyset.digest().len(), 64);
        assert!(signed::genesis(data, &keyset.digest()).is_err(), "a keyset without a signature was taken");
    }
    if let Ok(signed) = Signed::decode(data)
        && let Ok(keyset) = Keyset::parse(signed.unverified_payload())
        && let Ok(trusted) = signed::genesis(data, &keyset.digest())
    {
        assert_eq!(*trusted.keyset(), keyset);
        assert!(signed::next(&trusted, data).is_err(), "a keyset follows itself");
    }
}

/// What is accepted is whole, and is the same when it is written and read again.
pub(crate) fn desired(data: &[u8]) {
    let Ok(desired) = DesiredState::from_json(data) else { return };
    assert!(desired.check().is_ok());
    let again = serde_json::to_vec(&desired).expect("a document is plain data");
    let read = DesiredState::from_json(&again).expect("what was accepted is accepted when written again");
    assert_eq!(read, desired);
}
