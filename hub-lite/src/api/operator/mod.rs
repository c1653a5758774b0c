//! What operators' programs call, felhom-sign above all: what waits for a signature, and where to hand it in.
//! Handing in is all the authority there is; whether a signature is worth anything is decided on the box.

pub mod keysets;
pub mod ops;
pub mod pending;

use axum::http::StatusCode;

/// Path of what waits for a signature.
pub const PENDING_PATH: &str = "/api/v1/operator/pending";
/// Path of one host's signed operations.
pub const OPS_PATH: &str = "/api/v1/operator/hosts/{host_id}/ops";
/// Path of the keysets; one is uploaded to `{KEYSETS_PATH}/{version}`.
pub const KEYSETS_PATH: &str = "/api/v1/operator/keysets";

use crate::error::ApiFailure;
use crate::signed::UploadError;

impl From<UploadError> for ApiFailure {
    fn from(error: UploadError) -> Self {
        let status = match &error {
            UploadError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            UploadError::NotText | UploadError::Version => StatusCode::BAD_REQUEST,
            UploadError::NoHost => return Self::not_found(),
            UploadError::QueueFull | UploadError::Gap { .. } | UploadError::OtherBytes(_) => {
                StatusCode::CONFLICT
            }
            UploadError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        match error {
            UploadError::Store(error) => error.into(),
            refused => Self::new(status, refused.code(), refused.to_string()),
        }
    }
}
