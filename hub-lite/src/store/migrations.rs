//! The schema, forward only. A step, once released, is never edited; a new one is appended.

use rusqlite::Connection;

use super::{
    StoreError, audit, desired_history, events, host_metrics, host_reports, host_state, hosts, keys, keysets,
    ledger_heads, operators, secrets, sessions, signed_ops,
};

/// Every step, in order. `user_version` counts those that have run.
const STEPS: &[&[&str]] = &[
    &[
        hosts::SCHEMA,
        keys::SCHEMA,
        desired_history::SCHEMA,
        host_state::SCHEMA,
        host_reports::SCHEMA,
        host_metrics::SCHEMA,
        events::SCHEMA,
        operators::SCHEMA,
        sessions::SCHEMA,
        audit::SCHEMA,
    ],
    &[signed_ops::SCHEMA, keysets::SCHEMA, ledger_heads::SCHEMA, audit::BY_HOST],
    &[secrets::SCHEMA, desired_history::SECRETS],
];

/// The newest schema that this hub knows, unless `found` is newer.
pub(super) fn refuse_newer(found: u32) -> Result<u32, StoreError> {
    let known = u32::try_from(STEPS.len()).expect("the list is written by hand");
    if found > known { Err(StoreError::Newer { found, known }) } else { Ok(known) }
}

/// Runs what has not run yet, each step in a transaction with its number.
pub(super) fn run(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let done: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let steps = refuse_newer(done)?;
    for step in STEPS.iter().skip(done as usize) {
        for sql in *step {
            transaction.execute_batch(sql)?;
        }
    }
    if done < steps {
        transaction.pragma_update(None, "user_version", steps)?;
    }
    transaction.commit()?;
    Ok(())
}
