//! What the two pages say of a host.

use felhom_hub::store::hosts;
use felhom_shared::wire::REPORT_PATH;
use http::StatusCode;
use serde_json::{Value, json};

use crate::house::{document, guest, house};
use crate::visitor::{anna, document_link};

const OUTCOMES: [&str; 8] =
    ["converged", "converging", "waiting", "held", "refused", "unreadable", "interrupted", "failed"];

#[tokio::test]
async fn every_outcome_is_a_word_on_the_hosts_page() {
    let house = house().await;
    let host = house.add("box").await;
    let mut said = host.report();
    let guests = OUTCOMES.iter().enumerate().map(|(number, outcome)| guest(number, outcome));
    said["state"]["guests"] = guests.collect::<Value>();
    host.post(REPORT_PATH, &said).await;
    let mut visitor = anna(&house).await;
    let page = visitor.get(&host.page()).await;
    for (number, outcome) in OUTCOMES.iter().enumerate() {
        page.has(&format!("guest-{number}"));
        page.has(&format!("{outcome}</span>"));
    }
    page.has("cores take effect at the next restart");
    page.has("restart_pending");
    page.has("UPID:pve1:000006A7");
    page.has("got timeout");
    visitor.get("/").await.has("box");
}

#[tokio::test]
async fn a_generation_that_is_received_but_not_reached_is_told_apart() {
    let house = house().await;
    let host = house.add("box").await;
    let (first, second) = (document(1), document(2));
    house.publish(host.host_id, &first).await;
    let published = house.publish(host.host_id, &second).await;
    let mut said = host.report();
    said["state"]["generation"] = json!({"received": 2, "received_digest": published.digest, "reached": 1});
    host.post(REPORT_PATH, &said).await;
    let mut visitor = anna(&house).await;
    for path in ["/".to_owned(), host.page()] {
        let page = visitor.get(&path).await;
        page.has("received <b>2</b>");
        page.has("reached <b>1</b>");
    }
}

#[tokio::test]
async fn a_refused_document_a_conflict_and_a_pause_are_said_on_both_pages() {
    let house = house().await;
    let host = house.add("box").await;
    let refused = json!({"generation": 6, "code": "generation_older", "text": "6 is older than 8"});
    let mut said = host.report();
    said["state"]["generation"] =
        json!({"received": 8, "received_digest": "5e", "reached": 8, "refused": refused});
    host.post(REPORT_PATH, &said).await;
    let host_id = host.host_id;
    house.state.store.write(move |sql| hosts::set_paused(sql, host_id, true)).await.unwrap();
    let mut visitor = anna(&house).await;
    for path in ["/".to_owned(), host.page()] {
        let page = visitor.get(&path).await;
        page.has("generation_older");
        page.has("6 is older than 8");
        page.has("paused");
        page.has("desired resume");
    }
}

#[tokio::test]
async fn an_unreadable_node_is_said_on_both_pages() {
    let house = house().await;
    let host = house.add("box").await;
    let mut said = host.report();
    said["state"]["node"] =
        json!({"reading": "unreadable", "code": "pve_unreachable", "text": "pve cannot be reached"});
    host.post(REPORT_PATH, &said).await;
    let mut visitor = anna(&house).await;
    for path in ["/".to_owned(), host.page()] {
        let page = visitor.get(&path).await;
        page.has("The node could not be read");
        page.has("cannot be reached");
    }
}

#[tokio::test]
async fn a_published_document_is_shown_with_what_it_changed() {
    let house = house().await;
    let host = house.add("box").await;
    house.publish(host.host_id, &document(1)).await;
    house.publish(host.host_id, &document(3)).await;
    let mut visitor = anna(&house).await;
    let path = document_link(&mut visitor, &host).await;
    let page = visitor.get(&path).await;
    page.has("guests[web].cores");
    page.has("&#34;cores&#34;: 3");
    let beyond = path.rsplit_once('/').unwrap().0.to_owned() + "/99";
    assert_eq!(visitor.get(&beyond).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_host_that_was_never_heard_is_not_an_outage() {
    let house = house().await;
    let host = house.add("box").await;
    let mut visitor = anna(&house).await;
    for path in ["/".to_owned(), host.page()] {
        let page = visitor.get(&path).await;
        page.has("never seen");
        page.lacks(">down<");
    }
}
