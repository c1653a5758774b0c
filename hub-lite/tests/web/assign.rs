//! The form that gives a drive a purpose: it offers what the box has detected, shows what would change, and publishes only
//! that.

use felhom_hub::store::desired_history;
use felhom_shared::desired::DesiredState;
use felhom_shared::id::HostId;
use felhom_shared::wire::REPORT_PATH;
use http::StatusCode;
use serde_json::{Value, json};

use crate::house::{Boxed, House, document, house};
use crate::visitor::{OWN_PAGE, anna};

const ID: &str = "contents:b3d5f7a1-22c4-4e0e-8c61-5d1f9f3c7e20";

fn drives() -> Value {
    let part = json!({"name": "sda1", "known_by": [ID], "size_bytes": 4, "format": "ext4", "label": "<i>photos</i>"});
    let system = json!({"name": "nvme0n1p3", "known_by": ["contents:root"], "size_bytes": 4, "format": "ext4", "mounted_at": ["/"]});
    json!([
        {"name": "sda", "durable_id": "hardware:00ff", "kind": "usb", "size_bytes": 4, "contents": [part]},
        {"name": "nvme0n1", "durable_id": "hardware:11ff", "kind": "nvme", "size_bytes": 9, "system": true, "contents": [system]},
    ])
}

async fn report(host: &Boxed, storage: Value) {
    let mut said = host.report();
    said["state"]["drives"] = drives();
    said["state"]["storage"] = storage;
    host.post(REPORT_PATH, &said).await;
}

fn form(csrf: &str, more: &str) -> String {
    let id = ID.replace(':', "%3a");
    format!("csrf={csrf}&durable_id={id}&storage=photos&action=adopt&role=files&label=shelf&{more}")
}

async fn current(house: &House, host_id: HostId) -> DesiredState {
    let read = house.state.store.read(move |sql| desired_history::current(sql, host_id));
    DesiredState::from_json(&read.await.unwrap().unwrap().bytes).unwrap()
}

#[tokio::test]
async fn a_detected_drive_is_offered_and_published_after_it_was_shown() {
    let house = house().await;
    let host = house.add("box").await;
    let path = format!("{}/storage", host.page());
    report(&host, json!([])).await;
    let mut visitor = anna(&house).await;
    // Without a document there is nothing to add it to.
    visitor.get(&host.page()).await.lacks("Give it a purpose");
    house.publish(host.host_id, &document(1)).await;
    let csrf = visitor.csrf().await;
    let page = visitor.get(&host.page()).await;
    page.has(&format!("<option value=\"{ID}\">ext4 “&#60;i&#62;photos&#60;/i&#62;” on sda1</option>"));
    page.has("the whole drive sda");
    page.lacks("the whole drive nvme0n1");

    let shown = visitor.post(&path, OWN_PAGE, &form(&csrf, "iso=on&backup=on")).await;
    assert_eq!(shown.status, StatusCode::OK);
    shown.has("storage[photos]");
    shown.has("name=\"over\" value=\"1\"");
    assert!(current(&house, host.host_id).await.storage.is_empty(), "showing publishes nothing");

    let published = visitor.post(&path, OWN_PAGE, &form(&csrf, "iso=on&backup=on&over=1")).await;
    assert_eq!(published.status, StatusCode::SEE_OTHER);
    let storage = current(&house, host.host_id).await.storage;
    assert_eq!((storage.len(), storage[0].durable_id.as_str(), storage[0].content.len()), (1, ID, 2));
    // Somebody else was quicker, or the same form comes twice.
    let again = visitor.post(&path, OWN_PAGE, &form(&csrf, "vztmpl=on&over=1")).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    visitor.get(&host.page()).await.lacks("Give it a purpose");
}

#[tokio::test]
async fn what_the_box_has_not_detected_and_what_makes_no_sense_is_refused() {
    let house = house().await;
    let host = house.add("box").await;
    let path = format!("{}/storage", host.page());
    house.publish(host.host_id, &document(1)).await;
    report(&host, json!([])).await;
    let mut visitor = anna(&house).await;
    let csrf = visitor.csrf().await;
    for (from, to, why) in [
        ("b3d5f7a1", "00000000", "reports no drive"),
        ("storage=photos", "storage=..%2fx", "is not a valid storage"),
        ("action=adopt", "action=wipe", "unknown variant"),
        ("role=files", "role=backup", "does not hold iso"),
        ("action=adopt", "action=format", "which file system"),
        ("iso=on", "", "what may lie on"),
    ] {
        let sent = form(&csrf, "iso=on&over=1").replace(from, to);
        let refused = visitor.post(&path, OWN_PAGE, &sent).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{sent}");
        refused.has(why);
    }
    let guessed = visitor.post(&path, OWN_PAGE, &form("guessed", "iso=on&over=1")).await;
    assert_eq!(guessed.status, StatusCode::FORBIDDEN);
    let elsewhere = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")];
    let refused = visitor.post(&path, &elsewhere, &form(&csrf, "iso=on&over=1")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(current(&house, host.host_id).await.storage.is_empty(), "none of these did anything");
}

#[tokio::test]
async fn a_storage_stands_on_the_page_with_how_far_its_drive_has_come() {
    let house = house().await;
    let host = house.add("box").await;
    let mut wanted = document(1);
    wanted["storage"] = json!([{"storage": "photos", "durable_id": ID, "action": "adopt", "role": "files", "content": ["iso"],
        "label": "<b>shelf</b>"}]);
    house.publish(host.host_id, &wanted).await;
    let note = json!({"kind": "waiting", "code": "drive_unplugged", "text": "the drive of photos is not attached <x>"});
    report(
        &host,
        json!([{"storage": "photos", "durable_id": ID, "role": "files", "outcome": "waiting", "readiness": "unplugged",
            "notes": [note]}]),
    )
    .await;
    let mut visitor = anna(&house).await;
    let page = visitor.get(&host.page()).await;
    page.has("unplugged");
    page.has("adopt for files: iso");
    page.has("&#60;b&#62;shelf");
    page.has("is not attached &#60;x&#62;");
    page.has("1 of 1 not as desired");
}
