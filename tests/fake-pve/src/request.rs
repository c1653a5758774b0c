//! A request after its bytes are read: decoded path, parameters, credential.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::call::Refusal;

/// What the engine works on.
pub(crate) struct Request {
    pub(crate) method: String,
    /// Decoded after splitting: a UPID or volume id may hold an encoded slash.
    pub(crate) segments: Vec<String>,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) authorization: Option<String>,
}

impl Request {
    pub(crate) fn new(method: &str, uri: &http::Uri) -> Option<Self> {
        let path = uri.path().strip_prefix("/api2/json")?;
        let decode = |s: &str| percent_decode_str(s).decode_utf8_lossy().into_owned();
        let segments = path.split('/').filter(|s| !s.is_empty()).map(decode).collect();
        let params = if matches!(method, "GET" | "DELETE") {
            form(uri.query().unwrap_or_default().as_bytes())
        } else {
            BTreeMap::new()
        };
        Some(Self { method: method.to_owned(), segments, params, authorization: None })
    }

    pub(crate) fn path_text(&self) -> String {
        format!("/{}", self.segments.join("/"))
    }

    /// Adds the body's parameters: a form, or JSON where the content type says so.
    pub(crate) fn add_body(&mut self, content_type: &str, body: &[u8]) -> Result<(), Refusal> {
        if !content_type.starts_with("application/json") {
            self.params.extend(form(body));
            return Ok(());
        }
        let bad = || Refusal::new(400, "Bad Request - invalid JSON body\n");
        let Value::Object(map) = serde_json::from_slice(body).map_err(|_| bad())? else { return Err(bad()) };
        self.params.extend(map.into_iter().map(|(key, value)| (key, text(value))));
        Ok(())
    }
}

fn form(bytes: &[u8]) -> BTreeMap<String, String> {
    form_urlencoded::parse(bytes).into_owned().collect()
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Bool(truth) => u8::from(truth).to_string(),
        Value::Array(items) => items.into_iter().map(text).collect::<Vec<_>>().join(","),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::Request;

    #[test]
    fn an_encoded_slash_stays_inside_its_segment() {
        let uri = "/api2/json/nodes/pve1/storage/bk/content/bk%3Abackup%2Fx.zst?a=b+c".parse().unwrap();
        let request = Request::new("GET", &uri).unwrap();
        assert_eq!(request.segments.last().unwrap(), "bk:backup/x.zst");
        assert_eq!(request.params["a"], "b c");
    }

    #[test]
    fn json_booleans_become_what_a_form_would_say() {
        let mut request = Request::new("PUT", &"/api2/json/storage/x".parse().unwrap()).unwrap();
        request.add_body("application/json", br#"{"disable":true,"port":8007}"#).unwrap();
        assert_eq!((request.params["disable"].as_str(), request.params["port"].as_str()), ("1", "8007"));
    }
}
