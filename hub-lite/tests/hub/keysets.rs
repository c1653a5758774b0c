//! Keysets: uploaded once, carried to every box, never changed.

use std::time::{Duration, Instant};

use felhom_shared::wire::PollAnswer;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Hub, bearer, document};

fn keyset(version: u64) -> String {
    format!("{{\"version\":{version}}}\n-----BEGIN SSH SIGNATURE-----\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyset_wakes_every_box_and_only_what_is_newer_is_handed_out() {
    let hub = Hub::start().await;
    let key = hub.operator_key("anna").await;
    let mut boxes = Vec::new();
    for name in ["one", "two", "three"] {
        boxes.push(hub.add(name).await);
    }
    let put = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(hub.put_keyset(&key, 1, &keyset(1)).await.status, 201);
        Instant::now()
    };
    let polls = async {
        let answers = join_all(boxes.iter().map(|known| hub.poll(known, "wait=20"))).await;
        (answers, Instant::now())
    };
    let (put_at, (answers, answered_at)) = tokio::join!(put, polls);
    assert!(answered_at.saturating_duration_since(put_at) < Duration::from_secs(1));
    for answer in answers {
        assert_eq!(answer.json::<PollAnswer>().keysets, [keyset(1)]);
    }
    assert_eq!(hub.poll(&boxes[0], "wait=0&keyset=1").await.status, 204, "it has that one");
    hub.put_keyset(&key, 2, &keyset(2)).await;
    hub.put_keyset(&key, 3, &keyset(3)).await;
    let answer: PollAnswer = hub.poll(&boxes[0], "wait=0&keyset=1").await.json();
    assert_eq!((answer.keysets, answer.desired.is_none()), (vec![keyset(2), keyset(3)], true));
    let published = hub.publish(boxes[0].host_id, &document(Some(512)), false).await.unwrap();
    let answer: PollAnswer = hub.poll(&boxes[0], "wait=0&keyset=2").await.json();
    assert_eq!((answer.generation, answer.keysets), (Some(published.generation), vec![keyset(3)]));
    let hub = hub.restart().await;
    let seen = format!("have=1&digest={}&keyset=3&wait=0", published.digest);
    assert_eq!(hub.poll(&boxes[0], &seen).await.status, 204);
    assert_eq!(hub.poll(&boxes[1], "wait=0").await.json::<PollAnswer>().keysets.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyset_is_never_replaced_and_leaves_no_gap() {
    let hub = Hub::start().await;
    let key = hub.operator_key("anna").await;
    let put = async |version, text: &str| hub.put_keyset(&key, version, text).await;
    assert_eq!(put(2, &keyset(2)).await.refusal(), (409, "keyset_gap".to_owned()));
    assert_eq!(put(0, &keyset(0)).await.refusal(), (400, "keyset_version".to_owned()));
    assert_eq!(put(u64::MAX, &keyset(1)).await.refusal(), (400, "keyset_version".to_owned()));
    assert_eq!(put(1, &keyset(1)).await.status, 201);
    assert_eq!(put(1, &keyset(1)).await.status, 200, "the same again");
    assert_eq!(put(1, &keyset(9)).await.refusal(), (409, "keyset_other_bytes".to_owned()));
    assert_eq!(put(2, "\0").await.refusal(), (400, "envelope_not_text".to_owned()));
    assert_eq!(put(2, &"x".repeat(32 * 1024 + 1)).await.refusal(), (413, "envelope_too_large".to_owned()));
    assert_eq!(put(2, &keyset(2)).await.status, 201);
    let listed = hub.send(Method::GET, "/api/v1/operator/keysets", Some(bearer(&key)), (None, vec![])).await;
    let expected = json!([{"version": 1, "blob": keyset(1)}, {"version": 2, "blob": keyset(2)}]);
    assert_eq!(listed.json::<Value>(), expected);
    let uploads =
        hub.deeds().into_iter().filter(|(actor, deed, _)| actor == "anna" && deed == "keyset_uploaded");
    assert_eq!(uploads.count(), 2, "refusals and repetitions are no deeds");
}
