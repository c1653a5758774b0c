//! The API, `/api/v1`: one endpoint a file.

pub mod host;
pub mod operator;
