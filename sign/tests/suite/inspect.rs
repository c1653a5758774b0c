//! Looking at files of unknown origin.

use crate::tools::{Desk, draft};

#[test]
fn whatever_a_file_holds_is_shown_unverified_and_harmless() {
    let desk = Desk::new();
    desk.ssh_key("ops");
    desk.write("op.json", &draft("guest.destroy", "web"));
    desk.sign(&["sign", "op.json", "--key", "ops", "--yes-i-confirm", "web"], "").exits(0);
    let good = desk.read("op.json.signed");
    let hostile = draft("guest.start\u{1b}[2J\r", "web\u{202e}");
    for (name, text) in [
        ("good", good.clone()),
        ("draft", draft("guest.destroy", "web")),
        ("changed", good.replace("\"web\"", "\"vpn\"")),
        ("hostile-payload", good.replace("guest.destroy", "guest.destroy\u{1b}[2J\r\u{202e}")),
        ("hostile-draft", hostile),
        ("cut", good[..good.len() - 10].to_owned()),
        ("escapes", "\u{1b}]0;owned\u{7}\r\n\u{9b}2J\u{2066}".to_owned()),
        ("keyset", "{\"thresholds\":\"\u{1b}[31m\"}\n".to_owned()),
        ("empty", String::new()),
    ] {
        desk.write(name, &text);
        let shown = desk.sign(&["inspect", name], "").exits(0).stdout;
        assert!(shown.starts_with("UNVERIFIED "), "{name}: {shown}");
        assert!(shown.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{name}: {shown}");
        let json = desk.sign(&["inspect", name, "--json"], "").exits(0).stdout;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["verified"], false, "{name}");
    }
    std::fs::write(desk.path("binary"), [0xff, 0xfe, 0x1b, 0x00]).unwrap();
    desk.sign(&["inspect", "binary"], "").exits(0);
    desk.write("long", &"a".repeat(40_000));
    desk.sign(&["inspect", "long"], "").exits(1);
}
