//! A person's browser in front of the hub's pages: keeps its cookie, says where its requests come from.

use axum::Router;
use axum::body::Body;
use felhom_hub::password;
use felhom_hub::store::operators;
use http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::house::{Boxed, House};

pub(crate) const NAME: &str = "anna";
pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const OWN_PAGE: &[(&str, &str)] =
    &[("sec-fetch-site", "same-origin"), ("origin", "https://hub.test")];

pub(crate) struct Visitor {
    router: Router,
    /// The session's cookie as sent back, `NAME=VALUE`.
    pub(crate) cookie: Option<String>,
}

pub(crate) struct Shown {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Shown {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn is_redirect_to_login(&self) -> bool {
        self.status.is_redirection() && self.header(LOCATION.as_str()).starts_with("/login")
    }

    #[track_caller]
    pub(crate) fn has(&self, wanted: &str) {
        assert!(self.text.contains(wanted), "{wanted:?} is not in {}", self.text);
    }

    #[track_caller]
    pub(crate) fn lacks(&self, unwanted: &str) {
        assert!(!self.text.contains(unwanted), "{unwanted:?} is in {}", self.text);
    }
}

/// A hub's visitor who is not logged in; `anna` may.
pub(crate) async fn stranger(house: &House) -> Visitor {
    let hash = password::hash(PASSWORD).unwrap();
    house.state.store.write(move |sql| operators::put(sql, NAME, &hash, 0)).await.unwrap();
    Visitor { router: house.router.clone(), cookie: None }
}

/// `anna`, logged in.
pub(crate) async fn anna(house: &House) -> Visitor {
    let mut visitor = stranger(house).await;
    let answer = visitor.log_in(NAME, PASSWORD).await;
    assert!(answer.status.is_redirection(), "{}: {}", answer.status, answer.text);
    visitor
}

impl Visitor {
    pub(crate) async fn get(&mut self, path: &str) -> Shown {
        self.send(Method::GET, path, &[], String::new()).await
    }

    pub(crate) async fn post(&mut self, path: &str, from: &[(&str, &str)], form: &str) -> Shown {
        self.send(Method::POST, path, from, form.to_owned()).await
    }

    pub(crate) async fn log_in(&mut self, name: &str, password: &str) -> Shown {
        let form = format!("name={}&password={}", name.replace(' ', "+"), password.replace(' ', "+"));
        self.post("/login", OWN_PAGE, &form).await
    }

    /// The token in this session's forms.
    pub(crate) async fn csrf(&mut self) -> String {
        let page = self.get("/").await;
        let (_, rest) = page.text.split_once(r#"name="csrf" value=""#).expect("a page has a form");
        rest.split('"').next().unwrap().to_owned()
    }

    async fn send(&mut self, method: Method, path: &str, from: &[(&str, &str)], form: String) -> Shown {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "hub.test");
        if !form.is_empty() {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        for (name, value) in from {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(form)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        if let Some(set) = parts.headers.get(SET_COOKIE) {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            self.cookie = (!pair.ends_with('=')).then(|| pair.to_owned());
        }
        let bytes = body.collect().await.unwrap().to_bytes();
        Shown {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

/// The address of the newest document, as the host's page links it.
pub(crate) async fn document_link(visitor: &mut Visitor, host: &Boxed) -> String {
    let page = visitor.get(&host.page()).await;
    let links = page.text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let number = |link: &str| link.strip_prefix(&host.page())?.rsplit_once('/')?.1.parse::<u64>().ok();
    let newest = links.filter_map(|link| Some((number(link)?, link))).max();
    newest.expect("the page links its documents").1.to_owned()
}
