//! What an open page hears.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use felhom_hub::signed;
use felhom_hub::store::operators;
use futures_util::StreamExt;
use http::header::COOKIE;
use http::{Request, StatusCode};
use tokio::time::timeout;
use tower::ServiceExt;

use crate::house::{House, house};
use crate::visitor::{NAME, Visitor, anna, stranger};

/// Longer than the pause between two rings, shorter than the beat.
const PATIENCE: Duration = Duration::from_secs(8);

struct Stream(BodyDataStream);

impl Stream {
    async fn open(router: &Router, path: &str, visitor: &Visitor) -> Self {
        let request = Request::get(path).header(COOKIE, visitor.cookie.clone().unwrap());
        let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self(response.into_body().into_data_stream());
        assert!(stream.next().await.unwrap().contains("event: hello"));
        stream
    }

    /// The next thing told; `None` when the hub has ended the stream.
    async fn next(&mut self) -> Option<String> {
        let told = timeout(PATIENCE, self.0.next()).await.expect("something is told in time")?;
        Some(String::from_utf8(told.unwrap().to_vec()).unwrap())
    }

    async fn is_quiet(&mut self) -> bool {
        timeout(Duration::from_millis(1500), self.0.next()).await.is_err()
    }
}

async fn house_and_anna() -> (House, Visitor) {
    let house = house().await;
    let anna = anna(&house).await;
    (house, anna)
}

#[tokio::test]
async fn a_page_hears_of_its_own_host_and_of_no_other() {
    let (house, anna) = house_and_anna().await;
    let (mine, other) = (house.add("mine").await, house.add("other").await);
    let mut stream = Stream::open(&house.router, &format!("{}/live", mine.page()), &anna).await;
    house.state.changed(other.host_id);
    assert!(stream.is_quiet().await);
    house.state.changed(mine.host_id);
    let told = stream.next().await.unwrap();
    assert!(told.contains("event: changed"), "{told}");
    assert!(!told.contains("mine"), "what has changed is for the page to fetch: {told}");
}

#[tokio::test]
async fn an_operation_and_a_keyset_that_are_handed_in_ring() {
    let (house, anna) = house_and_anna().await;
    let host = house.add("box").await;
    house.state.reload_all().await.unwrap();
    let mut stream = Stream::open(&house.router, &format!("{}/live", host.page()), &anna).await;
    let by = || signed::Uploader::now("anna");
    signed::hand_in(&house.state, host.host_id, b"{}\n".to_vec(), by()).await.unwrap();
    assert!(stream.next().await.unwrap().contains("event: changed"));
    signed::hand_in_keyset(&house.state, 1, b"{}\n".to_vec(), by()).await.unwrap();
    assert!(stream.next().await.unwrap().contains("event: changed"));
}

#[tokio::test]
async fn many_changes_in_a_row_are_told_once() {
    let (house, anna) = house_and_anna().await;
    let host = house.add("box").await;
    let mut stream = Stream::open(&house.router, &format!("{}/live", host.page()), &anna).await;
    for _ in 0..5000 {
        house.state.changed(host.host_id);
    }
    assert!(stream.next().await.unwrap().contains("event: changed"));
    assert!(stream.is_quiet().await);
}

#[tokio::test]
async fn the_stream_ends_with_the_session_and_with_the_operator() {
    let (house, mut anna) = house_and_anna().await;
    let host = house.add("box").await;
    let mut stream = Stream::open(&house.router, "/live", &anna).await;
    let csrf = anna.csrf().await;
    anna.post("/logout", crate::visitor::OWN_PAGE, &format!("csrf={csrf}")).await;
    house.state.changed(host.host_id);
    assert_eq!(stream.next().await, None);

    let again = crate::visitor::anna(&house).await;
    let mut stream = Stream::open(&house.router, "/live", &again).await;
    house.state.store.write(|sql| operators::remove(sql, NAME)).await.unwrap();
    house.state.changed(host.host_id);
    assert_eq!(stream.next().await, None, "the session's row is still there, its operator is not");
}

#[tokio::test]
async fn a_hub_that_stops_lets_open_pages_go() {
    let (house, anna) = house_and_anna().await;
    let mut stream = Stream::open(&house.router, "/live", &anna).await;
    house.state.live.stop();
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_stranger_hears_nothing_and_is_not_redirected() {
    let house = house().await;
    let mut stranger = stranger(&house).await;
    for path in ["/live", "/?fragment=1"] {
        assert_eq!(stranger.get(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn an_open_page_does_not_keep_a_session_from_being_idle() {
    let (house, mut anna) = house_and_anna().await;
    let used = || async {
        let read = |sql: &rusqlite::Connection| {
            Ok(sql.query_row("SELECT used_at_ms FROM sessions", [], |row| row.get::<_, i64>(0))?)
        };
        house.state.store.read(read).await.unwrap()
    };
    let an_hour_ago = felhom_hub::clock::now_ms() - 3_600_000;
    let age = move |sql: &rusqlite::Connection| {
        Ok(sql.execute("UPDATE sessions SET used_at_ms = $1", [an_hour_ago])?)
    };
    house.state.store.write(age).await.unwrap();
    let _stream = Stream::open(&house.router, "/live", &anna).await;
    assert_eq!(anna.get("/?fragment=1").await.status, StatusCode::OK);
    assert_eq!(used().await, an_hour_ago);
    assert_eq!(anna.get("/").await.status, StatusCode::OK);
    assert!(used().await > an_hour_ago);
}
