//! Writes JSON the way Perl does: keys of objects in no order. A client that leans on
//! an order must fail here, not at a customer.

use serde_json::Value;

use crate::rng::Rng;

/// Text of `value` with every object's keys shuffled.
pub(crate) fn shuffled(value: &Value, rng: &mut Rng) -> String {
    let mut out = String::new();
    write(value, rng, &mut out);
    out
}

fn write(value: &Value, rng: &mut Rng, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            rng.shuffle(&mut entries);
            out.push('{');
            for (i, (key, member)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(member, rng, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, rng, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
