//! The control handle over plain HTTP on loopback: `POST /control` with a verb as JSON.
//! It asks for no credential, which is why it must never leave the machine.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::control::Control;
use crate::verb::Verb;

pub(crate) async fn run(control: Control, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let control = control.clone();
        let service = service_fn(move |request| answer(control.clone(), request));
        tokio::spawn(http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    control: Control,
    request: http::Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/control/state") => perform(&control, Verb::State),
        (&Method::GET, "/control/requests") => perform(&control, Verb::Requests { reset: false }),
        (&Method::GET, "/control/faults") => perform(&control, Verb::Faults),
        (&Method::POST, "/control") => match Limited::new(request.into_body(), 1 << 20).collect().await {
            Ok(body) => match serde_json::from_slice(&body.to_bytes()) {
                Ok(verb) => perform(&control, verb),
                Err(error) => (400, json!({"error": error.to_string()})),
            },
            Err(error) => (400, json!({"error": error.to_string()})),
        },
        _ => (404, json!({"error": "POST /control with a verb"})),
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).expect("a literal above");
    Ok(response)
}

fn perform(control: &Control, verb: Verb) -> (u16, Value) {
    match verb.run(control) {
        Ok(value) => (200, value),
        Err(error) => (409, json!({"error": error.to_string()})),
    }
}
