//! Secrets on their way to a box: put before they are named, delivered with the document, and found nowhere else.

use felhom_hub::publish::PublishError;
use felhom_hub::secrets::{put, remove};
use felhom_shared::id::HostId;
use felhom_shared::secret::{SecretName, SecretRef, SecretValue};
use felhom_shared::wire::PollAnswer;
use rusqlite::params;

use crate::world::{Hub, KnownBox};

const FIRST: &str = "eyJhIjoiZmlyc3QiLCJ0IjoidCIsInMiOiJzIn0=";
const SECOND: &str = "eyJhIjoic2Vjb25kIiwidCI6InQiLCJzIjoicyJ9";

const THIRD: &str = "eyJhIjoidGhpcmQiLCJ0IjoidCIsInMiOiJzIn0=";

async fn put_secret(hub: &Hub, host_id: HostId, value: &'static str) -> SecretRef {
    let keys = hub.running.state.keys.clone();
    let done = hub.running.state.store.write(move |sql| {
        let (name, value) = (SecretName::new("tunnel-token").unwrap(), SecretValue::new(value).unwrap());
        Ok(put(sql, &keys, host_id, (&name, &value), "test").unwrap())
    });
    done.await.unwrap()
}

fn document(named: &SecretRef) -> String {
    let token = serde_json::to_string(named).unwrap();
    format!(
        r#"{{"version":1,"identity":{{"name":"box"}},"guests":[],"tunnel":{{"presence":"present","token":{token}}}}}"#
    )
}

fn named(value: &str) -> SecretRef {
    let value = SecretValue::new(value).unwrap();
    SecretRef { secret: SecretName::new("tunnel-token").unwrap(), sha256: value.sha256() }
}

async fn delivered(hub: &Hub, host: &KnownBox) -> Vec<(String, String)> {
    let answer: PollAnswer = hub.poll(host, "wait=0").await.json();
    assert!(answer.desired.is_some());
    answer.secrets.iter().map(|(name, value)| (name.to_string(), value.expose().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_published_once_its_secret_is_here_and_brings_it() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let text = document(&named(FIRST));
    let refused = hub.publish(known.host_id, &text, false).await.unwrap_err();
    assert!(matches!(&refused, PublishError::SecretMissing { .. }) && refused.code() == "secret_missing");
    assert!(refused.to_string().contains("felhom-hub secret put"), "{refused}");
    assert_eq!(put_secret(&hub, known.host_id, FIRST).await, named(FIRST));
    let published = hub.publish(known.host_id, &text, false).await.unwrap();
    assert_eq!(delivered(&hub, &known).await, [("tunnel-token".to_owned(), FIRST.to_owned())]);
    // A box that has the document is told nothing.
    let has = format!("have=1&digest={}&wait=0", published.digest);
    assert_eq!(hub.poll(&known, &has).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_value_waits_for_the_document_that_names_it() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    put_secret(&hub, known.host_id, FIRST).await;
    hub.publish(known.host_id, &document(&named(FIRST)), false).await.unwrap();
    put_secret(&hub, known.host_id, SECOND).await;
    assert_eq!(delivered(&hub, &known).await[0].1, FIRST, "as the current document says");
    hub.publish(known.host_id, &document(&named(SECOND)), false).await.unwrap();
    assert_eq!(delivered(&hub, &known).await[0].1, SECOND);
    // The document of before can be published again; what is older than that is forgotten.
    hub.publish(known.host_id, &document(&named(FIRST)), false).await.unwrap();
    assert_eq!(delivered(&hub, &known).await[0].1, FIRST);
    for value in [SECOND, THIRD] {
        put_secret(&hub, known.host_id, value).await;
        hub.publish(known.host_id, &document(&named(value)), false).await.unwrap();
    }
    assert_eq!(delivered(&hub, &known).await[0].1, THIRD);
    let again = hub.publish(known.host_id, &document(&named(FIRST)), false).await;
    assert!(matches!(again, Err(PublishError::SecretMissing { .. })));
    hub.publish(known.host_id, &document(&named(SECOND)), false).await.unwrap();
    // What is in use is not removed.
    let (host_id, name) = (known.host_id, SecretName::new("tunnel-token").unwrap());
    let removed = hub.running.state.store.write(move |sql| Ok(remove(sql, host_id, &name, "test")));
    assert!(removed.await.unwrap().unwrap_err().to_string().contains("generation 6"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_gets_its_own_secrets_only_and_the_database_alone_gives_none() {
    let hub = Hub::start().await;
    let (one, other) = (hub.add("one").await, hub.add("other").await);
    put_secret(&hub, one.host_id, FIRST).await;
    let refused = hub.publish(other.host_id, &document(&named(FIRST)), false).await;
    assert!(matches!(refused, Err(PublishError::SecretMissing { .. })));
    hub.publish(one.host_id, &document(&named(FIRST)), false).await.unwrap();
    // Whoever can write the database gives one box's secret to another: it does not open there.
    hub.database()
        .execute(
            "INSERT INTO secrets SELECT ?1, name, sha256, sealed, put_at_ms FROM secrets",
            params![other.host_id.to_string()],
        )
        .unwrap();
    hub.publish(other.host_id, &document(&named(FIRST)), false).await.unwrap();
    assert!(delivered(&hub, &other).await.is_empty());
    for file in std::fs::read_dir(hub.folder()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let held = bytes.windows(FIRST.len()).any(|part| part == FIRST.as_bytes());
        assert!(!held, "a secret lies in {}", path.display());
    }
    // Nor to whoever holds a database and has lost its pepper.
    std::fs::write(hub.folder().join("pepper"), [9; 32]).unwrap();
    let hub = hub.restart().await;
    let one = KnownBox { key: hub.new_key(one.host_id).await, ..one };
    assert!(delivered(&hub, &one).await.is_empty());
}
