//! Signed operations: in at the operators' door, out at the box's, and what the box says of them.

use std::time::{Duration, Instant};

use felhom_hub::checks::undelivered;
use felhom_hub::clock::now_ms;
use felhom_hub::signed::QUEUED_PER_HOST_MAX;
use felhom_shared::key::{ApiKey, KeyKind};
use felhom_shared::limits::{ENVELOPE_BYTES_MAX, OPS_PER_POLL_MAX};
use felhom_shared::signed::OpId;
use felhom_shared::wire::{ControlEnvelope, PollAnswer};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, Hub, KnownBox, bearer, document, report};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// No envelope at all: the hub must not mind.
fn envelope(number: u32) -> String {
    format!(
        "{{\"op\":\"guest.destroy\",\"number\":{number},\"name\":\"tükör\"}}\n-----BEGIN SSH SIGNATURE-----\n"
    )
}

fn id(envelope: &str) -> OpId {
    OpId::of(envelope.as_bytes())
}

fn value(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.bytes).unwrap()
}

async fn listed(hub: &Hub, key: &ApiKey, host: &KnownBox) -> Value {
    let path = format!("/api/v1/operator/hosts/{}/ops", host.host_id);
    hub.send(Method::GET, &path, Some(bearer(key)), (None, vec![])).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_wakes_the_box_which_says_what_became_of_it() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let key = hub.operator_key("anna").await;
    let op = envelope(1);
    let upload = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let answer = hub.hand_in(&key, known.host_id, &op).await;
        assert_eq!(
            (answer.status.as_u16(), value(&answer)),
            (201, json!({"op_id": id(&op), "state": "queued"}))
        );
        Instant::now()
    };
    let parked = async { (hub.poll(&known, "wait=20").await.json::<PollAnswer>(), Instant::now()) };
    let (uploaded_at, (answer, answered_at)) = tokio::join!(upload, parked);
    assert!(answered_at.saturating_duration_since(uploaded_at) < Duration::from_secs(1));
    assert_eq!((answer.generation, answer.desired.is_none()), (None, true), "there is no document");
    assert_eq!((answer.ops.len(), &answer.ops[0].op_id, &answer.ops[0].blob), (1, &id(&op), &op));

    let control: ControlEnvelope = hub.report(&known, &report(known.host_id, 1)).await.json();
    assert!(control.has_ops);
    for receipt in [json!({"state": "delivered"}), json!({"state": "applied"})] {
        for _again in 0..2 {
            assert_eq!(hub.receipt(&known, &id(&op), &receipt).await.status, 204);
        }
    }
    assert_eq!(hub.poll(&known, "wait=0").await.status, 204, "it is not queued any more");
    let control: ControlEnvelope = hub.report(&known, &report(known.host_id, 1)).await.json();
    assert!(!control.has_ops);
    let row = &listed(&hub, &key, &known).await[0];
    assert_eq!(
        (&row["op_id"], &row["state"], &row["uploaded_by"]),
        (&json!(id(&op)), &json!("applied"), &json!("anna"))
    );
    let deeds: Vec<_> = hub.deeds().into_iter().map(|(actor, deed, _)| format!("{actor}: {deed}")).collect();
    assert_eq!(
        deeds,
        ["test: operator_key_made", "anna: op_uploaded", "box box: op_delivered", "box box: op_applied"]
    );
    assert!(hub.deeds()[1..].iter().all(|(_, _, detail)| detail.starts_with(id(&op).as_str())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_state_does_not_change_and_a_rejection_says_why() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let key = hub.operator_key("anna").await;
    let op = envelope(1);
    hub.hand_in(&key, known.host_id, &op).await;
    let rejected =
        json!({"state": "rejected", "code": "expect_mismatch", "text": "another guest stands at 101"});
    assert_eq!(hub.receipt(&known, &id(&op), &rejected).await.status, 204);
    for other in ["applied", "expired", "delivered"] {
        let answer = hub.receipt(&known, &id(&op), &json!({"state": other})).await;
        assert_eq!(answer.refusal(), (409, "op_final".to_owned()), "{other}");
    }
    assert_eq!(hub.receipt(&known, &id(&op), &rejected).await.status, 204);
    for bad in [json!({"state": "queued"}), json!({"state": "done"}), json!({}), json!([])] {
        let answer = hub.receipt(&known, &id(&op), &bad).await;
        assert_eq!(answer.refusal(), (400, "receipt_malformed".to_owned()), "{bad}");
    }
    let row = &listed(&hub, &key, &known).await[0];
    assert_eq!((&row["state"], &row["code"]), (&json!("rejected"), &json!("expect_mismatch")));
    let again = hub.hand_in(&key, known.host_id, &op).await;
    assert_eq!(
        (again.status.as_u16(), &value(&again)["state"]),
        (200, &json!("rejected")),
        "not queued anew"
    );
    assert_eq!(hub.poll(&known, "wait=0").await.status, 204);
}

/// `scope_comes_from_the_key`.
#[tokio::test(flavor = "multi_thread")]
async fn a_box_neither_gets_nor_answers_for_another_boxs_operation() {
    let hub = Hub::start().await;
    let (one, other) = (hub.add("one").await, hub.add("other").await);
    let key = hub.operator_key("anna").await;
    let op = envelope(1);
    hub.hand_in(&key, one.host_id, &op).await;
    assert_eq!(hub.poll(&other, "wait=0").await.status, 204);
    let applied = json!({"state": "applied"});
    let missing = (404, "not_found".to_owned());
    assert_eq!(hub.receipt(&other, &id(&op), &applied).await.refusal(), missing);
    let nowhere = hub.post(&one, "/api/v1/host/ops/no-id/state", b"{}".to_vec()).await;
    assert_eq!(nowhere.refusal(), missing);
    assert_eq!(hub.poll(&one, "wait=0").await.json::<PollAnswer>().ops.len(), 1);
    hub.hand_in(&key, other.host_id, &op).await;
    assert_eq!(hub.receipt(&other, &id(&op), &applied).await.status, 204, "the same bytes are another's own");
    assert_eq!(listed(&hub, &key, &one).await[0]["state"], "queued");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_operators_key_opens_the_operators_door() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let key = hub.operator_key("anna").await;
    let host = known.host_id;
    let made_up = |kind| bearer(&ApiKey::from_random(kind, [1; 10], &[1; 32]));
    let cases = [
        (None, "key_missing"),
        (Some("Bearer fhk1_o_short".to_owned()), "key_malformed"),
        (Some(bearer(&known.key)), "key_of_another_kind"),
        (Some(made_up(KeyKind::Guest)), "key_of_another_kind"),
        (Some(made_up(KeyKind::Operator)), "key_unknown"),
    ];
    let doors = [
        (Method::GET, "/api/v1/operator/pending".to_owned()),
        (Method::POST, format!("/api/v1/operator/hosts/{host}/ops")),
        (Method::GET, format!("/api/v1/operator/hosts/{host}/ops")),
        (Method::PUT, "/api/v1/operator/keysets/1".to_owned()),
        (Method::GET, "/api/v1/operator/keysets".to_owned()),
    ];
    let knock = async |method: &Method, path: &str, authorization: Option<String>| {
        hub.send(method.clone(), path, authorization, (None, envelope(1).into_bytes())).await
    };
    for (method, path) in &doors {
        for (authorization, code) in &cases {
            let answer = knock(method, path, authorization.clone()).await;
            assert_eq!(answer.refusal(), (401, (*code).to_owned()), "{method} {path}");
        }
        assert!(knock(method, path, Some(bearer(&key))).await.status.is_success(), "{method} {path}");
    }
    let lookup = key.lookup().to_owned();
    let revoke = move |sql: &rusqlite::Connection| felhom_hub::store::keys::revoke_operator_key(sql, &lookup);
    assert_eq!(hub.running.state.store.write(revoke).await.unwrap(), Some("anna".to_owned()));
    let second = hub.operator_key("anna").await;
    for (method, path) in &doors {
        let answer = knock(method, path, Some(bearer(&key))).await;
        assert_eq!(answer.refusal(), (401, "key_unknown".to_owned()), "revoked, {method} {path}");
        assert!(knock(method, path, Some(bearer(&second))).await.status.is_success());
    }
    let remove = |sql: &rusqlite::Connection| felhom_hub::store::operators::remove(sql, "anna");
    hub.running.state.store.write(remove).await.unwrap();
    let answer = knock(&doors[0].0, &doors[0].1, Some(bearer(&second))).await;
    assert_eq!(answer.refusal(), (401, "key_unknown".to_owned()), "a key does not outlive its operator");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_an_envelope_is_refused_with_a_word() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let key = hub.operator_key("anna").await;
    let largest = "x".repeat(ENVELOPE_BYTES_MAX);
    assert_eq!(hub.hand_in(&key, known.host_id, &largest).await.status, 201);
    let cases = [
        (format!("{largest}x"), (413, "envelope_too_large")),
        ("x".repeat(2 * 1024 * 1024), (413, "body_too_large")),
        (String::new(), (400, "envelope_not_text")),
        ("{}\n\0".to_owned(), (400, "envelope_not_text")),
    ];
    for (text, (status, code)) in cases {
        assert_eq!(hub.hand_in(&key, known.host_id, &text).await.refusal(), (status, code.to_owned()));
    }
    let path = format!("/api/v1/operator/hosts/{}/ops", known.host_id);
    let binary = hub.send(Method::POST, &path, Some(bearer(&key)), (None, vec![0xff, 0xfe])).await;
    assert_eq!(binary.refusal(), (400, "envelope_not_text".to_owned()));
    for nobody in ["00000000-0000-4000-8000-000000000001", "box"] {
        let path = format!("/api/v1/operator/hosts/{nobody}/ops");
        for method in [Method::POST, Method::GET] {
            let answer = hub.send(method, &path, Some(bearer(&key)), (None, b"x".to_vec())).await;
            assert_eq!(answer.refusal(), (404, "not_found".to_owned()), "{nobody}");
        }
    }
    assert_eq!(listed(&hub, &key, &known).await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_outlives_a_restart_and_travels_beside_a_document() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let key = hub.operator_key("anna").await;
    let published = hub.publish(known.host_id, &document(Some(512)), false).await.unwrap();
    hub.hand_in(&key, known.host_id, &envelope(1)).await;
    let hub = hub.restart().await;
    let answer: PollAnswer = hub.poll(&known, "wait=0").await.json();
    assert_eq!((answer.generation, answer.ops.len()), (Some(published.generation), 1));
    assert_eq!(answer.desired.unwrap().get(), document(Some(512)));
    let seen = format!("have=1&digest={}&wait=0", published.digest);
    let answer: PollAnswer = hub.poll(&known, &seen).await.json();
    assert!(answer.desired.is_none() && answer.generation.is_none(), "the agent has that very document");
    assert_eq!(answer.ops[0].blob, envelope(1));
    assert_eq!(
        hub.hand_in(&key, known.host_id, &envelope(1)).await.status,
        200,
        "the key works on, the op is known"
    );
}

/// A box that never takes what it is given must not turn the long poll into a loop.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_box_does_not_take_is_offered_again_and_then_without_haste() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let key = hub.operator_key("anna").await;
    hub.hand_in(&key, known.host_id, &envelope(1)).await;
    let poll = async || {
        let begun = Instant::now();
        let answer: PollAnswer = hub.poll(&known, "wait=1").await.json();
        (answer.ops.len(), begun.elapsed() >= Duration::from_millis(900))
    };
    for _lost in 0..3 {
        assert_eq!(poll().await, (1, false), "an answer can get lost");
    }
    assert_eq!(poll().await, (1, true), "it waits out its time");
    let second = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        hub.hand_in(&key, known.host_id, &envelope(2)).await;
    };
    let begun = Instant::now();
    let (answer, ()) = tokio::join!(hub.poll(&known, "wait=20"), second);
    assert_eq!(answer.json::<PollAnswer>().ops.len(), 2);
    assert!(begun.elapsed() < Duration::from_secs(5), "what is new does not wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_refused_and_is_fetched_in_pieces() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let key = hub.operator_key("anna").await;
    for number in 0..QUEUED_PER_HOST_MAX {
        assert_eq!(hub.hand_in(&key, known.host_id, &envelope(number)).await.status, 201);
    }
    let refused = hub.hand_in(&key, known.host_id, &envelope(QUEUED_PER_HOST_MAX)).await;
    assert_eq!(refused.refusal(), (409, "queue_full".to_owned()));
    let first: PollAnswer = hub.poll(&known, "wait=0").await.json();
    assert_eq!(first.ops.len(), OPS_PER_POLL_MAX);
    for op in &first.ops {
        assert_eq!(hub.receipt(&known, &op.op_id, &json!({"state": "delivered"})).await.status, 204);
    }
    let next: PollAnswer = hub.poll(&known, "wait=0").await.json();
    assert_eq!(next.ops.len(), OPS_PER_POLL_MAX);
    assert!(next.ops.iter().all(|op| !first.ops.contains(op)));
    assert_eq!(hub.hand_in(&key, known.host_id, &envelope(QUEUED_PER_HOST_MAX)).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_hears_of_expires_and_says_so_once() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let key = hub.operator_key("anna").await;
    hub.hand_in(&key, known.host_id, &envelope(1)).await;
    hub.hand_in(&key, known.host_id, &envelope(2)).await;
    hub.receipt(&known, &id(&envelope(2)), &json!({"state": "delivered"})).await;
    let state = &hub.running.state;
    let now_ms = now_ms();
    let states = async || {
        let rows = listed(&hub, &key, &known).await;
        let of = |op: &str| {
            let row =
                rows.as_array().unwrap().iter().find(|row| row["op_id"] == json!(id(op))).unwrap().clone();
            (row["state"].as_str().unwrap().to_owned(), row["code"].as_str().unwrap_or_default().to_owned())
        };
        [of(&envelope(1)), of(&envelope(2))]
    };
    let pair = |state: &str, code: &str| (state.to_owned(), code.to_owned());
    undelivered::check_at(state, now_ms + 6 * DAY_MS).await.unwrap();
    assert_eq!(states().await, [pair("queued", ""), pair("delivered", "")]);
    undelivered::check_at(state, now_ms + 8 * DAY_MS).await.unwrap();
    assert_eq!(states().await, [pair("expired", "not_delivered"), pair("delivered", "")]);
    assert_eq!(hub.poll(&known, "wait=0").await.status, 204, "it is not handed out any more");
    for _again in 0..2 {
        undelivered::check_at(state, now_ms + 15 * DAY_MS).await.unwrap();
    }
    assert_eq!(states().await, [pair("expired", "not_delivered"), pair("expired", "no_receipt")]);
    assert_eq!(hub.told(known.host_id), ["op_not_delivered", "op_no_receipt"]);
    let expired = hub.deeds().into_iter().filter(|(actor, deed, _)| actor == "hub" && deed == "op_expired");
    assert_eq!(expired.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_signature_is_told_to_operators_as_the_box_said_it() {
    let hub = Hub::start().await;
    let (quiet, holding) = (hub.add("quiet").await, hub.add("holding").await);
    let key = hub.operator_key("anna").await;
    hub.report(&quiet, &report(quiet.host_id, 1)).await;
    let step = json!({
        "op": "guest.destroy",
        "target": {"host_id": holding.host_id, "guest_id": "701e2d01-0000-4000-8000-000000000001"},
        "params": {"expect": {"vmid": 101, "name": "web", "config_digest": "0".repeat(40)}},
        "code": "held_for_signature", "text": "destroys web and its disks"
    });
    let mut said = serde_json::to_value(report(holding.host_id, 1)).unwrap();
    said["state"]["ops"] = json!({"keyset_version": 2, "pending": [step]});
    let posted = hub.post(&holding, felhom_shared::wire::REPORT_PATH, said.to_string().into_bytes()).await;
    assert_eq!(posted.status, 200);
    let ask = async |query: &str| {
        let path = format!("/api/v1/operator/pending{query}");
        hub.send(Method::GET, &path, Some(bearer(&key)), (None, vec![])).await
    };
    let told =
        json!([{"host_id": holding.host_id, "name": "holding", "keyset_version": 2, "pending": [step]}]);
    assert_eq!(ask("").await.json::<Value>(), told);
    assert_eq!(ask("?host=holding").await.json::<Value>(), told);
    assert_eq!(ask(&format!("?host={}", holding.host_id)).await.json::<Value>(), told);
    assert_eq!(ask("?host=quiet").await.json::<Value>()[0]["pending"], json!([]));
    assert_eq!(ask("?host=nobody").await.refusal(), (404, "not_found".to_owned()));
}
