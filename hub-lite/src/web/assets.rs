//! The style sheet and the script, part of the program. Their address holds their hash, so they may be kept for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::page::nothing_here;

struct Asset {
    name: String,
    content_type: &'static str,
    text: &'static str,
}

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("css", "text/css; charset=utf-8", include_str!("style.css")));
static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("js", "text/javascript; charset=utf-8", include_str!("live.js")));

impl Asset {
    fn new(ext: &str, content_type: &'static str, text: &'static str) -> Self {
        let hash = HEXLOWER.encode(&Sha256::digest(text.as_bytes())[..8]);
        Self { name: format!("{hash}.{ext}"), content_type, text }
    }
}

/// File name of the style sheet.
pub(super) fn style() -> &'static str {
    &STYLE.name
}

/// File name of the script.
pub(super) fn script() -> &'static str {
    &SCRIPT.name
}

pub(super) async fn asset(Path(file): Path<String>) -> Response {
    let Some(asset) = [&*STYLE, &*SCRIPT].into_iter().find(|asset| asset.name == file) else {
        return nothing_here().await;
    };
    let headers =
        [(CONTENT_TYPE, asset.content_type), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (StatusCode::OK, headers, asset.text).into_response()
}
