//! Request bodies: plain JSON or zstd, bounded in size before and after unpacking, and in time.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderValue, StatusCode};
use bytes::Bytes;

use crate::error::ApiFailure;
use crate::store::host_reports::Body;

/// How long a client may take to send a body; a megabyte in this time is 35 KiB/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A body as it travelled, and its JSON text.
pub(crate) struct Sent {
    pub(crate) body: Body,
    pub(crate) plain: Vec<u8>,
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = ApiFailure;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiFailure> {
        let zstd = match request.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"identity") => false,
            Some(b"zstd") => true,
            Some(_) => {
                let text = "the body's Content-Encoding must be zstd or none";
                return Err(ApiFailure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding_unknown", text));
            }
        };
        let bytes = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state))
            .await
            .map_err(|_| {
                let text = format!("the body did not come within {} seconds", BODY_TIMEOUT.as_secs());
                ApiFailure::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", text)
            })?
            .map_err(|refused| {
                let code = match refused.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
                    _ => "body_cut_off",
                };
                ApiFailure::new(refused.status(), code, format!("the body: {}", refused.body_text()))
            })?;
        let body = Body { bytes: bytes.into(), zstd };
        let plain = body.plain().map_err(|error| {
            let text = format!("the zstd body is broken or unpacks to more than is allowed: {error}");
            ApiFailure::new(StatusCode::PAYLOAD_TOO_LARGE, "body_unpacks_badly", text)
        })?;
        Ok(Self { body, plain })
    }
}
