//! Text from a box or an operator is shown, never obeyed.

use felhom_shared::wire::{EVENTS_PATH, REPORT_PATH};
use http::StatusCode;
use serde_json::json;

use crate::house::{document, guest, house};
use crate::visitor::{anna, document_link};

#[tokio::test]
async fn nothing_a_box_writes_becomes_markup() {
    let house = house().await;
    let host = house.add("box").await;
    let attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{202e}gpj\u{1b}[31m\0";
    let mut victim = guest(0, "failed");
    victim["name"] = json!(attack);
    victim["observed"] = json!({"reading": "present", "status": attack, "lock": attack, "pending": [attack]});
    victim["notes"] = json!([{"kind": "held", "code": attack, "text": attack}]);
    victim["steps"] = json!([{
        "step": attack, "detail": attack, "class": "routine", "outcome": "failed", "upid": attack,
        "error": {"code": attack, "text": attack}
    }]);
    let mut said = host.report();
    said["state"]["guests"] = json!([victim]);
    said["state"]["agent_version"] = json!(attack);
    said["state"]["node"] = json!({"reading": "unreadable", "code": attack, "text": attack});
    said["state"]["unmanaged"] =
        json!([{"vmid": 300, "kind": "qemu", "name": attack, "status": attack, "marked": true}]);
    said["state"]["generation"]["refused"] = json!({"generation": 6, "code": attack, "text": attack});
    said["metrics"]["storages"] = json!({attack: {"used_bytes": 1, "total_bytes": 2, "active": true}});
    host.post(REPORT_PATH, &said).await;
    let event = json!({
        "seq": 1, "event_id": "00000000-0000-4000-8000-000000000002", "at": "2026-11-24T02:10:00Z",
        "kind": "<script>alert(4)</script>", "severity": "error", "text": attack
    });
    let outbox = "00000000-0000-4000-8000-000000000001";
    host.post(EVENTS_PATH, &json!({"outbox_id": outbox, "events": [event]})).await;

    let mut visitor = anna(&house).await;
    for path in ["/".to_owned(), host.page(), format!("{}?fragment=1", host.page())] {
        let page = visitor.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        for live in ["<script>alert", "<img", "\"'>", "\u{202e}", "\u{1b}", "\0"] {
            page.lacks(live);
        }
        page.has("&#60;script&#62;alert(1)");
    }
}

#[tokio::test]
async fn what_an_operator_typed_is_escaped_too() {
    let house = house().await;
    let host = house.add("<b>box</b>").await;
    let mut named = document(1);
    named["identity"]["customer"] = json!("<i>Kov\u{e1}cs</i>");
    named["guests"][0]["description"] = json!("</pre><script>alert(3)</script>");
    house.publish(host.host_id, &named).await;
    let mut visitor = anna(&house).await;
    for path in ["/".to_owned(), host.page(), document_link(&mut visitor, &host).await] {
        let page = visitor.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        for live in ["<b>box", "<i>Kov", "<script>alert"] {
            page.lacks(live);
        }
        page.has("&#60;b&#62;box");
    }
    visitor.log_in("<u>nobody</u>", "x").await.lacks("<u>");
}
