//! The hub's list is written by whoever owns the hub.

use crate::tools::{DIGEST, Desk, GUEST, HOST};
use felhom_shared::signed::{Namespace, Op, PublicKey, Request, Signed};
use serde_json::{Value, json};

const OTHER_HOST: &str = "018f3c1e-0000-7000-8000-000000000001";

fn step(op: &str, name: &str, text: &str) -> Value {
    json!({
        "op": op, "target": {"host_id": HOST, "guest_id": GUEST},
        "params": {"expect": {"vmid": 101, "name": name, "config_digest": DIGEST}},
        "code": "held_needs_signature", "text": text,
    })
}

/// A list as a hub of somebody else's would send it.
fn desk_with(steps: &[Value]) -> Desk {
    let desk = Desk::new();
    let list = json!([{
        "host_id": HOST, "name": "safe\r\u{1b}[2J\u{202e}tset", "keyset_version": 1, "pending": steps, "news": true,
    }]);
    desk.write("pending.json", &list.to_string());
    desk.ssh_key("ops");
    std::fs::create_dir(desk.path("out")).unwrap();
    desk
}

const SIGN: [&str; 7] = ["--pending", "--from", "pending.json", "--out", "out", "--key", "ops"];

fn signed(desk: &Desk) -> Vec<String> {
    let entries = std::fs::read_dir(desk.path("out")).unwrap();
    entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn the_hub_says_restart_and_the_body_destroys_so_destroy_is_shown() {
    let hostile = "restarts the guest \u{1b}[1A\u{1b}[2K\rguest.start  routine\u{202e}\u{9b}31m\u{2066}";
    let desk = desk_with(&[step("guest.destroy", "web", hostile)]);
    let ran = desk.sign(&SIGN, "1\nweb\n").exits(0);
    let shown = ran.stderr + &ran.stdout;
    assert!(shown.contains("guest.destroy  DESTROYS"), "{shown}");
    assert!(shown.contains("destroys web (vmid 101) with all its volumes"), "{shown}");
    assert!(shown.contains("the hub says (not verified)") && shown.contains("\\u{d}guest.start"), "{shown}");
    assert!(shown.contains("unverified name from the hub: \"safe\\u{d}\\u{1b}[2J\\u{202e}tset\""), "{shown}");
    assert!(
        shown.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)),
        "nothing from the hub is obeyed"
    );

    let envelopes = signed(&desk);
    assert_eq!(envelopes.len(), 1);
    let key: PublicKey = desk.read("ops.pub").parse().unwrap();
    let signed = Signed::decode(envelopes[0].as_bytes()).unwrap();
    let verified = signed.verify(Namespace::Op, &[&key]).unwrap().op().unwrap();
    assert!(matches!(verified.op().request, Request::DestroyGuest(_)));
    assert_eq!(verified.op().expires_at - verified.op().issued_at, 24 * 3_600_000);
}

#[test]
fn a_wrong_name_or_none_signs_nothing() {
    let desk = desk_with(&[step("guest.destroy", "web", "x"), step("guest.destroy", "mail", "x")]);
    for typed in
        ["1\nmail\n", "1\nWeb\n", "1\nweb \n", "1\nyes\n", "1\n\n", "1\n", "\n", "", "x\n", "1,2\nweb\nweb\n"]
    {
        desk.sign(&SIGN, typed).exits(3);
    }
    for (number, said) in [("1", "mail"), ("1", ""), ("2", "web")] {
        desk.sign(&[&SIGN[..], &["--only", number, "--yes-i-confirm", said]].concat(), "web\n").exits(3);
    }
    desk.sign(&[&SIGN[..], &["--yes-i-confirm", "web"]].concat(), "1\n").exits(2);
    desk.sign(&[&SIGN[..], &["--only", "3", "--yes-i-confirm", "web"]].concat(), "").exits(2);
    desk.sign(&[&SIGN[..], &["--only", "0", "--yes-i-confirm", "web"]].concat(), "").exits(2);
    let keyless = desk.sign(&SIGN[..5], "1\nweb\n").exits(2).stderr;
    assert!(keyless.contains("destroys web") && keyless.contains("--key"), "the list is shown: {keyless}");
    assert!(signed(&desk).is_empty());

    desk.sign(&[&SIGN[..], &["--only", "2", "--yes-i-confirm", "mail", "--valid", "90m"]].concat(), "")
        .exits(0);
    desk.sign(&SIGN, "2, 1,2\nweb\nmail\n").exits(0);
    assert_eq!(signed(&desk).len(), 3);
}

#[test]
fn what_cannot_be_read_is_shown_and_cannot_be_chosen() {
    let mut elsewhere = step("guest.destroy", "web", "x");
    elsewhere["target"]["host_id"] = json!(OTHER_HOST);
    let mut extra = step("guest.destroy", "web", "x");
    extra["params"]["class"] = json!("routine");
    let steps = [
        step("guest.reboot", "web", "harmless"),
        step("guest.destroy", "we\u{1b}[2Kb\r\u{202e}", "x"),
        elsewhere,
        extra,
        step("guest.destroy\u{0}\u{1b}]0;x\u{7}", "web", "x"),
        step("guest.destroy", "web", "x"),
    ];
    let desk = desk_with(&steps);
    for number in ["1", "2", "3", "4", "5"] {
        let refused =
            desk.sign(&[&SIGN[..], &["--only", number, "--yes-i-confirm", "web"]].concat(), "").exits(3);
        assert!(refused.stderr.contains("CANNOT BE SIGNED"), "{}", refused.stderr);
        assert!(
            refused.stderr.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)),
            "{}",
            refused.stderr
        );
    }
    assert!(signed(&desk).is_empty());
    desk.sign(&[&SIGN[..], &["--only", "6", "--yes-i-confirm", "web"]].concat(), "").exits(0);

    let list = desk.sign(&["--json", "--pending", "--from", "pending.json", "--list"], "").exits(0).stdout;
    assert!(list.is_ascii(), "{list}");
    let rows: Vec<Value> = serde_json::from_str(&list).unwrap();
    assert_eq!(rows.len(), 6);
    assert!(rows[..5].iter().all(|row| row["step"].is_null() && row["cannot_be_signed"].is_string()));
    assert_eq!(rows[5]["step"]["op"], "guest.destroy");
    for broken in ["", "[", "{}", "[{\"pending\":[]}]"] {
        desk.write("pending.json", broken);
        desk.sign(&SIGN, "1\nweb\n").exits(1);
    }
}

#[test]
fn nonce_times_and_key_are_made_here_and_life_is_capped() {
    let mut pushed = step("guest.destroy", "web", "x");
    pushed["nonce"] = json!("00000000000000000000000000000000");
    pushed["expires_at"] = json!(u64::MAX);
    pushed["key_id"] = json!("SHA256:of-somebody-else");
    let desk = desk_with(&[pushed]);
    for _ in 0..2 {
        let only = ["--only", "1", "--yes-i-confirm", "web", "--valid", "30d"];
        desk.sign(&[&SIGN[..], &only].concat(), "").exits(0);
    }
    let key: PublicKey = desk.read("ops.pub").parse().unwrap();
    let ops: Vec<Op> = signed(&desk)
        .iter()
        .map(|envelope| Op::parse(Signed::decode(envelope.as_bytes()).unwrap().unverified_payload()).unwrap())
        .collect();
    assert_ne!(ops[0].nonce, ops[1].nonce);
    for op in ops {
        assert_ne!(op.nonce.0, [0; 16]);
        assert_eq!(op.expires_at - op.issued_at, 48 * 3_600_000);
        assert_eq!(op.key_id, key.fingerprint());
    }
}

#[test]
fn names_are_believed_from_the_inventory_only() {
    let desk = desk_with(&[step("guest.destroy", "web", "x")]);
    desk.write(
        "inventory.toml",
        &format!("[hosts]\n\"{HOST}\" = \"kovacs-haz\"\n[guests]\n\"{GUEST}\" = \"mail\"\n"),
    );
    let list = ["--pending", "--from", "pending.json", "--list", "--inventory", "inventory.toml"];
    let shown = desk.sign(&list, "").exits(0).stdout;
    assert!(shown.contains(&format!("kovacs-haz ({HOST})")), "{shown}");
    assert!(shown.contains("CAREFUL  your inventory calls this guest \"mail\""), "{shown}");
    let of_host = |host: &str| desk.sign(&[&list[..], &["--host", host]].concat(), "").exits(0).stdout;
    assert!(!of_host("kovacs-haz").is_empty() && !of_host(HOST).is_empty() && of_host("other").is_empty());
    desk.write("inventory.toml", "[host]\n");
    desk.sign(&list, "").exits(1);
}

#[test]
fn an_operation_on_the_host_asks_for_yes() {
    let reset = json!({
        "op": "clock.reset", "target": {"host_id": HOST, "guest_id": null}, "params": {}, "code": "c", "text": "t",
    });
    let desk = desk_with(&[reset]);
    desk.sign(&SIGN, "1\ny\n").exits(3);
    desk.sign(&SIGN, "1\nyes\n").exits(0);
    desk.sign(&[&SIGN[..], &["--only", "1", "--yes-i-confirm", "yes"]].concat(), "").exits(3);
    desk.sign(&[&SIGN[..], &["--only", "1", "--yes-i-confirm", HOST]].concat(), "").exits(0);
    assert_eq!(signed(&desk).len(), 2);
}
