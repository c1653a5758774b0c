//! The store: answers after the commit, one failing write spoils no other, and a schema that is made once.

use std::time::Duration;

use felhom_hub::store::{Commit, Store, StoreError, hosts};
use felhom_shared::id::HostId;
use uuid::Uuid;

fn count(sql: &rusqlite::Connection) -> Result<i64, StoreError> {
    Ok(sql.query_row("SELECT count(*) FROM hosts", [], |row| row.get(0))?)
}

fn add(sql: &rusqlite::Connection, name: &str) -> Result<(), StoreError> {
    hosts::add(sql, HostId(Uuid::new_v4()), name, None, 0)
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
                if number % 4 == 0 { add(sql, &format!("box-{number}")) } else { Ok(()) }
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
async fn an_answered_write_is_on_disk_for_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Commit::default()).unwrap();
    for number in 1..=20 {
        store.write(move |sql| add(sql, &format!("box-{number}"))).await.unwrap();
        let other = rusqlite::Connection::open(folder.path().join("hub.db")).unwrap();
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
        sql.execute(
            "INSERT INTO host_state (host_id, digest, report_id, changed_at_ms) VALUES ('nobody', x'00', 1, 0)",
            [],
        )?;
        Ok(())
    });
    assert!(matches!(write.await, Err(StoreError::Commit(_))));
    store.write(|sql| add(sql, "next")).await.unwrap();
    assert_eq!(store.read(count).await.unwrap(), 1);
    let states: i64 = store
        .read(|sql| Ok(sql.query_row("SELECT count(*) FROM host_state", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(states, 0);
}

#[tokio::test]
async fn the_schema_is_made_once_and_opening_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let schema = |store: Store| async move {
        store
            .read(|sql| {
                let mut statement = sql.prepare("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name")?;
                let rows = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
                Ok((rows, sql.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))?))
            })
            .await
            .unwrap()
    };
    let first = Store::open(folder.path(), Commit::default()).unwrap();
    first.write(|sql| add(sql, "kept")).await.unwrap();
    let before = schema(first).await;
    assert!(before.1 > 0 && before.0.len() > 10);
    let second = Store::open(folder.path(), Commit::default()).unwrap();
    assert_eq!(schema(second.clone()).await, before);
    assert_eq!(second.read(count).await.unwrap(), 1);
}

#[tokio::test]
async fn a_database_of_a_newer_hub_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path(), Commit::default()).unwrap());
    let other = rusqlite::Connection::open(folder.path().join("hub.db")).unwrap();
    other.pragma_update(None, "user_version", 1000).unwrap();
    assert!(matches!(Store::open(folder.path(), Commit::default()), Err(StoreError::Newer { .. })));
}
