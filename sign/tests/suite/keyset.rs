//! Keysets as this tool makes them, taken by the box's own rules.

use crate::tools::{Desk, draft};
use felhom_shared::signed::{Trusted, genesis, next};

fn trust(desk: &Desk, digest: &str, after: &[&str]) -> Trusted {
    let first = genesis(desk.read("keyset-1.signed").as_bytes(), digest).unwrap();
    after.iter().fold(first, |trusted, file| next(&trusted, desk.read(file).as_bytes()).unwrap())
}

#[test]
fn a_chain_of_edits_is_trusted_step_by_step() {
    let desk = Desk::new();
    for key in ["root", "spare", "ops", "new-ops", "release"] {
        desk.ssh_key(key);
    }
    let init =
        ["keyset", "init", "--root", "root.pub", "--root", "spare.pub", "--ops", "ops.pub", "--key", "root"];
    let told = desk.sign(&init, "").exits(0).stdout;
    let digest = told.split('"').nth(1).unwrap();
    assert_eq!(trust(&desk, digest, &[]).keyset().keys.len(), 3);

    let add =
        ["keyset", "add", "release.pub", "--role", "release", "--keyset", "keyset-1.signed", "--key", "root"];
    desk.sign(&add, "").exits(0);
    let rotate =
        ["keyset", "rotate", "ops.pub", "new-ops.pub", "--keyset", "keyset-2.signed", "--key", "spare"];
    desk.sign(&rotate, "").exits(0);
    // The lost root key is revoked by the other one.
    let revoke = ["keyset", "revoke", "root.pub", "--keyset", "keyset-3.signed", "--key", "spare"];
    desk.sign(&revoke, "").exits(0);
    let files = ["keyset-2.signed", "keyset-3.signed", "keyset-4.signed"];
    let last = trust(&desk, digest, &files);
    assert_eq!((last.keyset().version, last.keyset().keys.len()), (4, 3));

    let chain = ["--keyset", "keyset-1.signed", "--keyset", "keyset-2.signed", "--keyset", "keyset-3.signed"];
    let verify = ["verify", "keyset-4.signed", "--namespace", "felhom-keyset-v1", "--genesis"];
    desk.sign(&[&verify[..], &[digest], &chain[..]].concat(), "").exits(0);
    desk.sign(&[&verify[..], &[&"0".repeat(64)], &chain[..]].concat(), "").exits(4);
    desk.sign(&[&verify[..], &[digest], &chain[..2]].concat(), "").exits(4);

    desk.write("op.json", &draft("guest.destroy", "web"));
    for (key, code) in [("ops", 4), ("new-ops", 0), ("spare", 4), ("release", 4)] {
        let out = format!("by-{key}");
        desk.sign(&["sign", "op.json", "--key", key, "--out", &out, "--yes-i-confirm", "web"], "").exits(0);
        desk.sign(&["verify", &out, "--keyset", "keyset-4.signed"], "").exits(code);
    }
    desk.sign(&["verify", "by-ops", "--keyset", "keyset-2.signed"], "").exits(0);
}

#[test]
fn root_keys_in_different_places_sign_the_same_bytes() {
    let desk = Desk::new();
    for key in ["a", "b", "c", "ops"] {
        desk.ssh_key(key);
    }
    let init =
        ["keyset", "init", "--root", "a.pub", "--root", "b.pub", "--root", "c.pub", "--ops", "ops.pub"];
    let init = [&init[..], &["--threshold", "root=2", "--json"]].concat();
    let unsigned = desk.sign(&init, "").exits(1);
    assert!(unsigned.stderr.contains("0 of 2 signatures"), "{}", unsigned.stderr);
    let ssh_sign = |key: &str, file: &str| {
        let arguments = ["-Y", "sign", "-f", key, "-n", "felhom-keyset-v1", file];
        desk.openssh("ssh-keygen", &arguments, "").exits(0);
    };
    ssh_sign("b", "keyset-1.json");
    let told =
        desk.sign(&[&init[..], &["--key", "a", "--also-signed", "keyset-1.json.sig"]].concat(), "").exits(0);
    let told: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    let digest = told["digest"].as_str().unwrap();
    trust(&desk, digest, &[]);

    // One signs here, the next on another machine after looking at it.
    let revoke = ["keyset", "revoke", "c.pub", "--keyset", "keyset-1.signed", "--key", "a"];
    desk.sign(&revoke, "").exits(1);
    let sign = [
        "keyset",
        "sign",
        "keyset-2.json.partial",
        "--keyset",
        "keyset-1.signed",
        "--out",
        "keyset-2.signed",
    ];
    let by = |key: &str, typed: &str| desk.sign(&[&sign[..], &["--key", key]].concat(), typed);
    by("b", "y\n").exits(3);
    let refused = by("ops", "yes\n").exits(1);
    assert!(refused.stderr.contains("1 of 2 signatures"), "an ops key does not count: {}", refused.stderr);
    std::fs::remove_file(desk.path("keyset-2.json.partial.partial")).unwrap();
    let shown = by("b", "yes\n").exits(0).stderr;
    assert_eq!(shown.lines().filter(|line| line.starts_with("- root")).count(), 1, "{shown}");
    let other = ["--out", "other", "--key", "b", "--yes-i-confirm", "3"];
    desk.sign(&[&sign[..5], &other].concat(), "").exits(3);
    assert!(!desk.files().contains(&"other".to_owned()));
    trust(&desk, digest, &["keyset-2.signed"]);
}

#[test]
fn sets_that_no_box_would_take_are_refused_with_the_reason() {
    let desk = Desk::new();
    for key in ["root", "ops", "other"] {
        desk.ssh_key(key);
    }
    desk.openssh("ssh-keygen", &["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "rsa"], "").exits(0);
    let init = |more: &[&str]| {
        desk.sign(&[&["keyset", "init", "--key", "root", "--root", "root.pub"], more].concat(), "")
    };
    for (more, code, reason) in [
        (&["--ops", "root.pub"][..], 3, "twice"),
        (&["--ops", "ops.pub", "--threshold", "root=2"], 3, "threshold root is 2"),
        (&["--ops", "ops.pub", "--threshold", "ops=0"], 3, "threshold ops is 0"),
        (&["--ops", "ops.pub", "--threshold", "all=1"], 2, "NAME=NUMBER"),
        (&["--ops", "ops.pub", "--hub-pin", &"a".repeat(64)], 3, "hub_pins"),
        (&["--ops", "rsa.pub"], 1, "no key that may sign"),
        (
            &["--ops", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],
            1,
            "weak",
        ),
    ] {
        let refused = init(more).exits(code);
        assert!(refused.stderr.contains(reason), "{more:?}: {}", refused.stderr);
    }
    assert!(!desk.files().iter().any(|name| name.starts_with("keyset")));
    init(&["--ops", "ops.pub"]).exits(0);
    let edit = |arguments: &[&str]| {
        desk.sign(&[&["keyset"], arguments, &["--keyset", "keyset-1.signed", "--key", "root"]].concat(), "")
    };
    assert!(edit(&["revoke", "root.pub"]).exits(3).stderr.contains("threshold root"));
    edit(&["revoke", "other.pub"]).exits(3);
    edit(&["add", "ops.pub", "--role", "release"]).exits(3);
    edit(&["add", "other.pub", "--role", "root", "--role", "ops"]).exits(3);
    edit(&["rotate", "ops.pub", "root.pub"]).exits(3);
    // A keyset whose signature does not fit is not the base of anything.
    let broken = desk.read("keyset-1.signed").replacen("\"ops\":1", "\"ops\":2", 1);
    desk.write("broken.signed", &broken);
    desk.sign(&["keyset", "revoke", "ops.pub", "--keyset", "broken.signed", "--key", "root"], "").exits(4);
    desk.sign(&["verify", "broken.signed", "--keyset", "broken.signed"], "").exits(4);
    let inspected = desk.sign(&["inspect", "broken.signed"], "").exits(0).stdout;
    assert!(inspected.starts_with("UNVERIFIED"), "{inspected}");
}
