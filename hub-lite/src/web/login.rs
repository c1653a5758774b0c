//! `GET` and `POST /login`. A wrong name and a wrong password look the same and take as long.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use askama::Template;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use serde::Deserialize;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::page::{bare, store_failed};
use super::session::{self, SessionKey};
use super::shown::Shown;
use super::throttle::{Key, Throttle};
use crate::password;
use crate::state::AppState;
use crate::store::{StoreError, operators};

const NAME_BYTES_MAX: usize = 64;
const PASSWORD_BYTES_MAX: usize = 1024;
/// Each check takes 19 MiB and a core for a while; two at once leave the boxes room.
const CHECKS_AT_ONCE: usize = 2;
const CHECK_WAIT: Duration = Duration::from_secs(5);

const WRONG: &str = "That name and password do not fit together.";
const BUSY: &str = "Too many are logging in at this moment. Try again in a few seconds.";

/// What is checked when there is no such operator, so that the answer takes as long.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| password::hash("nobody has this password").expect("the library's own cost is valid"));

/// How often and how many at once passwords are checked.
pub(super) struct Gate {
    throttle: Throttle,
    checks: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self { throttle: Throttle::default(), checks: Semaphore::new(CHECKS_AT_ONCE) }
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    problem: Option<&'a str>,
    name: Shown,
    next: &'a str,
}

/// Where the login leads to.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// The form as sent. No `Debug`: it holds a password.
#[derive(Deserialize)]
pub(super) struct Sent {
    name: String,
    password: Zeroizing<String>,
    #[serde(default)]
    next: String,
}

enum Verdict {
    Right,
    Wrong,
    Busy,
}

pub(super) async fn form(
    State(state): State<AppState>,
    Query(next): Query<Next>,
    headers: HeaderMap,
) -> Response {
    let next = local(&next.next);
    if let Some(key) = SessionKey::claimed(&headers) {
        match key.find(&state.store).await {
            Ok(Some(_)) => return Redirect::to(next).into_response(),
            Ok(None) => {}
            Err(error) => return store_failed(&error),
        }
    }
    bare(StatusCode::OK, "Log in", &LoginPage { problem: None, name: Shown::default(), next })
}

pub(super) async fn login(
    State(state): State<AppState>,
    Extension(gate): Extension<Arc<Gate>>,
    headers: HeaderMap,
    extensions: Extensions,
    Form(Sent { name, password, next }): Form<Sent>,
) -> Response {
    let next = local(&next);
    let refuse = |status, text: &str| {
        bare(status, "Log in", &LoginPage { problem: Some(text), name: Shown::new(&name), next })
    };
    if name.len() > NAME_BYTES_MAX || password.len() > PASSWORD_BYTES_MAX {
        return refuse(StatusCode::FORBIDDEN, WRONG);
    }
    let mut keys = vec![Key::Name(name.clone())];
    keys.extend(peer(&headers, &extensions).map(Key::peer));
    if let Err(wait) = gate.throttle.take(&keys, Instant::now()) {
        let seconds = wait.as_secs() + 1;
        let text = format!("Too many tries. Wait {seconds} seconds, then try again.");
        let response = refuse(StatusCode::TOO_MANY_REQUESTS, &text);
        return ([(RETRY_AFTER, HeaderValue::from(seconds))], response).into_response();
    }
    match gate.check(&state, name.clone(), password).await {
        Ok(Verdict::Right) => gate.throttle.give_back(&keys),
        Ok(Verdict::Wrong) => {
            tracing::warn!("a login as {:?} failed", Shown::new(&name).as_str());
            return refuse(StatusCode::FORBIDDEN, WRONG);
        }
        Ok(Verdict::Busy) => return refuse(StatusCode::SERVICE_UNAVAILABLE, BUSY),
        Err(error) => return store_failed(&error),
    }
    match session::begin(&state.store, &name, SessionKey::claimed(&headers)).await {
        Ok(cookie) => ([(SET_COOKIE, cookie)], Redirect::to(next)).into_response(),
        Err(error) => store_failed(&error),
    }
}

impl Gate {
    /// Checks a password, off the async threads.
    async fn check(
        &self,
        state: &AppState,
        name: String,
        password: Zeroizing<String>,
    ) -> Result<Verdict, StoreError> {
        let hash = state.store.read(move |sql| operators::password(sql, &name)).await?;
        let Ok(Ok(_permit)) = tokio::time::timeout(CHECK_WAIT, self.checks.acquire()).await else {
            return Ok(Verdict::Busy);
        };
        let checked = tokio::task::spawn_blocking(move || {
            let fits = password::verify(&password, hash.as_deref().unwrap_or(&NOBODY));
            fits && hash.is_some()
        });
        Ok(match checked.await {
            Ok(true) => Verdict::Right,
            Ok(false) => Verdict::Wrong,
            Err(_) => Verdict::Busy,
        })
    }
}

/// Where the request came from. A proxy on this machine says whom it speaks for in the last entry it adds.
fn peer(headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip();
    let last = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    let named = last.and_then(|list| list.rsplit(',').next()?.trim().parse().ok());
    Some(named.filter(|_| peer.is_loopback()).unwrap_or(peer))
}

/// A path of this hub to go on to, or the first page: never another site's.
fn local(next: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    if next.starts_with('/') && !next.starts_with("//") && next.chars().all(plain) { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_leads_only_to_pages_of_this_hub() {
        assert_eq!(local("/hosts/0b5c"), "/hosts/0b5c");
        for away in ["", "//evil.example", "/\\evil.example", "https://evil.example", "/\r\nx", "/%0a", "x"] {
            assert_eq!(local(away), "/", "{away:?}");
        }
    }

    #[test]
    fn only_a_proxy_on_this_machine_may_name_another_address() {
        let seen = |address: &str, forwarded: &'static str| {
            let mut extensions = Extensions::new();
            extensions.insert(ConnectInfo(SocketAddr::new(address.parse().unwrap(), 1)));
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_static(forwarded));
            peer(&headers, &extensions).unwrap().to_string()
        };
        assert_eq!(seen("127.0.0.1", "203.0.113.9, 198.51.100.7"), "198.51.100.7");
        assert_eq!(seen("127.0.0.1", "nonsense"), "127.0.0.1");
        assert_eq!(seen("192.0.2.1", "198.51.100.7"), "192.0.2.1");
    }
}
