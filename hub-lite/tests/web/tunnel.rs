//! The tunnel on a host's page: what is wanted beside what runs, and why not.

use felhom_shared::wire::REPORT_PATH;
use serde_json::json;

use crate::house::house;
use crate::visitor::anna;

#[tokio::test]
async fn a_tunnel_stands_on_the_page_with_what_runs_and_what_was_taken_back() {
    let house = house().await;
    let host = house.add("box").await;
    let mut visitor = anna(&house).await;
    host.post(REPORT_PATH, &host.report()).await;
    visitor.get(&host.page()).await.lacks("id=\"tunnel\"");
    let mut said = host.report();
    said["metrics"]["tunnel_connections"] = json!(4);
    said["state"]["tunnel"] = json!({
        "outcome": "failed", "readiness": "connected", "version": "2026.11.0", "token_sha256": "ab".repeat(32),
        "program_sha256": "cd".repeat(32), "on_trial": false,
        "notes": [{"kind": "waiting", "code": "tunnel_reverted", "text": "the change was tried and taken back"}],
        "steps": [{"step": "revert_tunnel", "detail": "back to what was there before", "class": "routine",
                   "outcome": "applied"}],
        "foreign": [{"unit": "cloudflared.service", "token_in_unit": true, "updates_itself": true}],
    });
    host.post(REPORT_PATH, &said).await;
    let page = visitor.get(&host.page()).await;
    for shown in [
        "id=\"tunnel\"",
        "connected</span>",
        "4 connections",
        "cloudflared 2026.11.0, token abababababab",
        "not in the current document",
        "tunnel_reverted",
        "revert_tunnel",
        "cloudflared.service",
        "its token stands in the unit",
        "it is not as desired",
    ] {
        page.has(shown);
    }
}
