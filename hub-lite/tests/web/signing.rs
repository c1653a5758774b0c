//! What waits for a signature, what was signed, and the form that hands in.

use felhom_hub::signed;
use felhom_hub::store::signed_ops;
use felhom_shared::id::HostId;
use felhom_shared::signed::OpId;
use felhom_shared::wire::{OPS_PATH, QueueState, REPORT_PATH};
use http::StatusCode;
use serde_json::{Value, json};

use crate::house::{Boxed, House, document, house};
use crate::visitor::{OWN_PAGE, anna, stranger};

const GUEST: &str = "701e2d01-0000-4000-8000-000000000001";
const ENVELOPE: &str =
    "{\"op\":\"guest.destroy\"}\n-----BEGIN SSH SIGNATURE-----\nAA+/=\n-----END SSH SIGNATURE-----\n";

fn step(host: &Boxed, text: &str) -> Value {
    json!({
        "op": "guest.destroy", "target": {"host_id": host.host_id, "guest_id": GUEST},
        "params": {"expect": {"vmid": 101, "name": text, "config_digest": "0".repeat(40)}},
        "code": text, "text": text
    })
}

async fn report(host: &Boxed, ops: Value) {
    let mut said = host.report();
    said["state"]["ops"] = ops;
    host.post(REPORT_PATH, &said).await;
}

/// As a browser sends a form: two characters at every line end.
fn form(csrf: &str, envelope: &str) -> String {
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    format!("csrf={csrf}&envelope={}", encode(&envelope.replace('\n', "\r\n")))
}

async fn queue(house: &House, host_id: HostId) -> Vec<signed_ops::SignedOp> {
    house.state.store.read(move |sql| signed_ops::list(sql, host_id, 9)).await.unwrap()
}

#[tokio::test]
async fn a_held_step_stands_on_the_page_with_the_command_that_signs_it() {
    let house = house().await;
    let host = house.add("kovacs-haz").await;
    house.publish(host.host_id, &document(1)).await;
    let text = "destroys web (101) and its disks; there is no backup";
    report(
        &host,
        json!({"keyset_version": 3, "keyset_digest": "d".repeat(64), "pending": [step(&host, text)]}),
    )
    .await;
    let mut visitor = anna(&house).await;
    let page = visitor.get(&host.page()).await;
    page.has("Waiting for a signature");
    page.has(text);
    page.has("vmid 101");
    page.has("<b><bdi>web</bdi></b>");
    page.has("felhom-sign --pending --hub https://127.0.0.1:8443 --ca hub-cert.pem --key-file operator-key --key ops --host kovacs-haz");
    page.has("version 3");
    page.lacks("trusts no key");
    visitor.get("/").await.has("1 to sign");
    report(&host, json!({"pending": [step(&host, text)]})).await;
    visitor.get(&host.page()).await.has("trusts no key");
    report(&host, json!({"keyset_version": 3})).await;
    visitor.get(&host.page()).await.lacks("Waiting for a signature");
    visitor.get("/").await.lacks("to sign");
}

#[tokio::test]
async fn nothing_that_a_box_says_of_operations_becomes_markup_or_a_command() {
    let house = house().await;
    let host = house.add("box; rm -rf /").await;
    let attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{202e}gpj\u{1b}[31m\0";
    let mut hostile = step(&host, attack);
    hostile["op"] = json!(attack);
    hostile["target"] = json!({"guest_id": attack});
    hostile["params"]["snapshot"] = json!(attack);
    let odd = json!({"op": "x", "target": [attack], "params": attack, "code": "", "text": ""});
    let receipt = json!({
        "op_id": attack, "op": attack, "state": "rejected", "code": attack, "text": attack, "at": "2026-11-24T02:10:00Z"
    });
    report(
        &host,
        json!({
            "keyset_digest": attack, "keyset_version": 1, "pending": [hostile, odd], "receipts": [receipt],
            "ledger": {"seq": 1, "head": attack}
        }),
    )
    .await;
    let mut visitor = anna(&house).await;
    for path in [host.page(), format!("{}?fragment=1", host.page())] {
        let page = visitor.get(&path).await;
        assert_eq!(page.status, StatusCode::OK);
        for live in ["<script>alert", "<img", "\"'>", "\u{202e}", "\u{1b}", "\0", "--host box;"] {
            page.lacks(live);
        }
        page.has("&#60;script&#62;alert(1)");
        page.has(&format!("--host {}", host.host_id));
    }
}

#[tokio::test]
async fn the_form_queues_the_bytes_that_were_signed_and_only_from_its_own_page() {
    let house = house().await;
    let (host, other) = (house.add("box").await, house.add("other").await);
    let path = format!("{}/ops", host.page());
    let mut visitor = anna(&house).await;
    let csrf = visitor.csrf().await;
    visitor.get(&host.page()).await.has(&format!("action=\"{path}\""));
    let from_elsewhere = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")];
    let refused = visitor.post(&path, &from_elsewhere, &form(&csrf, ENVELOPE)).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let refused = visitor.post(&path, OWN_PAGE, &form("guessed", ENVELOPE)).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let mut nobody = stranger(&house).await;
    assert!(nobody.post(&path, OWN_PAGE, &form(&csrf, ENVELOPE)).await.is_redirect_to_login());
    for (text, status) in
        [(" \n", StatusCode::BAD_REQUEST), (&"x".repeat(33 * 1024), StatusCode::PAYLOAD_TOO_LARGE)]
    {
        assert_eq!(visitor.post(&path, OWN_PAGE, &form(&csrf, text)).await.status, status);
    }
    assert!(queue(&house, host.host_id).await.is_empty(), "none of these did anything");

    let taken = visitor.post(&path, OWN_PAGE, &form(&csrf, ENVELOPE)).await;
    assert_eq!(
        (taken.status, taken.header("location")),
        (StatusCode::SEE_OTHER, &*format!("{}#signed", host.page()))
    );
    visitor.post(&path, OWN_PAGE, &form(&csrf, ENVELOPE)).await;
    let ops = queue(&house, host.host_id).await;
    assert_eq!(
        (ops.len(), &ops[0].op_id, ops[0].state),
        (1, &OpId::of(ENVELOPE.as_bytes()), QueueState::Queued)
    );
    assert_eq!(ops[0].uploaded_by, "anna");
    assert!(queue(&house, other.host_id).await.is_empty());
    let gone = "/hosts/00000000-0000-4000-8000-000000000009/ops";
    assert_eq!(visitor.post(gone, OWN_PAGE, &form(&csrf, ENVELOPE)).await.status, StatusCode::NOT_FOUND);
    let page = visitor.get(&host.page()).await;
    page.has("queued");
    page.has("op_uploaded");
    visitor.get("/").await.has("1 signed, not fetched yet");
}

#[tokio::test]
async fn queue_and_receipt_of_one_operation_stand_in_one_row() {
    let house = house().await;
    let host = house.add("box").await;
    house.publish(host.host_id, &document(1)).await;
    let by = signed::Uploader::now("anna");
    let uploaded = signed::hand_in(&house.state, host.host_id, ENVELOPE.into(), by).await.unwrap();
    let op_id = uploaded.op_id.as_str();
    host.post_no_content(
        &format!("{OPS_PATH}/{op_id}/state"),
        &json!({"state": "rejected", "code": "interrupted"}),
    )
    .await;
    let mine = json!({
        "op_id": op_id, "op": "guest.destroy", "guest_id": GUEST, "state": "interrupted", "code": "interrupted",
        "text": "look at the box", "at": "2026-11-24T02:10:00Z"
    });
    let foreign = json!({"op_id": "f".repeat(64), "op": "clock.reset", "state": "applied", "at": "2026-11-24T02:00:00Z"});
    report(
        &host,
        json!({
            "keyset_version": 1, "receipts": [foreign, mine], "ledger": {"seq": 12, "head": "c".repeat(64)}
        }),
    )
    .await;
    let mut visitor = anna(&house).await;
    let page = visitor.get(&host.page()).await;
    assert_eq!(page.text.matches(&format!("title=\"{op_id}\"")).count(), 1);
    for word in
        ["rejected", "interrupted", "look at the box", "clock.reset", "not in this hub&#39;s queue", "row 12"]
    {
        page.has(&word.replace("&#39;", "'"));
    }
    page.lacks("rolled back");
    report(&host, json!({"keyset_version": 1, "ledger": {"seq": 4, "head": "d".repeat(64)}})).await;
    let page = visitor.get(&host.page()).await;
    page.has("The ledger was rolled back.");
    page.has("It was seen at");
    let list = visitor.get("/").await;
    list.has("The ledger was rolled back.");
    list.has("1 needs you");
    page.has("ledger_rolled_back");
}
