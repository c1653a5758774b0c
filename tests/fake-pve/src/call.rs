//! A request after transport and routing, and the two ways it can end. Handlers see
//! nothing of HTTP.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::auth::Caller;
use crate::state::guest::Kind;

/// What a handler gets.
pub(crate) struct Call {
    /// Path parameters and body or query parameters, already checked against the schema.
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) caller: Caller,
    /// Of the guest the path speaks of.
    pub(crate) kind: Kind,
}

impl Call {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }

    /// A parameter the schema made mandatory.
    pub(crate) fn must(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("1")
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    pub(crate) fn vmid(&self) -> u32 {
        self.must("vmid").parse().expect("the schema check let only an integer through")
    }
}

/// A good answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) data: Value,
    pub(crate) total: Option<usize>,
    /// Lists without an order of their own come back shuffled.
    pub(crate) ordered: bool,
}

impl Reply {
    pub(crate) fn null() -> Self {
        Self::data(Value::Null)
    }

    pub(crate) fn data(data: impl Into<Value>) -> Self {
        Self { data: data.into(), total: None, ordered: false }
    }

    pub(crate) fn ordered(data: Vec<Value>, total: Option<usize>) -> Self {
        Self { data: Value::Array(data), total, ordered: true }
    }
}

/// A refusal. `message` is also the reason phrase.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) errors: BTreeMap<String, String>,
    /// 401, 595 and their like say it in the reason phrase only.
    pub(crate) bodyless: bool,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), errors: BTreeMap::new(), bodyless: false }
    }

    /// 500 with a sentence and its newline, as Perl's `die` gives it.
    pub(crate) fn die(message: impl Into<String>) -> Self {
        Self::new(500, message.into() + "\n")
    }

    pub(crate) fn bare(status: u16, reason: impl Into<String>) -> Self {
        Self { bodyless: true, ..Self::new(status, reason) }
    }

    pub(crate) fn forbidden(what: &str) -> Self {
        Self::new(403, format!("Permission check failed{what}\n"))
    }

    pub(crate) fn params(errors: BTreeMap<String, String>) -> Self {
        Self { errors, ..Self::new(400, "Parameter verification failed.\n") }
    }

    pub(crate) fn param(name: &str, text: impl Into<String>) -> Self {
        Self::params(BTreeMap::from([(name.to_owned(), text.into())]))
    }
}

/// What every handler returns.
pub(crate) type Answer = Result<Reply, Refusal>;
