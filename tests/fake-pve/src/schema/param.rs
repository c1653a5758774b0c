//! One parameter's description, read leniently: the official file writes booleans as
//! numbers and leaves out what is default.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The JSON types PVE checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    String,
    Integer,
    Number,
    Boolean,
    Array,
}

/// What stands behind `format`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Format {
    Named(String),
    Properties(BTreeMap<String, Param>),
}

/// One parameter or one key of a property string.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Param {
    pub(crate) kind: Type,
    pub(crate) optional: bool,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) values: Vec<String>,
    pub(crate) format: Option<Format>,
    pub(crate) default_key: bool,
    pub(crate) alias: Option<String>,
    pub(crate) key_alias: Option<String>,
    pub(crate) index_max: Option<u64>,
}

impl Param {
    pub(crate) fn parse(value: &Value) -> Self {
        // A few calls describe a parameter once per type of object; the first stands for all.
        let value = value.get("oneOf").and_then(|o| o.get(0)).unwrap_or(value);
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let truth = |key: &str| value.get(key).is_some_and(|v| v == &json!(true) || v == &json!(1));
        let kind = match text("type").as_deref() {
            Some("integer") => Type::Integer,
            Some("number") => Type::Number,
            Some("boolean") => Type::Boolean,
            Some("array") => Type::Array,
            _ => Type::String,
        };
        let format = match value.get("format") {
            Some(Value::String(name)) => Some(Format::Named(name.clone())),
            Some(Value::Object(keys)) => {
                Some(Format::Properties(keys.iter().map(|(k, v)| (k.clone(), Self::parse(v))).collect()))
            }
            _ => None,
        };
        let values = value.get("enum").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Self {
            kind,
            optional: truth("optional"),
            min: value.get("min").and_then(Value::as_f64),
            max: value.get("max").and_then(Value::as_f64),
            min_length: value.get("minLength").and_then(Value::as_u64),
            max_length: value.get("maxLength").and_then(Value::as_u64),
            values: values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            format,
            default_key: truth("default_key"),
            alias: text("alias"),
            key_alias: text("keyAlias"),
            index_max: value.get("index_max").and_then(Value::as_u64),
        }
    }

    /// The shortest description that parses back to this one.
    pub(crate) fn to_json(&self) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(key.to_owned(), value);
            }
        };
        let kind = match self.kind {
            Type::String => None,
            Type::Integer => Some("integer"),
            Type::Number => Some("number"),
            Type::Boolean => Some("boolean"),
            Type::Array => Some("array"),
        };
        put("type", kind.map(Value::from));
        put("optional", self.optional.then(|| json!(1)));
        put("min", self.min.map(Value::from));
        put("max", self.max.map(Value::from));
        put("minLength", self.min_length.map(Value::from));
        put("maxLength", self.max_length.map(Value::from));
        put("enum", (!self.values.is_empty()).then(|| json!(self.values)));
        put("default_key", self.default_key.then(|| json!(1)));
        put("alias", self.alias.clone().map(Value::from));
        put("keyAlias", self.key_alias.clone().map(Value::from));
        put("index_max", self.index_max.map(Value::from));
        put(
            "format",
            self.format.as_ref().map(|format| match format {
                Format::Named(name) => json!(name),
                Format::Properties(keys) => {
                    keys.iter().map(|(k, p)| (k.clone(), p.to_json())).collect::<Map<_, _>>().into()
                }
            }),
        );
        Value::Object(map)
    }

    /// The keys of a property string, where it is one.
    pub(crate) fn properties(&self) -> Option<&BTreeMap<String, Param>> {
        match &self.format {
            Some(Format::Properties(keys)) => Some(keys),
            _ => None,
        }
    }
}
