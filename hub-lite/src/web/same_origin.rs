//! Requests that change something must come from a page of this hub (cross-site request forgery).
//!
//! `Sec-Fetch-Site` decides where the browser sends it; an older one is judged by `Origin` against `Host`. A request
//! with neither comes from no browser, hence carries nobody's cookies by mistake. Forms of a session carry that
//! session's token besides.

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;

use super::page::refusal;

/// Lets reads pass and everything else only from this hub's own pages.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads || is_same_origin(request.headers()) {
        return next.run(request).await;
    }
    let text =
        "This form was sent from another site. Nothing was done; open the hub's own page and try again.";
    refusal(StatusCode::FORBIDDEN, "Not from here", text)
}

fn is_same_origin(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    origin.as_ref().and_then(|origin| origin.authority()).map(|authority| authority.as_str()) == host
        && host.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(headers: &[(&'static str, &'static str)]) -> bool {
        is_same_origin(
            &headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect(),
        )
    }

    #[test]
    fn the_browsers_word_decides_and_host_is_the_fallback() {
        assert!(judged(&[("sec-fetch-site", "same-origin"), ("origin", "null")]));
        assert!(judged(&[("sec-fetch-site", "none")]));
        assert!(judged(&[("origin", "https://hub.example:8443"), ("host", "hub.example:8443")]));
        assert!(judged(&[]));
        for refused in [
            &[("sec-fetch-site", "cross-site"), ("origin", "https://hub"), ("host", "hub")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "")],
            &[("origin", "https://evil.example"), ("host", "hub.example")],
            &[("origin", "https://hub.example:1"), ("host", "hub.example")],
            &[("origin", "null"), ("host", "hub.example")],
            &[("origin", "null")],
        ] {
            assert!(!judged(refused), "{refused:?}");
        }
    }
}
