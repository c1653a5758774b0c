//! 25–39: payloads that two readers could read differently, each well signed by the operator.

use crate::scene::{all, judged, payload, signed};
use crate::{Row, row};

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row(25, "a field twice", "op_malformed", || all(["\"op\":\"guest.destroy\",", "\"nonce\":\"07070707070707070707070707070707\","].map(|field| edited(field, &field.repeat(2))))),
    row(26, "a field twice within the target", "op_malformed", || edited("\"guest_id\":", "\"guest_id\":null,\"guest_id\":")),
    row(26, "a field twice within the parameters", "op_malformed", || edited("\"vmid\":101", "\"vmid\":102,\"vmid\":101")),
    row(26, "the parameters twice", "op_malformed", || edited("\"params\":", "\"params\":{},\"params\":")),
    row(27, "a field that does not belong", "op_malformed", || all(["\"op\":", "\"host_id\":"].map(|field| edited(field, &format!("\"comment\":\"\",{field}"))))),
    row(28, "a parameter that does not belong", "op_malformed", || all(["\"expect\":", "\"vmid\":"].map(|field| edited(field, &format!("\"force\":true,{field}"))))),
    row(29, "a field in capitals", "op_malformed", || all([("\"op\"", "\"Op\""), ("\"params\"", "\"PARAMS\""), ("\"vmid\"", "\"Vmid\"")].map(|(from, to)| edited(from, to)))),
    row(30, "an escape in a field's name", "not_canonical", || edited("\"op\"", "\"\\u006fp\"")),
    row(30, "an escape in a text", "not_canonical", || all([("guest.destroy", "guest\\u002edestroy"), ("\"web\"", "\"w\\u0065b\""), ("SHA256:", "SHA256\\u003a")].map(|(from, to)| edited(from, to)))),
    row(31, "white space", "not_canonical", || all([("\"op\":", "\"op\": "), ("\"op\":", " \"op\":"), ("\"vmid\":", "\"vmid\":\t"), ("}\n", "} \n"), ("}\n", "}\r\n"), ("{\"op\"", " {\"op\"")].map(|(from, to)| edited(from, to)))),
    row(31, "a byte order mark", "op_malformed", || edited("{\"op\"", "\u{feff}{\"op\"")),
    row(31, "no newline at its end", "envelope_malformed", || edited("}\n", "}")),
    row(31, "two newlines at its end", "envelope_malformed", || edited("}\n", "}\n\n")),
    row(31, "fields in another order", "not_canonical", swapped),
    row(32, "a second document behind it", "op_malformed", || all(["}{}\n", "}null\n", "},\n", "}\0\n"].map(|end| edited("}\n", end)))),
    row(33, "a time with a point or an exponent", "op_malformed", || all(["1795000000000.0", "1.795e12", "1795e9", "\"1795000000000\"", "-1", "01795000000000", "0x1", "NaN", "null"].map(issued_at))),
    row(34, "a time beyond 64 bits", "op_malformed", || all(["18446744073709551616", "99999999999999999999999999"].map(issued_at))),
    row(35, "no guest_id", "op_malformed", without_guest_id),
    row(36, "an array in place of a struct", "not_canonical", || all([array_for_expect(), array_for_target(), array_for_op()])),
    row(37, "nested eight thousand deep", "op_malformed", || all([deep_whole(), deep_comment(), deep_params()])),
    row(38, "half of a surrogate pair", "op_malformed", || all(["\\ud800", "\\udc00", "\\ud800x"].map(named))),
    row(39, "control characters and bidi in a name", "op_malformed", || all(["we\\u0000b", "we\\nb", "we\\u001b[2Jb", "we\u{202e}b", "we\u{200b}b", "w\u{435}b", "we b", "", "-web", "../web"].map(named))),
    row(39, "a raw control character in a name", "op_malformed", || all(["we\u{0}b", "we\u{1b}b", "we\rb"].map(named))),
    row(39, "a raw newline in a name", "envelope_malformed", || named("we\nb")),
    row(39, "bytes that are not UTF-8 in a name", "rejected", not_utf8),
    row(39, "another case of a digest, nonce or id", "op_malformed", || all([edited("0123456789abcdef", "0123456789ABCDEF"), edited("07070707070707070707070707070707", "0707070707070707070707070707070A"), edited("\"nonce\":\"0707", "\"nonce\":\"07")])),
    row(39, "an id in another spelling", "rejected", other_spellings_of_ids),
];

fn edited(from: &str, to: &str) -> String {
    let good = payload();
    assert!(good.contains(from), "{from} is not in the payload");
    judged(signed(&good.replacen(from, to, 1)))
}

/// Everything up to the end of `"issued_at":…`, with another number.
fn issued_at(number: &str) -> String {
    edited(&format!("\"issued_at\":{}", crate::scene::NOW), &format!("\"issued_at\":{number}"))
}

fn named(name: &str) -> String {
    edited("\"name\":\"web\"", &format!("\"name\":\"{name}\""))
}

fn swapped() -> String {
    let nonce = "\"nonce\":\"07070707070707070707070707070707\",";
    let moved = payload().replace(nonce, "").replacen('{', &format!("{{{nonce}"), 1);
    judged(signed(&moved))
}

/// A field of the payload as it is written there, up to the field after it.
fn field(name: &str, next: &str) -> String {
    let text = payload();
    let begin = text.find(&format!("\"{name}\":")).unwrap();
    let end = text.find(&format!(",\"{next}\":")).unwrap();
    text[begin..end].to_owned()
}

fn target() -> String {
    field("target", "params")
}

fn params() -> String {
    field("params", "nonce")
}

fn without_guest_id() -> String {
    let target = target();
    let cut = target.find(",\"guest_id\"").unwrap();
    edited(&target, &format!("{}}}", &target[..cut]))
}

fn array_for_expect() -> String {
    let digest = &"0123456789abcdef".repeat(3)[..40];
    edited(&params(), &format!("\"params\":{{\"expect\":[101,\"web\",\"{digest}\"]}}"))
}

fn array_for_target() -> String {
    let value: serde_json::Value = serde_json::from_str(&payload()).unwrap();
    let (host, guest) = (&value["target"]["host_id"], &value["target"]["guest_id"]);
    edited(&target(), &format!("\"target\":[{host},{guest}]"))
}

fn array_for_op() -> String {
    let value: serde_json::Value = serde_json::from_str(&payload()).unwrap();
    let fields = ["op", "target", "params", "nonce", "issued_at", "expires_at", "key_id"];
    let list: Vec<String> = fields.iter().map(|field| value[field].to_string()).collect();
    judged(signed(&format!("[{}]\n", list.join(","))))
}

fn brackets(of: usize) -> String {
    format!("{}{}", "[".repeat(of), "]".repeat(of))
}

fn deep_whole() -> String {
    judged(signed(&format!("{}\n", brackets(8000))))
}

fn deep_comment() -> String {
    edited("\"op\":", &format!("\"comment\":{},\"op\":", brackets(7500)))
}

fn deep_params() -> String {
    edited(&params(), &format!("\"params\":{}", brackets(7700)))
}

fn not_utf8() -> String {
    // The envelope is bytes on its way in: no String can carry these.
    let good = signed(&payload());
    let at = good.find("\"web\"").unwrap() + 1;
    let mut bytes = good.into_bytes();
    let outcomes = [[0xff, 0xfe], [0xc0, 0x80], [0xed, 0xa0]].map(|[a, b]| {
        bytes[at..at + 2].copy_from_slice(&[a, b]);
        judged(&bytes)
    });
    if outcomes.iter().any(|outcome| outcome == "accepted") { all(outcomes) } else { "rejected".to_owned() }
}

fn other_spellings_of_ids() -> String {
    let value: serde_json::Value = serde_json::from_str(&payload()).unwrap();
    let id = value["target"]["host_id"].as_str().unwrap();
    let spellings = [id.to_uppercase(), id.replace('-', ""), format!("{{{id}}}"), format!("urn:uuid:{id}")];
    let outcomes =
        spellings.map(|spelled| if spelled == id { "accepted".to_owned() } else { edited(id, &spelled) });
    if outcomes.iter().any(|outcome| outcome == "accepted") { all(outcomes) } else { "rejected".to_owned() }
}
