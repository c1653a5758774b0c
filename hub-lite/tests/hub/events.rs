//! Events: in order, exactly once, acknowledged up to where they are held.

use felhom_hub::store::events::HUB_OUTBOX;
use felhom_shared::id::OutboxId;
use felhom_shared::limits::EVENTS_PER_POST_MAX;
use felhom_shared::wire::EventsAck;
use uuid::Uuid;

use crate::world::Hub;

fn words(seqs: impl IntoIterator<Item = u64>) -> Vec<String> {
    seqs.into_iter().map(|seq| format!("test_{seq}")).collect()
}

fn outbox() -> OutboxId {
    OutboxId(Uuid::new_v4())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_told_twice_is_kept_once() {
    let hub = Hub::start().await;
    let (known, outbox_id) = (hub.add("box").await, outbox());
    for (seqs, acked) in [(&[1, 2, 3][..], 3), (&[1, 2, 3], 3), (&[2, 3, 4, 5], 5), (&[], 5), (&[1], 5)] {
        let ack: EventsAck = hub.events(&known, outbox_id, seqs).await.json();
        assert_eq!(ack.acked_seq, acked);
    }
    assert_eq!(hub.told(known.host_id), words(1..=5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_refused_and_what_stands_before_it_is_held() {
    let hub = Hub::start().await;
    let (known, outbox_id) = (hub.add("box").await, outbox());
    hub.events(&known, outbox_id, &[1, 2]).await;
    assert_eq!(hub.events(&known, outbox_id, &[4]).await.refusal(), (409, "events_gap".to_owned()));
    assert_eq!(hub.events(&known, outbox_id, &[3, 5]).await.refusal(), (409, "events_gap".to_owned()));
    assert_eq!(hub.events(&known, outbox_id, &[4, 5]).await.json::<EventsAck>().acked_seq, 5);
    assert_eq!(hub.told(known.host_id), words(1..=5));
}

#[tokio::test(flavor = "multi_thread")]
async fn disorder_giants_and_the_hubs_own_outbox_are_refused() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let many: Vec<u64> = (1..=EVENTS_PER_POST_MAX as u64 + 1).collect();
    for seqs in [&[2, 1][..], &[1, 1], &[0], &[u64::MAX], &many] {
        let answer = hub.events(&known, outbox(), seqs).await;
        assert_eq!(answer.refusal(), (400, "events_malformed".to_owned()), "{seqs:?}");
    }
    let forged = hub.events(&known, HUB_OUTBOX, &[1]).await;
    assert_eq!(forged.refusal(), (400, "events_malformed".to_owned()));
    assert!(hub.told(known.host_id).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_belongs_to_the_host_of_the_key() {
    let hub = Hub::start().await;
    let (one, other, outbox_id) = (hub.add("one").await, hub.add("other").await, outbox());
    hub.events(&one, outbox_id, &[1, 2, 3]).await;
    let ack: EventsAck = hub.events(&other, outbox_id, &[1]).await.json();
    assert_eq!(ack.acked_seq, 1, "another host's numbers under the same outbox id do not count");
    assert_eq!(hub.told(one.host_id), words(1..=3));
    assert_eq!(hub.told(other.host_id), words([1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_lost_its_state_begins_a_new_outbox() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    hub.events(&known, outbox(), &[1, 2]).await;
    let ack: EventsAck = hub.events(&known, outbox(), &[1]).await.json();
    assert_eq!(ack.acked_seq, 1);
    assert_eq!(hub.told(known.host_id), words([1, 2, 1]));
}
