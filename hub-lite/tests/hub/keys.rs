//! Whose request it is: by a key that is known, of the right kind, and not replaced.

use felhom_hub::config::Config;
use felhom_shared::key::{ApiKey, KeyKind};
use felhom_shared::wire::{EVENTS_PATH, POLL_PATH, REPORT_PATH};
use reqwest::Method;

use crate::world::{Hub, bearer, document, report};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_missing_unknown_or_of_another_kind_opens_nothing() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let key = |kind, byte| bearer(&ApiKey::from_random(kind, [byte; 10], &[byte; 32]));
    let cases = [
        (None, "key_missing"),
        (Some("Basic abc".to_owned()), "key_missing"),
        (Some("Bearer fhk1_h_short".to_owned()), "key_malformed"),
        (Some(key(KeyKind::Guest, 1)), "key_of_another_kind"),
        (Some(key(KeyKind::Operator, 1)), "key_of_another_kind"),
        (Some(key(KeyKind::Host, 1)), "key_unknown"),
    ];
    for (authorization, code) in cases {
        for (method, path) in
            [(Method::GET, POLL_PATH), (Method::POST, REPORT_PATH), (Method::POST, EVENTS_PATH)]
        {
            let answer = hub.send(method, path, authorization.clone(), (None, vec![])).await;
            assert_eq!(answer.refusal(), (401, code.to_owned()), "{path}");
        }
    }
    assert_eq!(hub.poll(&known, "wait=0").await.status, 204, "the right key is let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_lookup_part_with_another_secret_is_refused() {
    let hub = Hub::start().await;
    let mut known = hub.add("box").await;
    assert_eq!(hub.poll(&known, "wait=0").await.status, 204, "and is remembered");
    let lookup =
        data_encoding::BASE32_NOPAD.decode(known.key.lookup().to_ascii_uppercase().as_bytes()).unwrap();
    known.key = ApiKey::from_random(KeyKind::Host, lookup.try_into().unwrap(), &[0xee; 32]);
    assert_eq!(hub.poll(&known, "wait=0").await.refusal(), (401, "key_unknown".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_stops_working_at_once() {
    let hub = Hub::start().await;
    let mut known = hub.add("box").await;
    assert_eq!(hub.poll(&known, "wait=0").await.status, 204);
    let new = hub.new_key(known.host_id).await;
    assert_eq!(hub.poll(&known, "wait=0").await.refusal(), (401, "key_unknown".to_owned()));
    known.key = new;
    assert_eq!(hub.poll(&known, "wait=0").await.status, 204);
}

/// A key read just before it was replaced must not be remembered just after.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_replaced_while_it_is_used_stops_working() {
    let hub = Hub::start().await;
    let mut known = hub.add("box").await;
    for _ in 0..20 {
        let (_, new) = tokio::join!(hub.poll(&known, "wait=0"), hub.new_key(known.host_id));
        assert_eq!(hub.poll(&known, "wait=0").await.status, 401);
        known.key = new;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_refused_with_a_word() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let key = Some(bearer(&known.key));
    let nowhere = hub.send(Method::GET, "/api/v1/host/nothing", key.clone(), (None, vec![])).await;
    assert_eq!(nowhere.refusal(), (404, "not_found".to_owned()));
    assert_eq!(hub.send(Method::DELETE, POLL_PATH, key, (None, vec![])).await.refusal().0, 405);
}

/// `secrets_are_types`: neither in the database, nor in what `Debug` shows.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_types() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    hub.publish(known.host_id, &document(Some(512)), false).await.unwrap();
    hub.report(&known, &report(known.host_id, 1)).await;
    let pepper = std::fs::read(hub.folder().join("pepper")).unwrap();
    assert_eq!(pepper.len(), 32);
    let secret = known.key.expose().split('_').nth(3).unwrap().as_bytes().to_vec();
    for name in ["hub.db", "hub.db-wal"] {
        let bytes = std::fs::read(hub.folder().join(name)).unwrap();
        let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(
            holds(known.key.lookup().as_bytes()) || name == "hub.db",
            "the test would find the key in {name}"
        );
        assert!(!holds(&secret) && !holds(&pepper), "a secret lies in {name}");
    }
    let shown = format!("{:?} {:?}", known.key, Config::default());
    assert!(!shown.contains(std::str::from_utf8(&secret).unwrap()));
}
