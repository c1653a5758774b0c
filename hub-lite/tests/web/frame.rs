//! What the browser is told to refuse, and what it is given around the pages.

use http::StatusCode;

use crate::house::house;
use crate::visitor::anna;

#[tokio::test]
async fn every_answer_carries_the_protecting_headers() {
    let house = house().await;
    let host = house.add("box").await;
    let mut visitor = anna(&house).await;
    let host_page = host.page();
    for path in ["/login", "/", &host_page, "/hosts/00000000-0000-4000-8000-000000000000", "/hosts/x"] {
        let answer = visitor.get(path).await;
        let policy = answer.header("content-security-policy");
        for directive in
            ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
        {
            assert!(policy.contains(directive), "{path}: {directive} is missing in {policy:?}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert!(answer.header("strict-transport-security").starts_with("max-age="), "{path}");
        // Inline code and styles would be dead under this policy.
        for inline in [" style=", "<style", " onclick=", " onload=", "javascript:"] {
            answer.lacks(inline);
        }
    }
    assert_eq!(visitor.get("/hosts/x").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_a_page_loads_comes_from_the_hub_itself() {
    let house = house().await;
    let mut visitor = anna(&house).await;
    let page = visitor.get("/").await;
    let addresses: Vec<String> = ["href=\"", "src=\""]
        .iter()
        .flat_map(|start| page.text.split(start).skip(1))
        .filter_map(|rest| rest.split('"').next().map(str::to_owned))
        .collect();
    let mut kinds = Vec::new();
    for address in
        addresses.iter().filter(|address| !address.starts_with('#') && !address.starts_with("data:"))
    {
        assert!(address.starts_with('/') && !address.starts_with("//"), "{address} is elsewhere");
        let answer = visitor.get(address).await;
        assert_eq!(answer.status, StatusCode::OK, "{address}");
        kinds.push(answer.header("content-type").split(';').next().unwrap().to_owned());
    }
    for kind in ["text/css", "text/javascript"] {
        assert!(kinds.iter().any(|found| found == kind), "no {kind} among {kinds:?}");
    }
}

#[tokio::test]
async fn the_script_gets_the_inside_of_a_page_alone() {
    let house = house().await;
    let host = house.add("box").await;
    let mut visitor = anna(&house).await;
    for path in ["/".to_owned(), host.page()] {
        let whole = visitor.get(&path).await;
        whole.has("<!doctype html>");
        whole.has("<html lang=");
        let inside = visitor.get(&format!("{path}?fragment=1")).await;
        assert_eq!(inside.status, StatusCode::OK);
        inside.has("box");
        for frame in ["<html", "<head>", "action=\"/logout\""] {
            inside.lacks(frame);
        }
    }
}
