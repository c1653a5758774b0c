//! Signed operations that nobody hears of any more: `op_not_delivered`, `op_no_receipt`.
//!
//! The hub does not read when an operation ends; it knows that none lives longer than [`OP_LIFE_MS_MAX`]. What the
//! box has not taken by then it would refuse, and what it took and never spoke of again needs a person.

use felhom_shared::event::Severity;
use felhom_shared::id::HostId;
use felhom_shared::limits::OP_LIFE_MS_MAX;
use felhom_shared::signed::OpId;
use felhom_shared::wire::{OpReceipt, QueueState};
use rusqlite::Connection;

use crate::clock::now_ms;
use crate::state::AppState;
use crate::store::{StoreError, audit, events, signed_ops};

/// How long a box may be silent about an operation that it has taken.
const RECEIPT_MS_MAX: i64 = 14 * 24 * 3600 * 1000;
/// Most operations given up in one go.
const AT_ONCE: u32 = 1_000;

/// Gives up what is overdue, and wakes nobody: there is nothing to fetch any more.
pub async fn check(state: &AppState) -> Result<(), StoreError> {
    check_at(state, now_ms()).await
}

/// The same at a given time.
pub async fn check_at(state: &AppState, now_ms: i64) -> Result<(), StoreError> {
    let found = state.store.read(move |sql| overdue(sql, now_ms)).await?;
    if found.is_empty() {
        return Ok(());
    }
    let given_up = state.store.write(move |sql| {
        // Read again: a box may have spoken since.
        let found = overdue(sql, now_ms)?;
        for (host_id, op_id, was) in &found {
            give_up(sql, *host_id, (op_id, *was), now_ms)?;
        }
        Ok(found)
    });
    for (host_id, ..) in given_up.await? {
        state.reload(host_id).await?;
        state.changed(host_id);
    }
    Ok(())
}

fn overdue(sql: &Connection, now_ms: i64) -> Result<Vec<(HostId, OpId, QueueState)>, StoreError> {
    let life_ms = i64::try_from(OP_LIFE_MS_MAX).unwrap_or(i64::MAX);
    let mut found = Vec::new();
    for (state, longest_ms) in [(QueueState::Queued, life_ms), (QueueState::Delivered, RECEIPT_MS_MAX)] {
        let standing = signed_ops::standing(sql, state, now_ms.saturating_sub(longest_ms), AT_ONCE)?;
        found.extend(standing.into_iter().map(|(host_id, op_id)| (host_id, op_id, state)));
    }
    Ok(found)
}

fn give_up(
    sql: &Connection,
    host_id: HostId,
    (op_id, was): (&OpId, QueueState),
    now_ms: i64,
) -> Result<(), StoreError> {
    let (code, text) = match was {
        QueueState::Queued => {
            ("not_delivered", "the box did not fetch it in the longest time that any operation lives")
        }
        _ => {
            ("no_receipt", "the box took it and has not said for 14 days what became of it; look at the box")
        }
    };
    let receipt =
        OpReceipt { state: QueueState::Expired, code: Some(code.to_owned()), text: Some(text.to_owned()) };
    signed_ops::set_state(sql, host_id, op_id, (&receipt, now_ms))?;
    let told = format!("signed operation {}: {text}", &op_id.as_str()[..12]);
    events::tell(sql, host_id, &format!("op_{code}"), Severity::Warning, &told)?;
    audit::append(sql, "hub", "op_expired", Some(host_id), (&format!("{op_id} {code}"), now_ms))
}
