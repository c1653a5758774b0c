//! Reports: stored as sent when they say something new, and nothing written when they do not.

use std::io::Read;

use felhom_hub::store::{host_reports, host_state};
use felhom_shared::limits::REPORT_BYTES_MAX;
use felhom_shared::wire::REPORT_PATH;
use reqwest::Method;

use crate::world::{Hub, bearer, report};

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_report_writes_nothing() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    assert_eq!(hub.report(&known, &report(known.host_id, 1)).await.status, 200);
    let reader = hub.database();
    let version = || reader.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let files = || ["hub.db", "hub.db-wal"].map(|name| std::fs::read(hub.folder().join(name)).unwrap());
    let before = (version(), files());
    for load in 1..=20_u32 {
        let mut again = report(known.host_id, 1);
        again.metrics.load1 = f64::from(load);
        assert_eq!(hub.report(&known, &again).await.status, 200);
    }
    assert!(before == (version(), files()), "an unchanged report touched the database");
    assert!((hub.running.state.live.metrics(known.host_id).unwrap().metrics.load1 - 20.0).abs() < 1e-9);
    hub.report(&known, &report(known.host_id, 2)).await;
    assert_ne!(before.0, version(), "the test would notice a write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_report_is_stored_as_it_was_sent() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let host_id = known.host_id;
    let sent = zstd(&serde_json::to_vec(&report(host_id, 3)).unwrap());
    let encoded = (Some("zstd"), sent.clone());
    let answer = hub.send(Method::POST, REPORT_PATH, Some(bearer(&known.key)), encoded).await;
    assert_eq!(answer.status, 200);
    let reports =
        hub.running.state.store.read(move |sql| host_reports::recent(sql, host_id, 9)).await.unwrap();
    assert_eq!(reports.len(), 1);
    assert!(reports[0].body.bytes == sent && reports[0].body.zstd);
    let latest = hub.running.state.store.read(move |sql| host_state::latest(sql, host_id)).await.unwrap();
    assert_eq!(latest.unwrap().state, report(host_id, 3).state);
}

#[tokio::test(flavor = "multi_thread")]
async fn scope_comes_from_the_key() {
    let hub = Hub::start().await;
    let (one, other) = (hub.add("one").await, hub.add("other").await);
    let answer = hub.report(&one, &report(other.host_id, 1)).await;
    assert_eq!(answer.refusal(), (404, "not_found".to_owned()));
    let count = |sql: &rusqlite::Connection| {
        Ok(sql.query_row("SELECT count(*) FROM host_reports", [], |row| row.get::<_, i64>(0))?)
    };
    assert_eq!(hub.running.state.store.read(count).await.unwrap(), 0);
    assert_eq!(hub.host(other.host_id).await.last_seen_ms, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_and_giants_are_refused() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let send =
        |encoding, body| hub.send(Method::POST, REPORT_PATH, Some(bearer(&known.key)), (encoding, body));
    let bomb = zstd(&vec![b' '; 64 * 1024 * 1024]);
    assert!(bomb.len() < 64 * 1024, "the bomb itself is small");
    assert_eq!(send(Some("zstd"), bomb).await.refusal(), (413, "body_unpacks_badly".to_owned()));
    // Without its size in the frame: only unpacking tells.
    let mut unsized_bomb = Vec::new();
    let zeroes = std::io::repeat(b' ').take(64 * 1024 * 1024);
    zstd::stream::copy_encode(zeroes, &mut unsized_bomb, 1).unwrap();
    assert_eq!(send(Some("zstd"), unsized_bomb).await.refusal(), (413, "body_unpacks_badly".to_owned()));
    assert_eq!(send(Some("zstd"), b"no zstd".to_vec()).await.refusal().0, 413);
    let giant = vec![b' '; REPORT_BYTES_MAX + 1];
    assert_eq!(send(None, giant).await.refusal(), (413, "body_too_large".to_owned()));
    assert_eq!(send(Some("br"), vec![]).await.refusal(), (415, "encoding_unknown".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_read_is_refused_with_a_word() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let good = serde_json::to_string(&report(known.host_id, 1)).unwrap();
    let beyond = r#""received":9223372036854775808"#;
    let bad = [
        "{}".to_owned(),
        good.replace("\"sent_at\"", "\"sent\""),
        good.replace("\"received\":null", beyond),
        good.replace("\"received\":null", "\"received\":-1"),
        good.replace("\"cpus\":0", "\"cpus\":-1"),
        "[".repeat(100_000),
    ];
    for text in bad {
        assert_ne!(text, good);
        let answer = hub.post(&known, REPORT_PATH, text.into_bytes()).await;
        assert_eq!(answer.refusal(), (400, "report_malformed".to_owned()));
    }
    assert!(
        hub.running.state.live.last_seen_ms(known.host_id).is_none(),
        "a refused report is no sign of life"
    );
    let newer = good.replacen('{', r#"{"from_the_future":{"a":[1]},"#, 1);
    assert_eq!(hub.post(&known, REPORT_PATH, newer.into_bytes()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_reports_at_once_the_later_stored_is_the_one_compared_with() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let host_id = known.host_id;
    for round in 0..20 {
        let (a, b) = (report(host_id, 2 * round), report(host_id, 2 * round + 1));
        let (first, second) = tokio::join!(hub.report(&known, &a), hub.report(&known, &b));
        assert!(first.status == 200 && second.status == 200);
        let latest = hub.running.state.store.read(move |sql| host_state::latest(sql, host_id)).await.unwrap();
        let stored = latest.unwrap().state;
        let other = if stored == a.state { &b } else { &a };
        hub.report(&known, other).await;
        let latest = hub.running.state.store.read(move |sql| host_state::latest(sql, host_id)).await.unwrap();
        assert_eq!(latest.unwrap().state, other.state, "the box's newest word was taken for stored");
    }
}
