//! A box whose memory of signed operations is shorter than it was: `ledger_rolled_back`, `ledger_went_on`.
//!
//! A box that was restored from an image, or somebody who put an old ledger back, could run an operation twice.
//! The hub cannot prevent that and does not have to be believed: it remembers, tells a person once, and hands
//! the box what it remembers.

use felhom_shared::event::Severity;
use felhom_shared::id::HostId;
use felhom_shared::report::LedgerHead;
use rusqlite::Connection;

use crate::clock::now_ms;
use crate::store::ledger_heads::{self, Remembered};
use crate::store::{StoreError, audit, events};

/// Beyond this a number does not fit the store's; no honest ledger is near it.
const SEQ_MAX: u64 = 1 << 62;

/// Compares what a report says with what is remembered, in the report's transaction, and returns what is to be
/// remembered now where that has changed.
pub fn check(
    sql: &Connection,
    host_id: HostId,
    reported: Option<&LedgerHead>,
) -> Result<Option<LedgerHead>, StoreError> {
    let Some(reported) = reported.filter(|head| is_head(head)) else { return Ok(None) };
    let before = ledger_heads::get(sql, host_id)?;
    let after = compared(before.as_ref(), reported);
    if before.as_ref() == Some(&after) {
        return Ok(None);
    }
    ledger_heads::put(sql, host_id, &after)?;
    let was_rolled_back = before.is_some_and(|before| before.rolled_back);
    if after.rolled_back != was_rolled_back {
        tell(sql, host_id, reported, &after)?;
    }
    Ok(Some(after.furthest))
}

fn is_head(head: &LedgerHead) -> bool {
    head.seq <= SEQ_MAX && head.head.len() == 64 && head.head.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Pure: what is remembered after a report.
fn compared(before: Option<&Remembered>, reported: &LedgerHead) -> Remembered {
    match before {
        Some(before) if reported.seq <= before.furthest.seq => {
            Remembered { furthest: before.furthest.clone(), rolled_back: *reported != before.furthest }
        }
        _ => Remembered { furthest: reported.clone(), rolled_back: false },
    }
}

fn tell(
    sql: &Connection,
    host_id: HostId,
    reported: &LedgerHead,
    after: &Remembered,
) -> Result<(), StoreError> {
    let (seq, furthest) = (reported.seq, after.furthest.seq);
    let short = |head: &LedgerHead| head.head[..12].to_owned();
    let (kind, severity, text) = if after.rolled_back {
        let text = format!(
            "the box's ledger of signed operations ends at row {seq} ({}), it has been at row {furthest} ({}): was the \
             box restored from an image? Operations that it has forgotten could be accepted again",
            short(reported),
            short(&after.furthest)
        );
        ("ledger_rolled_back", Severity::Error, text)
    } else {
        let text = format!("the box's ledger of signed operations goes on at row {seq}");
        ("ledger_went_on", Severity::Info, text)
    };
    events::tell(sql, host_id, kind, severity, &text)?;
    audit::append(sql, "hub", kind, Some(host_id), (&text, now_ms()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seq: u64, digit: &str) -> LedgerHead {
        LedgerHead { seq, head: digit.repeat(64) }
    }

    #[test]
    fn only_forward_or_the_very_same_is_no_rollback() {
        let at = |seq, rolled_back| Remembered { furthest: head(seq, "a"), rolled_back };
        let cases = [
            (None, head(7, "a"), at(7, false)),
            (Some(at(7, false)), head(7, "a"), at(7, false)),
            (Some(at(7, false)), head(8, "a"), at(8, false)),
            (Some(at(7, false)), head(6, "b"), at(7, true)),
            (Some(at(7, false)), head(7, "b"), at(7, true)),
            (Some(at(7, true)), head(6, "b"), at(7, true)),
            (Some(at(7, true)), head(7, "a"), at(7, false)),
            (Some(at(7, true)), head(8, "a"), at(8, false)),
            (Some(at(7, false)), head(0, "0"), at(7, true)),
        ];
        for (before, reported, after) in cases {
            assert_eq!(compared(before.as_ref(), &reported), after, "{before:?} then {reported:?}");
        }
    }

    #[test]
    fn what_is_no_head_is_not_remembered() {
        assert!(is_head(&head(SEQ_MAX, "f")));
        assert!(!is_head(&head(SEQ_MAX + 1, "f")));
        assert!(!is_head(&head(1, "é")));
        assert!(!is_head(&LedgerHead { seq: 1, head: "ab".to_owned() }));
    }
}
