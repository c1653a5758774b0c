//! What is published, what is refused, and how a hub that was restored is brought back.

use felhom_hub::publish::PublishError;
use felhom_shared::id::Generation;
use felhom_shared::wire::PollAnswer;

use crate::world::{Hub, document, received};

#[tokio::test(flavor = "multi_thread")]
async fn what_the_box_would_refuse_is_not_published() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let good = document(Some(512));
    hub.publish(known.host_id, &good, false).await.unwrap();
    let unknown = good.replace("\"cores\"", "\"coers\"");
    let customer = format!("\"name\":\"box\",\"customer\":\"{}\"", "x".repeat(1 << 20));
    let giant = good.replace("\"name\":\"box\"", &customer);
    let cases = [
        (document(None), "empty_over_nonempty", "generation 1"),
        (good.clone(), "unchanged", "generation 1"),
        (unknown, "desired_unknown_field", "coers"),
        (good.replace("\"version\":1", "\"version\":2"), "desired_", "version"),
        ("[]".to_owned(), "desired_malformed", "expected"),
        (giant, "desired_too_large", "bytes"),
    ];
    for (text, code, says) in cases {
        let refused = hub.publish(known.host_id, &text, false).await.unwrap_err();
        assert!(refused.code().starts_with(code), "{} for {code}", refused.code());
        assert!(refused.to_string().contains(says), "{refused} does not say {says}");
    }
    let host = hub.host(known.host_id).await;
    assert_eq!(host.desired, Some(Generation(1)), "a refusal changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn generations_go_up_by_one() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    for (number, memory_mib) in (1..=4).zip(512..) {
        let published = hub.publish(known.host_id, &document(Some(memory_mib)), false).await.unwrap();
        assert_eq!(published.generation, Generation(number));
        let answer: PollAnswer = hub.poll(&known, "wait=0").await.json();
        assert_eq!(answer.generation, Some(Generation(number)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_ahead_of_the_hub_is_a_conflict_until_a_person_resumes() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    hub.publish(known.host_id, &document(Some(512)), false).await.unwrap();
    for _ in 0..2 {
        let report = received(known.host_id, 7, &"a".repeat(64));
        assert_eq!(hub.report(&known, &report).await.status, 200);
    }
    assert!(hub.host(known.host_id).await.in_conflict());
    let next = document(Some(640));
    let refused = hub.publish(known.host_id, &next, false).await.unwrap_err();
    assert!(matches!(refused, PublishError::Conflict { .. }));
    assert!(refused.to_string().contains("generation 7"));
    let published = hub.publish(known.host_id, &next, true).await.unwrap();
    assert_eq!(published.generation, Generation(8), "above what the box has");
    assert!(!hub.host(known.host_id).await.in_conflict());
    hub.report(&known, &received(known.host_id, 8, &published.digest)).await;
    assert_eq!(hub.told(known.host_id), ["desired_conflict", "desired_conflict_over"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_number_with_other_bytes_is_a_conflict_too() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let published = hub.publish(known.host_id, &document(Some(512)), false).await.unwrap();
    hub.report(&known, &received(known.host_id, 1, &published.digest)).await;
    assert!(!hub.host(known.host_id).await.in_conflict());
    hub.report(&known, &received(known.host_id, 1, &"b".repeat(64))).await;
    assert!(hub.host(known.host_id).await.in_conflict());
}
