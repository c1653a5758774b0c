//! Publishing, and the conflict of a hub that was restored from a backup.

use felhom_hub::store::{audit, desired_history};
use serde_json::json;

use crate::house::{document, house, report};

#[tokio::test]
async fn every_publication_is_the_next_generation_and_all_are_kept() {
    let house = house().await;
    let here = house.add("here").await;
    for cores in 1..=3 {
        let published = house.publish(here.host_id, document(cores)).await.unwrap();
        assert_eq!(published.generation.0, u64::from(cores));
    }
    let host_id = here.host_id;
    let kept = house.read(move |sql| desired_history::list(sql, host_id, 10)).await;
    assert_eq!(kept.iter().map(|document| document.generation.0).collect::<Vec<_>>(), [3, 2, 1]);
    let first = house.read(move |sql| desired_history::get(sql, host_id, felhom_shared::id::Generation(1))).await;
    assert_eq!(first.unwrap().bytes, serde_json::to_vec(&document(1)).unwrap());
    let deeds = house.read(move |sql| audit::recent(sql, 10)).await;
    assert_eq!(deeds.iter().filter(|deed| deed.deed == "desired_published").count(), 3);
}

#[tokio::test]
async fn what_the_box_would_refuse_is_refused_here_and_changes_nothing() {
    let house = house().await;
    let here = house.add("here").await;
    house.publish(here.host_id, document(1)).await.unwrap();
    let mut unknown = document(2);
    unknown["guests"][0]["colour"] = json!("red");
    let empty = json!({"version": 1, "identity": {"name": "box"}, "guests": []});
    for (document, code) in [
        (unknown, "desired_unknown_field"),
        (document(0), "desired_invalid"),
        (json!({"version": 1}), "desired_malformed"),
        (empty, "empty_over_nonempty"),
        (document(1), "unchanged"),
    ] {
        assert_eq!(house.publish(here.host_id, document).await.unwrap_err().code(), code);
    }
    assert_eq!(house.host(here.host_id).await.desired.unwrap().0, 1);
}

#[tokio::test]
async fn a_box_ahead_of_the_hub_is_a_conflict_told_once_and_resumed_by_a_person() {
    let house = house().await;
    let here = house.add("here").await;
    house.publish(here.host_id, document(1)).await.unwrap();
    here.report(&report(here.host_id, 0.0, &json!({"received": 1, "reached": 1}))).await;
    assert!(!house.host(here.host_id).await.in_conflict());
    assert_eq!(house.told(here.host_id).await, [""; 0]);

    here.report(&report(here.host_id, 0.0, &json!({"received": 7, "reached": 6}))).await;
    here.report(&report(here.host_id, 0.0, &json!({"received": 7, "reached": 7}))).await;
    assert!(house.host(here.host_id).await.in_conflict());
    assert_eq!(house.told(here.host_id).await, ["desired_conflict"]);

    let refused = house.publish(here.host_id, document(2)).await.unwrap_err();
    assert_eq!(refused.code(), "conflict");
    assert!(refused.to_string().contains("felhom-hub desired resume here"), "{refused}");
    let resumed = house.publish_as(here.host_id, document(1), true).await.unwrap();
    assert_eq!(resumed.generation.0, 8, "the next one above what the box has");
    assert_eq!(house.told(here.host_id).await, ["desired_conflict", "desired_conflict_over"]);
    let again = house.publish_as(here.host_id, document(2), true).await.unwrap_err();
    assert_eq!(again.code(), "no_conflict");
}

#[tokio::test]
async fn the_same_generation_with_other_bytes_is_a_conflict() {
    let house = house().await;
    let here = house.add("here").await;
    let published = house.publish(here.host_id, document(1)).await.unwrap();
    let received = |digest: &str| json!({"received": 1, "received_digest": digest, "reached": 1});
    here.report(&report(here.host_id, 0.0, &received(&published.digest))).await;
    assert!(!house.host(here.host_id).await.in_conflict());
    here.report(&report(here.host_id, 0.0, &received(&"0".repeat(64)))).await;
    assert!(house.host(here.host_id).await.in_conflict());
    here.report(&report(here.host_id, 0.0, &received(&published.digest))).await;
    assert_eq!(house.told(here.host_id).await, ["desired_conflict", "desired_conflict_over"]);
}
