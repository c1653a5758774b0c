//! A security key in an agent. No hardware: an agent of our own answers as one with a key plugged in would, and
//! stock ssh-keygen judges what comes of it.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use ed25519_dalek::{Signer, SigningKey};
use felhom_shared::signed::{Namespace, PublicKey, Signed};
use sha2::{Digest, Sha256};
use ssh_key::public::{Ed25519PublicKey, SkEd25519};

use crate::tools::{Desk, Ran, draft};

/// How the agent behaves.
#[derive(Clone, Copy)]
enum Agent {
    Honest,
    Untouched,
    SignsSomethingElse,
    Refuses,
    Floods,
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn public(key: &SigningKey) -> ssh_key::PublicKey {
    let point = Ed25519PublicKey(key.verifying_key().to_bytes());
    ssh_key::PublicKey::new(SkEd25519::new(point, "ssh:").into(), "anna")
}

/// What a FIDO key answers: a signature, its flags, its counter.
fn touch(key: &SigningKey, data: &[u8], flags: u8) -> Vec<u8> {
    let counter = 7u32.to_be_bytes();
    let message = [&Sha256::digest(b"ssh:")[..], &[flags], &counter, &Sha256::digest(data)].concat();
    let raw = key.sign(&message).to_bytes();
    [text(b"sk-ssh-ed25519@openssh.com"), text(&raw), vec![flags], counter.to_vec()].concat()
}

fn answer(key: &SigningKey, agent: Agent, request: &[u8]) -> Vec<u8> {
    let blob = public(key).to_bytes().unwrap();
    if request[0] == 11 {
        return [vec![12], 1u32.to_be_bytes().to_vec(), text(&blob), text(b"anna's key")].concat();
    }
    let data = &request[1 + 4 + blob.len() + 4..request.len() - 4];
    match agent {
        Agent::Honest => [vec![14], text(&touch(key, data, 1))].concat(),
        Agent::Untouched => [vec![14], text(&touch(key, data, 0))].concat(),
        Agent::SignsSomethingElse => [vec![14], text(&touch(key, b"something else", 1))].concat(),
        Agent::Refuses => vec![5],
        Agent::Floods => vec![0; 300 * 1024],
    }
}

fn serve(mut stream: UnixStream, key: &SigningKey, agent: Agent) -> Option<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut request = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut request).ok()?;
    stream.write_all(&text(&answer(key, agent, &request))).ok()
}

fn sign_with(desk: &Desk, key: &SigningKey, agent: Agent) -> Ran {
    let socket = desk.path("fake-agent.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_felhom-sign"));
    command.args(["sign", "op.json", "--key", "sk.pub", "--out", "op.signed"]).env("SSH_AUTH_SOCK", &socket);
    let key = key.clone();
    // Two connections: which keys, and sign. The thread ends with the second.
    let thread = std::thread::spawn(move || {
        listener.incoming().take(2).for_each(|stream| {
            serve(stream.unwrap(), &key, agent);
        });
    });
    let ran = desk.run(command, "web\n");
    // Lets the thread end also where the tool did not come twice.
    (0..2).for_each(|_| drop(UnixStream::connect(&socket)));
    thread.join().unwrap();
    ran
}

#[test]
fn a_security_keys_touch_is_a_signature_and_nothing_less_is() {
    let desk = Desk::new();
    desk.write("op.json", &draft("guest.destroy", "web"));
    let key = SigningKey::from_bytes(&[42; 32]);
    let line = public(&key).to_openssh().unwrap();
    desk.write("sk.pub", &line);
    for (agent, reason) in [
        (Agent::Untouched, "did not ask for a touch"),
        (Agent::SignsSomethingElse, "does not match the payload"),
        (Agent::Refuses, "the agent refuses"),
        (Agent::Floods, "far too long"),
    ] {
        let refused = sign_with(&desk, &key, agent).exits(1);
        assert!(refused.stderr.contains(reason), "{}", refused.stderr);
        assert!(!desk.files().contains(&"op.signed".to_owned()));
    }
    sign_with(&desk, &key, Agent::Honest).exits(0);
    let public: PublicKey = line.parse().unwrap();
    let signed = Signed::decode(desk.read("op.signed").as_bytes()).unwrap();
    signed.verify(Namespace::Op, &[&public]).unwrap();

    desk.split("op.signed");
    desk.write("allowed_signers", &format!("anna namespaces=\"felhom-op-v1\" {line}\n"));
    let arguments = ["-Y", "verify", "-f", "allowed_signers", "-I", "anna", "-n", "felhom-op-v1", "-s"];
    let arguments = [&arguments[..], &["op.signed.sig"]].concat();
    desk.openssh("ssh-keygen", &arguments, &desk.read("op.signed.payload")).exits(0);
}
