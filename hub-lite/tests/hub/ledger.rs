//! The box's ledger, as far as the hub has ever seen it: a shorter one is told once, and the box is told too.

use felhom_shared::report::LedgerHead;
use felhom_shared::wire::PollAnswer;

use crate::world::{Hub, KnownBox, document, report};

fn head(seq: u64, digit: &str) -> LedgerHead {
    LedgerHead { seq, head: digit.repeat(64) }
}

async fn say(hub: &Hub, known: &KnownBox, ledger: LedgerHead) {
    let mut report = report(known.host_id, 1);
    report.state.ops.ledger = Some(ledger);
    assert_eq!(hub.report(known, &report).await.status, 200);
}

async fn seen(hub: &Hub, known: &KnownBox) -> Option<LedgerHead> {
    hub.poll(known, "wait=0").await.json::<PollAnswer>().ledger_seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_shorter_or_another_is_told_once_and_to_the_box() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    hub.publish(known.host_id, &document(Some(512)), false).await.unwrap();
    assert_eq!(seen(&hub, &known).await, None);
    say(&hub, &known, head(7, "a")).await;
    assert_eq!(seen(&hub, &known).await, Some(head(7, "a")));
    say(&hub, &known, head(9, "b")).await;
    assert!(hub.told(known.host_id).is_empty(), "it grows");
    say(&hub, &known, head(4, "c")).await;
    say(&hub, &known, head(5, "d")).await;
    say(&hub, &known, head(9, "e")).await;
    assert_eq!(hub.told(known.host_id), ["ledger_rolled_back"], "once");
    assert_eq!(seen(&hub, &known).await, Some(head(9, "b")), "the furthest stays");
    let hub = hub.restart().await;
    say(&hub, &known, head(5, "d")).await;
    assert_eq!(hub.told(known.host_id), ["ledger_rolled_back"], "a restart tells nothing twice");
    assert_eq!(seen(&hub, &known).await, Some(head(9, "b")));
    say(&hub, &known, head(10, "f")).await;
    assert_eq!(hub.told(known.host_id), ["ledger_rolled_back", "ledger_went_on"]);
    assert_eq!(seen(&hub, &known).await, Some(head(10, "f")));
    let deeds: Vec<_> =
        hub.deeds().into_iter().filter(|(actor, ..)| actor == "hub").map(|(_, deed, _)| deed).collect();
    assert_eq!(deeds, ["ledger_rolled_back", "ledger_went_on"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_none_is_kept_as_reported_and_not_remembered() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    hub.publish(known.host_id, &document(Some(512)), false).await.unwrap();
    say(&hub, &known, LedgerHead { seq: u64::MAX, head: "a".repeat(64) }).await;
    say(&hub, &known, LedgerHead { seq: 3, head: "é".to_owned() }).await;
    assert_eq!(seen(&hub, &known).await, None);
    assert!(hub.told(known.host_id).is_empty());
}
