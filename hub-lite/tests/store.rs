//! The store alone: answers after the commit, one failing write spoils no other, what is old goes and what is needed stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use felhom_hub::store::host_reports::Body;
use felhom_hub::store::host_state::{Changed, Summary};
use felhom_hub::store::{
    Commit, Store, StoreError, host_metrics, host_reports, host_state, hosts, keysets, signed_ops,
};
use felhom_shared::id::HostId;
use felhom_shared::report::{GenerationState, Metrics, Outcome};
use felhom_shared::signed::OpId;
use felhom_shared::wire::{OpReceipt, QueueState, QueuedOp};
use rusqlite::Connection;
use uuid::Uuid;

fn count(sql: &Connection) -> Result<i64, StoreError> {
    Ok(sql.query_row("SELECT count(*) FROM hosts", [], |row| row.get(0))?)
}

fn add(sql: &Connection, name: &str) -> Result<HostId, StoreError> {
    let host_id = HostId(Uuid::new_v4());
    hosts::add(sql, host_id, name, None, 0)?;
    Ok(host_id)
}

#[tokio::test]
async fn a_failing_write_is_rolled_back_alone() {
    let folder = tempfile::tempdir().unwrap();
    // A slow disk makes the writes queue up, so that they share a transaction.
    let slow = Commit { slowed_by: Duration::from_millis(50), ..Commit::default() };
    let store = Store::open(folder.path(), slow).unwrap();
    let writes = (0..40).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let write = store.write(move |sql| {
                add(sql, &format!("box-{number}"))?;
                if number % 4 == 0 { add(sql, &format!("box-{number}")).map(drop) } else { Ok(()) }
            });
            (number, write.await)
        })
    });
    for write in writes.collect::<Vec<_>>() {
        let (number, result) = write.await.unwrap();
        assert_eq!(result.is_err(), number % 4 == 0, "{number}: {result:?}");
    }
    assert_eq!(store.read(count).await.unwrap(), 30);
}

#[tokio::test]
async fn a_write_beside_a_failing_one_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let slow = Commit { slowed_by: Duration::from_millis(50), ..Commit::default() };
    let store = Store::open(folder.path(), slow).unwrap();
    let runs = Arc::new(AtomicU32::new(0));
    // Keeps the writer busy until the two others wait together.
    let first = store.write(|sql| add(sql, "first"));
    let counted = Arc::clone(&runs);
    let good = store.write(move |sql| {
        counted.fetch_add(1, Ordering::Relaxed);
        add(sql, &format!("run-{}", counted.load(Ordering::Relaxed)))
    });
    let bad = store.write(|sql| Ok(sql.execute("DELETE FROM nothing_of_this_name", [])?));
    let (first, good, bad) = tokio::join!(first, good, bad);
    assert!(first.is_ok() && good.is_ok() && bad.is_err());
    let names =
        |sql: &Connection| Ok(hosts::list(sql)?.into_iter().map(|host| host.name).collect::<Vec<_>>());
    let last = format!("run-{}", runs.load(Ordering::Relaxed));
    assert_eq!(store.read(names).await.unwrap(), ["first".to_owned(), last], "only the last run is kept");
}

#[tokio::test]
async fn writers_who_wait_together_share_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let commit_takes = Duration::from_millis(50);
    let store = Store::open(folder.path(), Commit { slowed_by: commit_takes, ..Commit::default() }).unwrap();
    let began = std::time::Instant::now();
    let writes = (0..100).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.write(move |sql| add(sql, &format!("box-{number}"))).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }
    assert!(began.elapsed() < commit_takes * 30, "100 writes took {:?}", began.elapsed());
}

#[tokio::test]
async fn an_answered_write_is_seen_by_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Commit::default()).unwrap();
    for number in 1..=20 {
        store.write(move |sql| add(sql, &format!("box-{number}"))).await.unwrap();
        let other = Connection::open(folder.path().join("hub.db")).unwrap();
        assert_eq!(count(&other).unwrap(), number);
    }
}

#[tokio::test]
async fn a_write_that_cannot_be_committed_is_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Commit::default()).unwrap();
    // A foreign key that is checked at the commit, not at the statement.
    let write = store.write(|sql| {
        sql.execute_batch("PRAGMA defer_foreign_keys = ON")?;
        let sql_text =
            "INSERT INTO desired_history (host_id, generation, bytes, digest, author, published_at_ms)
                        VALUES ('nobody', 1, x'00', '', '', 0)";
        Ok(sql.execute(sql_text, [])?)
    });
    assert!(matches!(write.await, Err(StoreError::Commit(_))));
    store.write(|sql| add(sql, "next")).await.unwrap();
    assert_eq!(store.read(count).await.unwrap(), 1);
    let documents = |sql: &Connection| {
        let count = sql.query_row("SELECT count(*) FROM desired_history", [], |row| row.get::<_, i64>(0));
        Ok(count?)
    };
    assert_eq!(store.read(documents).await.unwrap(), 0);
}

fn changed(host_id: HostId, number: u8, summary: Option<Summary>) -> Changed {
    let body = Body { bytes: vec![number], zstd: false };
    let (digest, generation) = ([number; 32], GenerationState::default());
    Changed { host_id, digest, body, generation, summary, ledger: None, now_ms: i64::from(number) }
}

#[tokio::test]
async fn pruning_forgets_old_reports_and_never_a_hosts_latest() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Commit::default()).unwrap();
    let kept = store.write(|sql| {
        let (busy, quiet) = (add(sql, "busy")?, add(sql, "quiet")?);
        host_state::put(sql, &changed(quiet, 1, None))?;
        for number in 2..=9 {
            host_state::put(sql, &changed(busy, number, None))?;
        }
        let pruned = host_reports::prune(sql, 8)?;
        let numbers = |host_id| -> Result<Vec<u8>, StoreError> {
            Ok(host_reports::recent(sql, host_id, 99)?.iter().map(|report| report.body.bytes[0]).collect())
        };
        Ok((pruned, numbers(busy)?, numbers(quiet)?))
    });
    assert_eq!(kept.await.unwrap(), (6, vec![9, 8], vec![1]));
}

/// Reports that came while the hub's clock ran ahead are young for long; the old ones behind them go all the same.
#[tokio::test]
async fn a_clock_that_ran_ahead_does_not_stop_the_pruning() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Commit::default()).unwrap();
    let pruned = store.write(|sql| {
        let busy = add(sql, "busy")?;
        for number in [200, 201, 1, 2, 3, 9] {
            host_state::put(sql, &changed(busy, number, None))?;
        }
        host_reports::prune(sql, 8)
    });
    assert_eq!(pruned.await.unwrap(), 3);
}

#[tokio::test]
async fn metrics_are_a_ring_of_a_week() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Commit::default()).unwrap();
    let minutes = 30 * 24 * 60;
    let series = store.write(move |sql| {
        let host_id = add(sql, "here")?;
        for minute in (0..minutes).step_by(5) {
            let sample = host_metrics::Sample { at_ms: minute * 60_000, metrics: Metrics::default() };
            host_metrics::put(sql, host_id, &sample)?;
        }
        host_metrics::series(sql, host_id, 0)
    });
    let series = series.await.unwrap();
    assert_eq!(series.len(), 7 * 24 * 6);
    assert!(series.is_sorted_by(|a, b| a.at_ms < b.at_ms));
    assert_eq!(series.last().unwrap().at_ms, (minutes - 5) * 60_000);
}

#[tokio::test]
async fn the_overview_tells_silence_from_not_understood_from_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Commit::default()).unwrap();
    let summary = Summary {
        agent_version: "0.1.0".to_owned(),
        node_unreadable: None,
        outcomes: BTreeMap::from([(Outcome::Converged, 3), (Outcome::Held, 1)]),
        storage: BTreeMap::from([(Outcome::Waiting, 1)]),
        tunnel: None,
        unmanaged: 2,
        journal_open: 0,
        to_sign: 0,
        refused: None,
    };
    let told = Some(summary.clone());
    let overview = store.write(move |sql| {
        let (newer, told_host) = (add(sql, "newer")?, add(sql, "told")?);
        add(sql, "silent")?;
        host_state::put(sql, &changed(newer, 1, None))?;
        host_state::put(sql, &changed(told_host, 2, told.clone()))?;
        hosts::overview(sql)
    });
    let rows: Vec<_> = overview
        .await
        .unwrap()
        .into_iter()
        .map(|row| (row.host.name, row.summary, row.changed_at_ms))
        .collect();
    let expected = [("newer", None, Some(1)), ("silent", None, None), ("told", Some(summary), Some(2))];
    assert_eq!(rows, expected.map(|(name, summary, at_ms)| (name.to_owned(), summary, at_ms)));
}

fn queued(number: u32) -> QueuedOp {
    let blob = format!("blob {number}");
    QueuedOp { op_id: OpId::of(blob.as_bytes()), blob }
}

fn moved(
    sql: &Connection,
    host_id: HostId,
    number: u32,
    (state, at_ms): (QueueState, i64),
) -> Result<(), StoreError> {
    let receipt = OpReceipt { state, code: None, text: None };
    signed_ops::set_state(sql, host_id, &queued(number).op_id, (&receipt, at_ms))
}

#[tokio::test]
async fn room_is_made_by_the_oldest_finished_operations_and_by_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Commit::default()).unwrap();
    let done = store.write(|sql| {
        let (host_id, other) = (add(sql, "box")?, add(sql, "other")?);
        for number in 0..6_u32 {
            for host_id in [host_id, other] {
                signed_ops::insert(sql, host_id, &queued(number), ("anna", i64::from(number)))?;
            }
        }
        moved(sql, host_id, 0, (QueueState::Delivered, 10))?;
        moved(sql, host_id, 1, (QueueState::Applied, 12))?;
        moved(sql, host_id, 2, (QueueState::Rejected, 11))?;
        assert!(signed_ops::make_room(sql, host_id, 7)?, "there is room");
        assert!(signed_ops::make_room(sql, host_id, 6)?);
        let left: Vec<_> =
            signed_ops::list(sql, host_id, 9)?.into_iter().map(|op| op.uploaded_at_ms).collect();
        assert!(!signed_ops::make_room(sql, host_id, 4)?, "what is under way is not forgotten for room");
        Ok((left, signed_ops::list(sql, other, 9)?.len(), signed_ops::queued_counts(sql)?[&host_id]))
    });
    assert_eq!(done.await.unwrap(), (vec![5, 4, 3, 1, 0], 6, 3));
}

#[tokio::test]
async fn pruning_forgets_finished_operations_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Commit::default()).unwrap();
    let done = store.write(|sql| {
        let host_id = add(sql, "box")?;
        for (number, state) in [
            QueueState::Queued,
            QueueState::Delivered,
            QueueState::Applied,
            QueueState::Rejected,
            QueueState::Expired,
            QueueState::Applied,
        ]
        .into_iter()
        .enumerate()
        {
            let number = u32::try_from(number).unwrap();
            signed_ops::insert(sql, host_id, &queued(number), ("anna", 1))?;
            moved(sql, host_id, number, (state, if number == 5 { 200 } else { 100 }))?;
        }
        let pruned = signed_ops::prune(sql, 150)?;
        let mut left: Vec<_> =
            signed_ops::list(sql, host_id, 9)?.into_iter().map(|op| (op.changed_at_ms, op.state)).collect();
        left.sort_by_key(|(at_ms, state)| (*at_ms, signed_ops::word(*state)));
        Ok((pruned, left))
    });
    let left = vec![(100, QueueState::Delivered), (100, QueueState::Queued), (200, QueueState::Applied)];
    assert_eq!(done.await.unwrap(), (3, left));
}

/// A hub from before signed operations is brought up to date where it stands.
#[tokio::test]
async fn a_database_of_the_first_schema_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = Store::open(folder.path(), Commit::default()).unwrap();
        let back = store.write(|sql| {
            add(sql, "box")?;
            let undo =
                "DROP TABLE signed_ops; DROP TABLE keysets; DROP TABLE ledger_heads; DROP INDEX audit_host;
                        DROP TABLE secrets; ALTER TABLE desired_history DROP COLUMN secrets;
                        PRAGMA user_version = 1;";
            Ok(sql.execute_batch(undo)?)
        });
        back.await.unwrap();
    }
    for _again in 0..2 {
        let store = Store::open(folder.path(), Commit::default()).unwrap();
        let read = |sql: &Connection| Ok((hosts::overview(sql)?.len(), keysets::newest(sql)?));
        assert_eq!(store.read(read).await.unwrap(), (1, 0));
    }
}
