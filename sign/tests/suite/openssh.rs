//! Side by side with the real OpenSSH programs: what one makes, the other takes.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::tools::{DIGEST, Desk, GUEST, HOST, PASSPHRASE, SshAgent, draft, program};
use felhom_shared::signed::{Namespace, PublicKey, Rejection, Signed};

fn now_ms() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}

#[test]
fn a_file_signed_here_verifies_with_ssh_keygen() {
    let desk = Desk::new();
    for (key, kind) in [("plain", None), ("sealed", Some("--age"))] {
        let mut arguments = vec!["keygen", key, "--comment", "anna", "--passphrase-file", "passphrase"];
        arguments.extend(kind);
        let told = desk.sign(&arguments, "").exits(0).stdout;
        let public = desk.read(&format!("{key}.pub"));
        assert!(told.starts_with(&public), "the public line is printed and written: {told}");

        desk.write("op.json", &draft("guest.destroy", "web"));
        let out = format!("{key}.signed");
        let key_arguments =
            ["sign", "op.json", "--key", key, "--passphrase-file", "passphrase", "--out", &out];
        desk.sign(&key_arguments, "web\n").exits(0);
        desk.split(&out);
        desk.write("allowed_signers", &format!("anna namespaces=\"felhom-op-v1\" {public}"));
        let signature = format!("{out}.sig");
        let payload = desk.read(&format!("{out}.payload"));
        let verify = |namespace: &str, payload: &str| {
            let arguments =
                ["-Y", "verify", "-f", "allowed_signers", "-I", "anna", "-n", namespace, "-s", &signature];
            desk.openssh("ssh-keygen", &arguments, payload).code
        };
        assert_eq!(verify("felhom-op-v1", &payload), 0);
        assert_ne!(verify("felhom-keyset-v1", &payload), 0, "another purpose");
        assert_ne!(verify("felhom-op-v1", &payload.replace("web", "vpn")), 0, "another payload");
    }
}

#[test]
fn an_operation_made_with_a_text_editor_and_ssh_keygen_is_accepted() {
    let desk = Desk::new();
    let public = desk.ssh_key("ops");
    let listed = desk.openssh("ssh-keygen", &["-lf", "ops.pub"], "").exits(0).stdout;
    let fingerprint = listed.split_whitespace().nth(1).unwrap();
    let (issued, expires) = (now_ms(), now_ms() + 3_600_000);
    let payload = format!(
        r#"{{"op":"guest.destroy","target":{{"host_id":"{HOST}","guest_id":"{GUEST}"}},"params":{{"expect":{{"vmid":101,"name":"web","config_digest":"{DIGEST}"}}}},"nonce":"00112233445566778899aabbccddeeff","issued_at":{issued},"expires_at":{expires},"key_id":"{fingerprint}"}}"#
    );
    desk.write("op.json", &format!("{payload}\n"));
    desk.openssh("ssh-keygen", &["-Y", "sign", "-f", "ops", "-n", "felhom-op-v1", "op.json"], "").exits(0);
    let envelope = desk.read("op.json") + &desk.read("op.json.sig");

    let key: PublicKey = public.parse().unwrap();
    let verified = Signed::decode(envelope.as_bytes()).unwrap().verify(Namespace::Op, &[&key]).unwrap();
    assert_eq!(verified.op().unwrap().op().request.word(), "guest.destroy");

    desk.write("op.signed", &envelope);
    desk.ssh_key("root");
    desk.keyset("root", &["ops"]);
    let told = desk.sign(&["verify", "op.signed", "--keyset", "keyset-1.signed"], "").exits(0).stdout;
    assert!(told.contains(fingerprint) && told.contains("a box would take it now"), "{told}");
    // And felhom-sign can put the same two files together.
    let joined =
        ["sign", "op.json", "--also-signed", "op.json.sig", "--yes-i-confirm", "web", "--out", "joined"];
    desk.sign(&joined, "").exits(0);
    assert_eq!(desk.read("joined"), envelope);
}

#[test]
fn a_draft_is_prepared_here_and_signed_elsewhere() {
    let desk = Desk::new();
    desk.ssh_key("ops");
    desk.ssh_key("other");
    desk.write("op.json", &draft("guest.destroy", "web"));
    desk.sign(&["sign", "op.json", "--prepare", "--key", "ops.pub"], "").exits(0);
    let ssh_sign = |key: &str, namespace: &str| {
        let _ = std::fs::remove_file(desk.path("op.json.op.sig"));
        let arguments = ["-Y", "sign", "-f", key, "-n", namespace, "op.json.op"];
        desk.openssh("ssh-keygen", &arguments, "").exits(0);
        desk.sign(&["sign", "op.json.op", "--also-signed", "op.json.op.sig"], "web\n")
    };
    let refused = ssh_sign("ops", "felhom-keyset-v1").exits(1);
    assert!(refused.stderr.contains("another purpose"), "{}", refused.stderr);
    ssh_sign("other", "felhom-op-v1").exits(2);
    assert!(!desk.files().contains(&"op.json.op.signed".to_owned()));
    ssh_sign("ops", "felhom-op-v1").exits(0);
    assert!(Signed::decode(desk.read("op.json.op.signed").as_bytes()).is_ok());
}

#[test]
fn an_agent_signs_and_its_keys_are_named_by_file_or_fingerprint() {
    let desk = Desk::new();
    let public: PublicKey = desk.ssh_key("ops").parse().unwrap();
    desk.ssh_key("stranger");
    // Another kind of key in the agent is passed over.
    desk.openssh("ssh-keygen", &["-q", "-t", "ecdsa", "-N", "", "-f", "ecdsa"], "").exits(0);
    desk.write("op.json", &draft("guest.destroy", "web"));
    let agent = SshAgent::start(&desk.path(""));
    let with_agent = |mut command: Command, arguments: &[&str]| {
        command.args(arguments).env("SSH_AUTH_SOCK", &agent.socket);
        desk.run(command, "web\n")
    };
    with_agent(Command::new(program("ssh-add")), &["-q", "ecdsa", "ops"]).exits(0);
    std::fs::remove_file(desk.path("ops")).unwrap();
    let tool = || Command::new(env!("CARGO_BIN_EXE_felhom-sign"));
    for (key, out) in [("ops.pub", "by-file"), (&*public.fingerprint(), "by-fingerprint")] {
        with_agent(tool(), &["sign", "op.json", "--key", key, "--out", out]).exits(0);
        let signed = Signed::decode(desk.read(out).as_bytes()).unwrap();
        signed.verify(Namespace::Op, &[&public]).unwrap();
    }
    let absent = with_agent(tool(), &["sign", "op.json", "--key", "stranger.pub", "--out", "none"]).exits(1);
    assert!(absent.stderr.contains("does not hold"), "{}", absent.stderr);
    with_agent(tool(), &["sign", "op.json", "--key", "ecdsa.pub", "--out", "none"]).exits(1);
    let without = desk.sign(&["sign", "op.json", "--key", "ops.pub", "--out", "none"], "web\n").exits(1);
    assert!(without.stderr.contains("SSH_AUTH_SOCK"), "{}", without.stderr);
    assert!(!desk.files().contains(&"none".to_owned()));
}

#[test]
fn a_key_with_a_passphrase_made_by_ssh_keygen_is_read_and_no_other_kind_is() {
    let desk = Desk::new();
    let make = |kind: &str, name: &str| {
        let arguments = ["-q", "-t", kind, "-N", PASSPHRASE, "-f", name];
        desk.openssh("ssh-keygen", &arguments, "").exits(0);
    };
    make("ed25519", "ops");
    make("ecdsa", "ecdsa");
    desk.write("op.json", &draft("guest.destroy", "web"));
    desk.write("wrong", "wrong horse battery");
    let sign = |key: &str, passphrase: &str| {
        let arguments = ["sign", "op.json", "--key", key, "--passphrase-file", passphrase];
        desk.sign(&arguments, "web\n")
    };
    let wrong = sign("ops", "wrong").exits(1);
    assert!(wrong.stderr.contains("the passphrase may be wrong"), "{}", wrong.stderr);
    assert!(!wrong.stderr.contains("horse"));
    assert!(sign("ecdsa", "passphrase").exits(1).stderr.contains("only ssh-ed25519"));
    assert!(!desk.files().contains(&"op.json.signed".to_owned()));
    sign("ops", "passphrase").exits(0);
    // From standard input, the passphrase comes first and the name after it.
    let piped = ["sign", "op.json", "--key", "ops", "--passphrase-file", "-", "--out", "piped"];
    desk.sign(&piped, &format!("web\n{PASSPHRASE}\n")).exits(0);
}

#[test]
fn a_new_key_is_private_opens_with_stock_programs_and_overwrites_nothing() {
    let desk = Desk::new();
    desk.sign(&["keygen", "ops", "--passphrase-file", "passphrase"], "").exits(0);
    let mode = std::fs::metadata(desk.path("ops")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let opened = desk.openssh("ssh-keygen", &["-y", "-P", PASSPHRASE, "-f", "ops"], "").exits(0).stdout;
    assert_eq!(opened.trim_end(), desk.read("ops.pub").trim_end());
    desk.openssh("ssh-keygen", &["-y", "-P", "", "-f", "ops"], "").exits(255);

    let before = desk.read("ops");
    let again = desk.sign(&["keygen", "ops", "--age", "--passphrase-file", "passphrase"], "").exits(1);
    assert!(again.stderr.contains("not overwritten"), "{}", again.stderr);
    assert_eq!(desk.read("ops"), before);
    desk.write("short", "hunter2");
    desk.sign(&["keygen", "weak", "--passphrase-file", "short"], "").exits(1);
    desk.write("empty", "");
    desk.sign(&["keygen", "weak", "--passphrase-file", "empty"], "").exits(1);
    assert!(!desk.files().iter().any(|name| name.starts_with("weak")));
    assert!(std::fs::read(desk.path("ops")).unwrap().len() < 1000, "nothing but the key");
}

#[test]
fn two_signatures_are_added_one_after_the_other_and_counted_once_each() {
    let desk = Desk::new();
    let first: PublicKey = desk.ssh_key("first").parse().unwrap();
    let second: PublicKey = desk.ssh_key("second").parse().unwrap();
    desk.ssh_key("root");
    let init = ["keyset", "init", "--root", "root.pub", "--ops", "first.pub", "--ops", "second.pub"];
    desk.sign(&[&init[..], &["--threshold", "destroy=2", "--key", "root"]].concat(), "").exits(0);
    desk.write("op.json", &draft("guest.destroy", "web"));
    let verify = |file: &str| desk.sign(&["verify", file, "--keyset", "keyset-1.signed"], "");

    desk.sign(&["sign", "op.json", "--key", "first", "--out", "one"], "web\n").exits(0);
    assert!(verify("one").exits(4).stderr.contains("1 of 2 signatures"));
    desk.sign(&["sign", "one", "--key", "second", "--out", "two"], "web\n").exits(0);
    verify("two").exits(0);
    let signed = Signed::decode(desk.read("two").as_bytes()).unwrap();
    assert_eq!(signed.verify(Namespace::Op, &[&first, &second]).unwrap().signers().len(), 2);
    let twice = desk.sign(&["sign", "one", "--key", "first", "--out", "twice"], "web\n").exits(1);
    assert!(twice.stderr.contains(&Rejection::SignerTwice.to_string()), "{}", twice.stderr);
}

#[test]
fn what_is_signed_is_an_operation_that_a_box_would_take() {
    let desk = Desk::new();
    desk.ssh_key("ops");
    let cases = [
        ("unknown", draft("guest.reboot", "web"), "op_unknown"),
        ("malformed", draft("guest.destroy", "we\\u001bb"), "op_malformed"),
        (
            "extra",
            draft("guest.destroy", "web").replace("\"params\"", "\"class\":0,\"params\""),
            "op_malformed",
        ),
        (
            "twice",
            draft("guest.destroy", "web").replace("\"op\"", "\"op\":\"clock.reset\",\"op\""),
            "op_malformed",
        ),
        ("no-guest", draft("guest.destroy", "web").replace(&format!("\"{GUEST}\""), "null"), "names none"),
        (
            "no-digest",
            draft("guest.destroy", "web").replace(&format!("\"{DIGEST}\""), "null"),
            "which configuration",
        ),
    ];
    for (name, text, reason) in cases {
        desk.write(name, &text);
        let refused = desk.sign(&["sign", name, "--key", "ops", "--yes-i-confirm", "web"], "").exits(3);
        assert!(refused.stderr.contains(reason), "{name}: {}", refused.stderr);
        assert!(refused.stderr.is_ascii() && !refused.stderr.contains('\x1b'), "{name}");
        assert!(!desk.files().contains(&format!("{name}.signed")));
    }
    let week_old = format!(
        "{},\"nonce\":\"00112233445566778899aabbccddeeff\",\"issued_at\":1,\"expires_at\":2,\"key_id\":\"x\"}}\n",
        draft("guest.destroy", "web").trim_end_matches('}').to_owned() + "}}"
    );
    desk.write("old", &week_old);
    let old = desk.sign(&["sign", "old", "--key", "ops", "--yes-i-confirm", "web"], "").exits(3);
    assert!(old.stderr.contains("expired"), "{}", old.stderr);
}
