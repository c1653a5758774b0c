//! Reads the official description and writes the small copy of it that is committed:
//! only supported calls, equal parameters stored once, no prose.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use super::CallSchema;
use super::param::Param;
use crate::api::ROUTES;

type Calls = HashMap<(String, String), CallSchema>;

fn supported(method: &str, path: &str) -> bool {
    ROUTES.iter().any(|r| r.method == method && r.template == path)
}

/// The supported calls of the official description.
pub(super) fn from_official(api: &Value) -> Calls {
    let entries = api.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut calls = Calls::new();
    for entry in entries {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (method, path) = (text("method"), text("path"));
        if !supported(&method, &path) {
            continue;
        }
        let params = entry.get("parameters").and_then(Value::as_object);
        let params =
            params.into_iter().flatten().map(|(k, v)| (k.clone(), Arc::new(Param::parse(v)))).collect();
        let permissions = entry.get("permissions").cloned().unwrap_or_default();
        let protected = entry.get("protected") == Some(&json!(true));
        calls.insert((method, path), CallSchema { protected, permissions, params });
    }
    calls
}

/// The supported calls of the committed copy.
pub(super) fn from_distilled(api: &Value) -> Calls {
    let specs: Vec<Arc<Param>> =
        api["specs"].as_array().into_iter().flatten().map(|v| Arc::new(Param::parse(v))).collect();
    let spec = |index: &Value| {
        let index = usize::try_from(index.as_u64().expect("an index")).expect("a small index");
        Arc::clone(&specs[index])
    };
    let mut calls = Calls::new();
    for entry in api["calls"].as_array().into_iter().flatten() {
        let text = |key: &str| entry[key].as_str().expect("a name").to_owned();
        let params = entry["params"].as_object().into_iter().flatten();
        let schema = CallSchema {
            protected: entry["protected"] == json!(1),
            permissions: entry["permissions"].clone(),
            params: params.map(|(name, index)| (name.clone(), spec(index))).collect(),
        };
        calls.insert((text("method"), text("path")), schema);
    }
    calls
}

/// The committed copy's text, from the official description.
#[must_use]
pub fn distil(api: &Value) -> String {
    let calls: BTreeMap<_, _> = from_official(api).into_iter().collect();
    let mut specs: Vec<Value> = Vec::new();
    let mut out = Vec::new();
    for ((method, path), schema) in calls {
        let mut params = serde_json::Map::new();
        for (name, param) in &schema.params {
            let spec = param.to_json();
            let index = specs.iter().position(|s| *s == spec).unwrap_or_else(|| {
                specs.push(spec);
                specs.len() - 1
            });
            params.insert(name.clone(), json!(index));
        }
        let mut permissions = schema.permissions.clone();
        if let Some(map) = permissions.as_object_mut() {
            map.remove("description");
        }
        out.push(json!({"method": method, "path": path, "protected": u8::from(schema.protected),
            "permissions": permissions, "params": params}));
    }
    let lines = |items: &[Value]| items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",\n");
    format!("{{\"specs\":[\n{}\n],\n\"calls\":[\n{}\n]}}\n", lines(&specs), lines(&out))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{distil, from_distilled, from_official};
    use crate::schema::official_path;

    #[test]
    fn the_built_in_copy_is_what_the_official_description_distils_to() {
        let Ok(text) = std::fs::read_to_string(official_path()) else {
            println!("schema: skipped, the official description is not here");
            return;
        };
        let fresh = distil(&serde_json::from_str(&text).unwrap());
        assert!(fresh == include_str!("endpoints.json"), "run `fake-pve distil` and commit its output");
    }

    #[test]
    fn the_distilled_copy_says_what_the_official_one_said() {
        let api = json!([{"method": "GET", "path": "/version", "protected": false, "permissions": {"user": "all"},
            "parameters": {"a[n]": {"type": "string", "optional": 1, "index_max": 3, "format": {
                "k": {"type": "integer", "min": 1, "default_key": 1}}}}},
            {"method": "GET", "path": "/unsupported", "parameters": {}}]);
        let official = from_official(&api);
        let distilled = from_distilled(&serde_json::from_str(&distil(&api)).unwrap());
        let key = ("GET".to_owned(), "/version".to_owned());
        assert_eq!(official.len(), 1);
        assert_eq!(official[&key].params, distilled[&key].params);
        assert_eq!(official[&key].permissions, distilled[&key].permissions);
    }
}
