//! Who gets in, how, and until when.

use http::StatusCode;

use crate::house::house;
use crate::visitor::{NAME, OWN_PAGE, PASSWORD, anna, stranger};

#[tokio::test]
async fn who_is_not_logged_in_is_sent_to_the_login() {
    let house = house().await;
    let host = house.add("box").await;
    let mut visitor = stranger(&house).await;
    for path in ["/".to_owned(), host.page(), format!("{}?range=7d", host.page())] {
        let answer = visitor.get(&path).await;
        assert!(answer.is_redirect_to_login(), "{path}: {} {}", answer.status, answer.text);
        answer.lacks("box");
    }
    for path in ["/?fragment=1", "/live"] {
        assert_eq!(
            visitor.get(path).await.status,
            StatusCode::UNAUTHORIZED,
            "{path} is fetched by the script"
        );
    }
    visitor.cookie = Some("__Host-felhom=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned());
    assert!(visitor.get("/").await.is_redirect_to_login(), "a cookie that was made up");
}

#[tokio::test]
async fn the_right_password_opens_and_logging_out_ends_the_session_on_the_hub() {
    let house = house().await;
    let mut visitor = anna(&house).await;
    let page = visitor.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    page.has("felhom-hub host add");
    let cookie = visitor.cookie.clone();

    let refused = visitor.post("/logout", OWN_PAGE, "csrf=not-this-one").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(visitor.get("/").await.status, StatusCode::OK, "a foreign token ends nothing");

    let csrf = visitor.csrf().await;
    assert!(visitor.post("/logout", OWN_PAGE, &format!("csrf={csrf}")).await.is_redirect_to_login());
    assert_eq!(visitor.cookie, None, "the browser forgets the cookie");
    visitor.cookie = cookie;
    assert!(visitor.get("/").await.is_redirect_to_login(), "a kept copy of the cookie is worth nothing");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_get_the_same_answer() {
    let house = house().await;
    let mut visitor = stranger(&house).await;
    let wrong = visitor.log_in(NAME, "not the password").await;
    let unknown = visitor.log_in("bela", PASSWORD).await;
    assert_eq!((wrong.status, unknown.status), (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN));
    assert_eq!(wrong.text.replace(NAME, "bela"), unknown.text);
    assert_eq!(visitor.cookie, None);
    wrong.lacks("not the password");
}

#[tokio::test]
async fn the_sixth_try_in_a_minute_must_wait_even_with_the_right_password() {
    let house = house().await;
    let mut visitor = stranger(&house).await;
    for _ in 0..5 {
        assert_eq!(visitor.log_in(NAME, "guess").await.status, StatusCode::FORBIDDEN);
    }
    let slowed = visitor.log_in(NAME, PASSWORD).await;
    assert_eq!(slowed.status, StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = slowed.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(visitor.cookie, None);
}

#[tokio::test]
async fn a_form_from_another_site_is_refused() {
    let house = house().await;
    let mut visitor = anna(&house).await;
    let csrf = visitor.csrf().await;
    for from in [
        &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")][..],
        &[("sec-fetch-site", "same-site"), ("origin", "https://other.hub.test")],
        &[("origin", "https://evil.test")],
        &[("origin", "null")],
    ] {
        let answer = visitor.post("/logout", from, &format!("csrf={csrf}")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{from:?}");
        let form = format!("name={NAME}&password={}", PASSWORD.replace(' ', "+"));
        assert_eq!(visitor.post("/login", from, &form).await.status, StatusCode::FORBIDDEN, "{from:?}");
    }
    assert_eq!(visitor.get("/").await.status, StatusCode::OK, "the session lives on");
}

#[tokio::test]
async fn the_cookie_cannot_be_read_by_scripts_nor_sent_by_other_sites() {
    let house = house().await;
    let mut visitor = stranger(&house).await;
    let answer = visitor.log_in(NAME, PASSWORD).await;
    let set = answer.header("set-cookie").to_owned();
    let (pair, flags) = set.split_once(';').unwrap();
    let value = pair.strip_prefix("__Host-felhom=").expect("the prefix ties it to this host");
    assert!(value.len() >= 43, "256 bits take 43 characters");
    let flags: Vec<String> = flags.split(';').map(|flag| flag.trim().to_ascii_lowercase()).collect();
    for wanted in ["secure", "httponly", "samesite=strict", "path=/"] {
        assert!(flags.iter().any(|flag| flag == wanted), "{wanted} is missing in {set}");
    }
    assert!(!flags.iter().any(|flag| flag.starts_with("domain")), "{set}");
    visitor.cookie = None;
    visitor.log_in(NAME, PASSWORD).await;
    assert!(!visitor.cookie.unwrap().ends_with(value), "every login draws anew");
}
