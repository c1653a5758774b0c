//! Property strings: `default,key=value`. Parsed against their schema and printed back
//! in PVE's order, which is never the order they were sent in.

use std::collections::BTreeMap;

use crate::schema::param::{Param, Type};

/// Key to value, aliases resolved and booleans made `1` or `0`. The text is PVE's.
pub(crate) fn parse(keys: &BTreeMap<String, Param>, text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut parsed = BTreeMap::new();
    let default_key = keys.iter().find(|(_, p)| p.default_key).map(|(k, _)| k.clone());
    for part in text.split(',').filter(|p| !p.trim().is_empty()) {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                let param =
                    keys.get(key).ok_or(format!("invalid key in comma-separated list property: {key}\n"))?;
                // `virtio=MAC` is a key that is itself the value of `model`.
                if let Some(real) = &param.key_alias {
                    parsed.insert(real.clone(), key.to_owned());
                }
                (param.alias.clone().unwrap_or_else(|| key.to_owned()), value)
            }
            Some(_) => return Err("missing key in comma-separated list property\n".to_owned()),
            None => match &default_key {
                Some(key) => (key.clone(), part),
                None => {
                    return Err("value without key, but schema does not define a default key\n".to_owned());
                }
            },
        };
        let boolean = keys.get(&key).is_some_and(|p| p.kind == Type::Boolean);
        let value = if boolean { boolean_text(value) } else { value.to_owned() };
        if parsed.insert(key.clone(), value).is_some() {
            return Err(format!("duplicate key in comma-separated list property: {key}\n"));
        }
    }
    Ok(parsed)
}

/// The default key without its name, then required keys, then the rest by name.
pub(crate) fn print(keys: &BTreeMap<String, Param>, values: &BTreeMap<String, String>) -> String {
    let rank = |key: &str| match keys.get(key) {
        Some(p) if p.default_key => 0,
        Some(p) if !p.optional => 1,
        _ => 2,
    };
    let mut order: Vec<_> = values.iter().collect();
    order.sort_by_key(|(key, _)| (rank(key), key.as_str()));
    let parts = order.into_iter().map(|(key, value)| match rank(key) {
        0 => value.clone(),
        _ => format!("{key}={value}"),
    });
    parts.collect::<Vec<_>>().join(",")
}

fn boolean_text(value: &str) -> String {
    match value.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => "1".to_owned(),
        "0" | "off" | "no" | "false" => "0".to_owned(),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{parse, print};
    use crate::schema::param::{Format, Param};

    fn keys(format: &Value) -> BTreeMap<String, Param> {
        match Param::parse(&json!({"format": format})).format {
            Some(Format::Properties(keys)) => keys,
            _ => unreachable!("a property format"),
        }
    }

    fn mount_point() -> BTreeMap<String, Param> {
        keys(&json!({"volume": {"default_key": 1}, "mp": {}, "backup": {"optional": 1, "type": "boolean"},
            "size": {"optional": 1}, "ro": {"optional": 1, "type": "boolean"}}))
    }

    #[test]
    fn the_default_key_comes_first_then_required_then_the_alphabet() {
        let parsed = parse(&mount_point(), "size=1G,ro=off,mp=/data,volume=local:1,backup=Yes").unwrap();
        assert_eq!(print(&mount_point(), &parsed), "local:1,mp=/data,backup=1,ro=0,size=1G");
    }

    #[test]
    fn a_model_given_as_key_is_the_same_as_one_given_as_value() {
        let net = keys(&json!({"model": {"default_key": 1}, "macaddr": {"optional": 1},
            "bridge": {"optional": 1}, "virtio": {"alias": "macaddr", "keyAlias": "model"}}));
        assert_eq!(
            parse(&net, "virtio=AA,bridge=b").unwrap(),
            parse(&net, "model=virtio,macaddr=AA,bridge=b").unwrap()
        );
    }

    #[test]
    fn bad_strings_are_refused_in_pves_words() {
        let error = |text| parse(&mount_point(), text).unwrap_err();
        assert_eq!(error("nosuch=1"), "invalid key in comma-separated list property: nosuch\n");
        assert_eq!(error("a,b"), "duplicate key in comma-separated list property: volume\n");
        let none = keys(&json!({"name": {}}));
        assert_eq!(
            parse(&none, "bogus").unwrap_err(),
            "value without key, but schema does not define a default key\n"
        );
    }
}
