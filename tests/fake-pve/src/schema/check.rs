//! Compares a request's parameters with a call's schema and collects PVE's own texts,
//! one a parameter. It changes nothing.

use std::collections::BTreeMap;

use super::param::{Format, Param, Type};
use super::{CallSchema, formats};
use crate::call::Refusal;
use crate::propstring;

/// `Ok`, or the 400 with every bad parameter named.
pub(crate) fn check(schema: &CallSchema, params: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let mut errors = BTreeMap::new();
    for (name, value) in params {
        let verdict = match schema.param(name) {
            None => Err(UNKNOWN.to_owned()),
            Some(param) => check_value(param, value),
        };
        if let Err(text) = verdict {
            errors.insert(name.clone(), text);
        }
    }
    for (name, param) in &schema.params {
        if !param.optional && !name.ends_with("[n]") && !params.contains_key(name) {
            errors.insert(name.clone(), MISSING.to_owned());
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Refusal::params(errors)) }
}

const UNKNOWN: &str = "property is not defined in schema and the schema does not allow additional properties";
const MISSING: &str = "property is missing and it is not optional";

/// One value against one description.
pub(crate) fn check_value(param: &Param, value: &str) -> Result<(), String> {
    check_type(param.kind, value)?;
    if !param.values.is_empty() && !param.values.iter().any(|v| v == value) {
        let all = param.values.join(", ");
        return Err(format!("value '{value}' does not have a value in the enumeration '{all}'"));
    }
    let invalid = |text: String| format!("invalid format - {text}");
    match &param.format {
        Some(Format::Named(name)) => formats::check(name, value).map_err(invalid)?,
        Some(Format::Properties(keys)) => check_properties(keys, value).map_err(invalid)?,
        None => {}
    }
    check_bounds(param, value)
}

fn check_type(kind: Type, value: &str) -> Result<(), String> {
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let unsigned = value.strip_prefix(['+', '-']).unwrap_or(value);
    let (ok, name) = match kind {
        Type::String | Type::Array => return Ok(()),
        Type::Integer => (digits(unsigned), "integer"),
        Type::Number => {
            (unsigned.parse::<f64>().is_ok() && unsigned.starts_with(|c: char| c.is_ascii_digit()), "number")
        }
        Type::Boolean => (matches!(value, "0" | "1"), "boolean"),
    };
    if ok { Ok(()) } else { Err(format!("type check ('{name}') failed - got '{value}'")) }
}

fn check_bounds(param: &Param, value: &str) -> Result<(), String> {
    if let (Type::Integer | Type::Number, Ok(number)) = (param.kind, value.parse::<f64>()) {
        if let Some(min) = param.min.filter(|min| number < *min) {
            return Err(format!("value must have a minimum value of {min}"));
        }
        if let Some(max) = param.max.filter(|max| number > *max) {
            return Err(format!("value must have a maximum value of {max}"));
        }
    }
    let length = u64::try_from(value.chars().count()).unwrap_or(u64::MAX);
    if let Some(max) = param.max_length.filter(|max| length > *max) {
        return Err(format!("value may only be {max} characters long"));
    }
    if let Some(min) = param.min_length.filter(|min| length < *min) {
        return Err(format!("value must be at least {min} characters long"));
    }
    Ok(())
}

fn check_properties(keys: &BTreeMap<String, Param>, value: &str) -> Result<(), String> {
    let parsed = propstring::parse(keys, value)?;
    let mut errors = Vec::new();
    for (key, text) in &parsed {
        if let Some(Err(error)) = keys.get(key).map(|param| check_value(param, text)) {
            errors.push(format!("{key}: {}", error.trim_end()));
        }
    }
    for (key, param) in keys {
        if !param.optional && param.alias.is_none() && !parsed.contains_key(key) {
            errors.push(format!("{key}: {MISSING}"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(format!("format error\n{}\n", errors.join("\n"))) }
}
