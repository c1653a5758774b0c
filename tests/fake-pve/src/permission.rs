//! The `permissions` expressions of the API schema. An operator it does not know is a
//! refusal, so that a new kind of check cannot pass unseen.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::auth::Caller;
use crate::call::Refusal;

/// `Ok` where `caller` satisfies the call's `permissions` entry.
pub(crate) fn check(spec: &Value, caller: &Caller, params: &BTreeMap<String, String>) -> Result<(), Refusal> {
    match spec.get("check") {
        Some(expression) => evaluate(expression, caller, params),
        None if spec.get("user").is_some() => Ok(()),
        // Without an entry PVE lets only root@pam in, and no token is root@pam.
        None => Err(Refusal::forbidden("")),
    }
}

fn evaluate(expression: &Value, caller: &Caller, params: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let parts = expression.as_array().map(Vec::as_slice).unwrap_or_default();
    match parts.first().and_then(Value::as_str) {
        Some("and") => parts[1..].iter().try_for_each(|part| evaluate(part, caller, params)),
        Some("or") if parts[1..].iter().any(|part| evaluate(part, caller, params).is_ok()) => Ok(()),
        Some("perm") => perm(&parts[1..], caller, params),
        _ => Err(Refusal::forbidden("")),
    }
}

fn perm(parts: &[Value], caller: &Caller, params: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let [Value::String(template), Value::Array(wanted), options @ ..] = parts else {
        return Err(Refusal::forbidden(""));
    };
    let option = |name: &str| options.chunks(2).find(|o| o[0] == name).and_then(|o| o.get(1));
    if let Some(required) = option("require_param").and_then(Value::as_str)
        && !params.contains_key(required)
    {
        return Err(Refusal::forbidden(""));
    }
    let path = expand(template, params);
    let wanted: Vec<&str> = wanted.iter().filter_map(Value::as_str).collect();
    if option("any").is_some() {
        return match caller.may_any(&path, &wanted) {
            true => Ok(()),
            false => Err(Refusal::forbidden(&format!(" ({path}, {})", wanted.join("|")))),
        };
    }
    match wanted.iter().find(|p| !caller.may(&path, p)) {
        None => Ok(()),
        Some(missing) => Err(Refusal::forbidden(&format!(" ({path}, {missing})"))),
    }
}

fn expand(template: &str, params: &BTreeMap<String, String>) -> String {
    params.iter().fold(template.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value))
}
