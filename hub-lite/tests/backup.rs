//! The hub as files: what is backed up while it works comes back as the same hub, and what is damaged does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use felhom_hub::backup::{make, restore, thin_out};
use felhom_hub::clock::now_ms;
use felhom_hub::config::Config;
use felhom_hub::serve::{Running, start};
use felhom_hub::store::hosts;
use felhom_shared::id::HostId;
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

type Damage = fn(&Path);

async fn hub(folder: &Path) -> Running {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    start(Config { listen, data_dir: folder.to_owned(), ..Config::default() }).await.unwrap()
}

async fn add(running: &Running, number: u128) {
    let add = move |sql: &Connection| {
        hosts::add(sql, HostId(Uuid::from_u128(number)), &format!("box-{number}"), None, now_ms())
    };
    running.state.store.write(add).await.unwrap();
}

/// A hub with one host that was stopped in order, and a backup of it.
async fn backed_up() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let running = hub(&folder.path().join("data")).await;
    add(&running, 1).await;
    running.shutdown().await.unwrap();
    let (backup, _) = make(&folder.path().join("data"), &folder.path().join("backups")).unwrap();
    (folder, backup)
}

/// Names and contents, to see that nothing was changed.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[tokio::test]
async fn a_hub_that_goes_on_writing_is_backed_up_as_it_was_at_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let (data, backups) = (folder.path().join("data"), folder.path().join("backups"));
    let running = hub(&data).await;
    add(&running, 1).await;
    let (writing, state) = (running.pin.clone(), running.state.clone());
    let busy = tokio::spawn(async move {
        for number in 100..400_u128 {
            let add = move |sql: &Connection| {
                hosts::add(sql, HostId(Uuid::from_u128(number)), &format!("b-{number}"), None, now_ms())
            };
            state.store.write(add).await.unwrap();
        }
    });
    let (from, to) = (data.clone(), backups.clone());
    let (backup, manifest) = tokio::task::spawn_blocking(move || make(&from, &to)).await.unwrap().unwrap();
    busy.await.unwrap();
    running.shutdown().await.unwrap();
    assert!(
        manifest.files.contains_key("hub.db") && manifest.files.contains_key("hub-key.pem"),
        "{manifest:?}"
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&backup), mode(&backup.join("hub-key.pem"))), (0o700, 0o600));

    let elsewhere = folder.path().join("elsewhere");
    restore(&backup, &elsewhere).unwrap();
    let again = hub(&elsewhere).await;
    assert_eq!(again.pin, writing, "boxes know the hub by this");
    let hosts = again.state.store.read(hosts::list).await.unwrap();
    assert!(hosts.iter().any(|host| host.name == "box-1"), "{hosts:?}");
    again.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_a_restore_replaces_is_moved_aside() {
    let (folder, backup) = backed_up().await;
    let data = folder.path().join("data");
    let running = hub(&data).await;
    add(&running, 2).await;
    running.shutdown().await.unwrap();
    let (aside, _) = restore(&backup, &data).unwrap();
    let count = |file: PathBuf| {
        let sql = Connection::open(file).unwrap();
        sql.query_row("SELECT count(*) FROM hosts", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!((count(data.join("hub.db")), count(aside.join("hub.db"))), (1, 2));
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_nothing_is_changed() {
    let damages: [(&str, Damage); 6] = [
        ("a bit of the database", |backup| {
            let mut bytes = fs::read(backup.join("hub.db")).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(backup.join("hub.db"), bytes).unwrap();
        }),
        ("a missing key", |backup| fs::remove_file(backup.join("hub-key.pem")).unwrap()),
        ("a missing manifest", |backup| fs::remove_file(backup.join("manifest.json")).unwrap()),
        ("half a manifest", |backup| fs::write(backup.join("manifest.json"), "{\"version\": 1").unwrap()),
        ("a name that leads elsewhere", |backup| {
            let text = fs::read_to_string(backup.join("manifest.json")).unwrap();
            fs::write(backup.join("manifest.json"), text.replace("hub-key.pem", "../hub-key.pem")).unwrap();
            fs::copy(backup.join("hub-key.pem"), backup.join("../hub-key.pem")).unwrap();
        }),
        ("a newer hub's schema, hash and all", |backup| {
            let sql = Connection::open(backup.join("hub.db")).unwrap();
            sql.pragma_update(None, "user_version", 999).unwrap();
            drop(sql);
            let said = Command::new("sha256sum").arg(backup.join("hub.db")).output().unwrap();
            let hash = String::from_utf8(said.stdout).unwrap()[..64].to_owned();
            let text = fs::read_to_string(backup.join("manifest.json")).unwrap();
            let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
            manifest["files"]["hub.db"] = hash.into();
            fs::write(backup.join("manifest.json"), manifest.to_string()).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let (folder, backup) = backed_up().await;
        let data = folder.path().join("data");
        let before = contents(&data);
        damage(&backup);
        let refused = restore(&backup, &data);
        assert!(refused.is_err(), "{what} was restored");
        assert_eq!(contents(&data), before, "{what}");
        assert!(
            fs::read_dir(&data).unwrap().all(|entry| entry.unwrap().path().is_file()),
            "{what} left a folder"
        );
    }
}

#[tokio::test]
async fn a_backup_that_was_cut_short_is_none_and_is_not_counted() {
    let (folder, first) = backed_up().await;
    let (data, backups) = (folder.path().join("data"), folder.path().join("backups"));
    // A killed backup leaves its folder under the other name; a strange folder is nobody's to remove.
    fs::create_dir(backups.join(".felhom-hub-20200101T000000.000Z.partial")).unwrap();
    fs::create_dir(backups.join("felhom-hub-19990101")).unwrap();
    let more: Vec<PathBuf> = (0..3).map(|_| make(&data, &backups).unwrap().0).collect();
    let gone = thin_out(&backups, 2).unwrap();
    assert_eq!(gone, [first, more[0].clone()]);
    assert!(more[1].exists() && more[2].exists() && backups.join("felhom-hub-19990101").exists());
}

#[tokio::test]
async fn a_hub_does_not_start_on_half_of_a_restore() {
    let (folder, backup) = backed_up().await;
    let data = folder.path().join("data");
    // As a power cut leaves it: the old files are aside, the new ones not yet in their place.
    fs::create_dir(data.join("restoring-20260101T000000.000Z")).unwrap();
    fs::rename(data.join("hub.db"), folder.path().join("hub.db")).unwrap();
    let config =
        Config { data_dir: data.clone(), listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() };
    let refused = start(config).await.err().map(|error| error.to_string()).unwrap();
    assert!(refused.contains("a restore was cut short"), "{refused}");
    assert!(!data.join("hub.db").exists(), "no empty hub was begun");
    restore(&backup, &data).unwrap();
    hub(&data).await.shutdown().await.unwrap();
}

#[tokio::test]
async fn nothing_is_restored_under_a_running_hub() {
    let (folder, backup) = backed_up().await;
    let data = folder.path().join("data");
    let running = hub(&data).await;
    let said = Command::new(env!("CARGO_BIN_EXE_felhom-hub"))
        .arg("--data")
        .arg(&data)
        .arg("restore")
        .arg(&backup)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.code() == Some(2) && text.contains("stop it first"), "{text}");
    running.shutdown().await.unwrap();
}
