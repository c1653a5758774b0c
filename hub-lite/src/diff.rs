//! What differs between two documents, field by field, in the operator's words. Pure.
//!
//! Lists of guests are compared by guest_id and lists of drives by their storage, so that moving one within the file is no
//! change.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Where, e.g. `guests[web].memory_mib`.
    pub at: String,
    /// The value before; absent when it is new.
    pub before: Option<Value>,
    /// The value after; absent when it is gone.
    pub after: Option<Value>,
}

/// All differences, in the order of their places.
#[must_use]
pub fn diff(before: &Value, after: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(String::new(), Some(before), Some(after), &mut changes);
    changes
}

fn compare(at: String, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<Change>) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let before: BTreeMap<String, &Value> =
                before.iter().map(|(key, value)| (key.clone(), value)).collect();
            let after: BTreeMap<String, &Value> =
                after.iter().map(|(key, value)| (key.clone(), value)).collect();
            compare_maps(&at, &before, &after, changes);
        }
        (before, after) if are_items(before) || are_items(after) => {
            let (before, after) = (by_identity(before), by_identity(after));
            let mut ids: Vec<&String> = before.keys().chain(after.keys()).collect();
            ids.sort();
            ids.dedup();
            for id in ids {
                let (before, after) = (before.get(id).copied(), after.get(id).copied());
                let name = after.or(before).and_then(|guest| guest["name"].as_str()).unwrap_or(id);
                compare(format!("{at}[{name}]"), before, after, changes);
            }
        }
        (before, after) => changes.push(Change { at, before: before.cloned(), after: after.cloned() }),
    }
}

fn compare_maps(
    at: &str,
    before: &BTreeMap<String, &Value>,
    after: &BTreeMap<String, &Value>,
    changes: &mut Vec<Change>,
) {
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let place = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        compare(place, before.get(key).copied(), after.get(key).copied(), changes);
    }
}

fn are_items(value: Option<&Value>) -> bool {
    let list = value.and_then(Value::as_array);
    list.is_some_and(|list| !list.is_empty() && list.iter().all(|item| identity(item).is_some()))
}

/// A drive may change its name; the storage that it becomes does not.
fn identity(item: &Value) -> Option<&str> {
    let key = if item.get("durable_id").is_some() { "storage" } else { "guest_id" };
    item.get(key)?.as_str()
}

/// By identity; a list that is not there has no items.
fn by_identity(value: Option<&Value>) -> BTreeMap<String, &Value> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.map(|item| (identity(item).unwrap_or_default().to_owned(), item)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn guests_are_compared_by_identity_and_fields_by_name() {
        let before = json!({"guests": [{"guest_id": "a", "name": "web", "cores": 1}, {"guest_id": "b", "name": "db"}]});
        let after = json!({"guests": [{"guest_id": "c", "name": "new"}, {"guest_id": "a", "name": "web", "cores": 2}]});
        let changes = diff(&before, &after);
        let places: Vec<&str> = changes.iter().map(|change| change.at.as_str()).collect();
        assert_eq!(places, ["guests[web].cores", "guests[db]", "guests[new]"]);
        assert_eq!((changes[0].before.clone(), changes[0].after.clone()), (Some(json!(1)), Some(json!(2))));
        assert_eq!(changes[1].after, None);
        assert!(diff(&before, &before).is_empty());
    }

    #[test]
    fn drives_are_compared_by_their_storage() {
        let before =
            json!({"storage": [{"storage": "photos", "durable_id": "contents:a", "content": ["iso"]}]});
        let after =
            json!({"storage": [{"storage": "photos", "durable_id": "contents:b", "content": ["iso"]}]});
        let places: Vec<String> = diff(&before, &after).into_iter().map(|change| change.at).collect();
        assert_eq!(places, ["storage[photos].durable_id"]);
        let places: Vec<String> = diff(&json!({}), &after).into_iter().map(|change| change.at).collect();
        assert_eq!(places, ["storage[photos]"]);
    }
}
