//! The long poll: woken by news, quiet without.

use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Method, Request};
use felhom_hub::router::router;
use felhom_shared::id::Generation;
use felhom_shared::wire::{ControlEnvelope, POLL_PATH, PollAnswer};
use tower::ServiceExt;

use crate::world::{Hub, document, report};

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_wakes_the_parked_poll_at_once() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let text = document(Some(512));
    let publish = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let published = hub.publish(known.host_id, &text, false).await.unwrap();
        (published, Instant::now())
    };
    let parked = async { (hub.poll(&known, "wait=20").await, Instant::now()) };
    let ((published, published_at), (answer, answered_at)) = tokio::join!(publish, parked);
    assert!(answered_at.saturating_duration_since(published_at) < Duration::from_secs(1));
    let answer: PollAnswer = answer.json();
    assert_eq!((answer.host_id, answer.generation), (known.host_id, Some(Generation(1))));
    assert_eq!(answer.desired.as_ref().unwrap().get(), text, "byte for byte");
    assert_eq!(
        published.digest,
        felhom_shared::desired::digest(answer.desired.as_ref().unwrap().get().as_bytes())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_news_the_poll_answers_204_after_the_wait() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let begun = Instant::now();
    assert_eq!(hub.poll(&known, "wait=1").await.status, 204);
    assert!((1.0..3.0).contains(&begun.elapsed().as_secs_f64()));
    let published = hub.publish(known.host_id, &document(Some(512)), false).await.unwrap();
    let seen = format!("have=1&digest={}&wait=0", published.digest);
    assert_eq!(hub.poll(&known, &seen).await.status, 204);
    assert_eq!(hub.poll(&known, "have=1&wait=0").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_generation_and_other_bytes_are_delivered() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    hub.publish(known.host_id, &document(Some(512)), false).await.unwrap();
    let answer: PollAnswer = hub.poll(&known, "have=7&wait=0").await.json();
    assert_eq!(answer.generation, Some(Generation(1)), "the box decides, the hub does not hide");
    let other = format!("have=1&digest={}&wait=0", "0".repeat(64));
    assert_eq!(hub.poll(&known, &other).await.json::<PollAnswer>().generation, Some(Generation(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_host_is_told_that_it_is_blocked() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    hub.publish(known.host_id, &document(Some(512)), false).await.unwrap();
    let host_id = known.host_id;
    let pause = move |sql: &rusqlite::Connection| felhom_hub::store::hosts::set_paused(sql, host_id, true);
    hub.running.state.store.write(pause).await.unwrap();
    hub.running.state.reload(host_id).await.unwrap();
    assert!(hub.poll(&known, "wait=0").await.json::<PollAnswer>().blocked);
    let envelope: ControlEnvelope = hub.report(&known, &report(host_id, 1)).await.json();
    assert!(envelope.blocked);
    assert_eq!(envelope.desired_generation, Some(Generation(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_are_none_are_refused_with_a_word() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    for query in ["have=-1&wait=0", "have=99999999999999999999&wait=0", "wait=soon"] {
        assert_eq!(hub.poll(&known, query).await.refusal(), (400, "poll_malformed".to_owned()), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_stops_lets_parked_polls_go() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let state = hub.running.state.clone();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        state.live.stop();
    };
    let begun = Instant::now();
    let (answer, ()) = tokio::join!(hub.poll(&known, "wait=60"), stop);
    assert_eq!(answer.status, 204);
    assert!(begun.elapsed() < Duration::from_secs(3));
    hub.running.shutdown().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "nobody is waited for who is not there");
}

/// Reports and publishing at once: neither loses the other's numbers.
#[tokio::test(flavor = "multi_thread")]
async fn reports_beside_publishing_lose_nothing() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    for round in 1..=10 {
        let text = document(Some(512 + round));
        let beside = report(known.host_id, u64::from(round));
        let (published, reported) =
            tokio::join!(hub.publish(known.host_id, &text, false), hub.report(&known, &beside));
        assert_eq!(reported.status, 200);
        let generation = Some(published.unwrap().generation);
        assert_eq!(hub.host(known.host_id).await.desired, generation);
        assert_eq!(hub.running.state.live.intent(known.host_id).generation, generation);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_with_many_parked_polls_stops_in_order() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let (state, begun) = (hub.running.state.clone(), Instant::now());
    let stop = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        state.live.stop();
    };
    let polls = futures_util::future::join_all((0..300).map(|_| hub.poll(&known, "wait=60")));
    let (answers, ()) = tokio::join!(polls, stop);
    assert!(answers.iter().all(|answer| answer.status == 204), "each parked poll is answered, none is cut");
    hub.running.shutdown().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// The listener answers polls itself, the router what does not come through it: nobody can tell which it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_poll_past_the_router_is_answered_as_the_router_would() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    hub.publish(known.host_id, &document(Some(512)), false).await.unwrap();
    let listener = format!("http://{}", hub.running.plain_addr.unwrap());
    let client = reqwest::Client::new();
    let key = format!("Bearer {}", known.key.expose());
    for (method, path, key) in [
        ("GET", "?wait=0", Some(&key)),
        ("GET", "?have=1&wait=0", Some(&key)),
        ("GET", "?wait=soon", Some(&key)),
        ("GET", "?wait=0", Some(&"Bearer fhk1_h_no".to_owned())),
        ("GET", "?wait=0", None),
        ("GET", "/?wait=0", Some(&key)),
        ("POST", "?wait=0", Some(&key)),
    ] {
        let (method, uri) = (Method::from_bytes(method.as_bytes()).unwrap(), format!("{POLL_PATH}{path}"));
        let mut there = client.request(method.clone(), format!("{listener}{uri}"));
        let mut here = Request::builder().method(method).uri(&uri);
        if let Some(key) = key {
            (there, here) = (there.header(AUTHORIZATION, key), here.header(AUTHORIZATION, key));
        }
        let there = there.send().await.unwrap();
        let here =
            router(hub.running.state.clone()).oneshot(here.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(there.status(), here.status(), "{uri}");
        assert_eq!(there.headers().get(CONTENT_TYPE), here.headers().get(CONTENT_TYPE), "{uri}");
        assert_eq!(there.headers().get(ALLOW), here.headers().get(ALLOW), "{uri}");
        let here = to_bytes(here.into_body(), usize::MAX).await.unwrap();
        assert_eq!(there.bytes().await.unwrap(), here, "{uri}");
    }
}
