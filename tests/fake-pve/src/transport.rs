//! HTTP as pveproxy speaks it: what it refuses outright, which answers close the
//! connection, and reason phrases that carry the message.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, PRAGMA, SERVER, TRANSFER_ENCODING,
};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use serde_json::{Map, Value, json};

use crate::call::{Answer, Refusal, Reply};
use crate::engine::{Engine, Outcome};
use crate::json;
use crate::request::Request;

/// Larger bodies cut the connection.
const BODY_BYTES_MAX: usize = 512 * 1024;

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// The answer to one HTTP request; an error cuts the connection. `last` closes it after a good answer.
pub(crate) async fn serve(
    engine: Arc<Engine>,
    request: http::Request<Incoming>,
    last: bool,
) -> Result<Response<Body>, io::Error> {
    let outcome = match read(request).await? {
        Ok(request) => engine.handle(request).await,
        Err(refusal) => Outcome::Answer(Err(refusal)),
    };
    match outcome {
        Outcome::Answer(answer) => Ok(respond(&engine, answer, last)),
        Outcome::Cut => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut by a fault")),
        Outcome::Silence => std::future::pending().await,
    }
}

async fn read(request: http::Request<Incoming>) -> Result<Result<Request, Refusal>, io::Error> {
    let method = request.method().clone();
    if ![Method::GET, Method::POST, Method::PUT, Method::DELETE].contains(&method) {
        return Ok(Err(Refusal::bare(501, format!("method '{method}' not available"))));
    }
    let header =
        |name| request.headers().get(name).and_then(|v: &HeaderValue| v.to_str().ok()).map(str::to_owned);
    if header(TRANSFER_ENCODING).is_some() {
        return Ok(Err(Refusal::bare(501, "chunked transfer encoding not supported")));
    }
    let length: usize = header(CONTENT_LENGTH).and_then(|l| l.parse().ok()).unwrap_or(0);
    if length > 0 && (method == Method::GET || method == Method::DELETE) {
        return Ok(Err(Refusal::bare(501, format!("Unexpected content for method '{method}'"))));
    }
    let Some(mut parsed) = Request::new(method.as_str(), request.uri()) else {
        return Ok(Err(Refusal::bare(501, format!("no such path '{}'", request.uri().path()))));
    };
    parsed.authorization = header(AUTHORIZATION);
    let content_type = header(CONTENT_TYPE).unwrap_or_default();
    let body = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(io::Error::other("body too large")),
        Err(error) => return Err(io::Error::other(error)),
    };
    Ok(parsed.add_body(&content_type, &body).map(|()| parsed))
}

fn respond(engine: &Engine, answer: Answer, last: bool) -> Response<Body> {
    match answer {
        Ok(reply) => {
            let body = success(engine, reply);
            build(StatusCode::OK, "OK", Some(&body), last)
        }
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let reason = refusal.message.lines().next().unwrap_or_default().to_owned();
            let body = (!refusal.bodyless).then(|| failure(engine, &refusal));
            build(status, &reason, body.as_deref(), true)
        }
    }
}

fn success(engine: &Engine, reply: Reply) -> String {
    let Reply { mut data, total, ordered } = reply;
    let mut world = engine.world();
    if let (Value::Array(items), false) = (&mut data, ordered) {
        world.rng.shuffle(items);
    }
    let mut out = Map::from_iter([("data".to_owned(), data)]);
    if let Some(total) = total {
        out.insert("total".to_owned(), total.into());
    }
    json::shuffled(&out.into(), &mut world.rng)
}

fn failure(engine: &Engine, refusal: &Refusal) -> String {
    let mut out = json!({"data": null, "message": refusal.message});
    if !refusal.errors.is_empty() {
        out["errors"] = json!(refusal.errors);
    }
    json::shuffled(&out, &mut engine.world().rng)
}

fn build(status: StatusCode, reason: &str, body: Option<&str>, close: bool) -> Response<Body> {
    let mut response = Response::new(match &body {
        Some(text) => Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed(),
        None => Empty::new().boxed(),
    });
    *response.status_mut() = status;
    if let Ok(phrase) = ReasonPhrase::try_from(reason.as_bytes()) {
        response.extensions_mut().insert(phrase);
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=0"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(SERVER, HeaderValue::from_static("pve-api-daemon/3.0"));
    headers.insert(CONNECTION, HeaderValue::from_static(if close { "close" } else { "Keep-Alive" }));
    if body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"));
    }
    response
}
