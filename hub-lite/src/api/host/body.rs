//! Request bodies: plain JSON or zstd, bounded before and after unpacking.

use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;

use crate::error::ApiFailure;
use crate::store::host_reports::Body;

/// The body as it travelled, and its JSON text.
pub(super) fn open(headers: &HeaderMap, bytes: Bytes) -> Result<(Body, Vec<u8>), ApiFailure> {
    let zstd = match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => false,
        Some(b"zstd") => true,
        Some(_) => {
            let text = "the body's Content-Encoding must be zstd or none";
            return Err(ApiFailure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding_unknown", text));
        }
    };
    let body = Body { bytes: bytes.into(), zstd };
    let plain = body.plain().map_err(|error| {
        ApiFailure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_unpacks_badly",
            format!("the zstd body: {error}"),
        )
    })?;
    Ok((body, plain))
}
