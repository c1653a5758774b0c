//! The data folder: one hub at a time, private, and never taken backwards.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use felhom_hub::auth::Keys;
use felhom_hub::serve::{self, ServeError};
use felhom_hub::store::{Commit, FILE_NAME, Store, StoreError};
use felhom_hub::tls;
use felhom_shared::key::{ApiKey, KeyKind};
use rusqlite::Connection;

use crate::world::{Hub, config};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_hub_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = serve::start(config(&folder)).await.unwrap();
    let second = serve::start(config(&folder)).await;
    assert!(matches!(second, Err(ServeError::InUse(_))));
    assert!(folder.path().join("hub.sock").exists(), "the first one's socket is left alone");
    first.shutdown().await.unwrap();
    serve::start(config(&folder)).await.unwrap().shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_pepper_and_key_are_for_their_owner_alone() {
    let hub = Hub::start_with(|config| config.data_dir.push("made-by-the-hub")).await;
    let folder = hub.folder().join("made-by-the-hub");
    assert_eq!(mode(&folder), 0o700);
    for name in ["pepper", "hub-key.pem", "hub.sock"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("new")), "left over: {names:?}");
}

#[test]
fn migrations_run_once_whoever_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|threads| {
        let open = || Store::open(folder.path(), Commit::default()).map(drop);
        let opened: Vec<_> = (0..8).map(|_| threads.spawn(open)).collect();
        opened.into_iter().for_each(|opened| opened.join().unwrap().unwrap());
    });
    let sql = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    let schema =
        || sql.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = schema();
    assert!(before > 10);
    Store::open(folder.path(), Commit::default()).unwrap();
    assert_eq!(schema(), before);
}

#[test]
fn a_database_of_a_newer_hub_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path(), Commit::default()).unwrap());
    let sql = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    sql.pragma_update(None, "user_version", 1000).unwrap();
    let refused = Store::open(folder.path(), Commit::default()).map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 1000, .. }), "{refused}");
    let version: u32 = sql.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 1000);
}

/// A command line and a hub that begin a folder at once must agree on what they have made.
#[test]
fn of_two_first_starts_one_pepper_and_one_key_count() {
    let folder = tempfile::tempdir().unwrap();
    let key = ApiKey::from_random(KeyKind::Host, [1; 10], &[2; 32]);
    let made = std::thread::scope(|threads| {
        let begin = || {
            let hmac = Keys::open(folder.path()).unwrap().hmac(&key);
            (hmac, tls::identity(&config(&folder)).unwrap().pin)
        };
        let made: Vec<_> = (0..8).map(|_| threads.spawn(begin)).collect();
        made.into_iter().map(|made| made.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(made.iter().all(|one| *one == made[0]));
}

#[test]
fn a_lost_certificate_is_made_anew_from_the_key_that_the_boxes_know() {
    let folder = tempfile::tempdir().unwrap();
    let pin = tls::identity(&config(&folder)).unwrap().pin;
    std::fs::remove_file(folder.path().join("hub-cert.pem")).unwrap();
    assert_eq!(tls::identity(&config(&folder)).unwrap().pin, pin);
}

#[test]
fn a_damaged_pepper_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pepper"), b"short").unwrap();
    assert!(Keys::open(folder.path()).is_err());
    assert_eq!(std::fs::read(folder.path().join("pepper")).unwrap(), b"short");
}
