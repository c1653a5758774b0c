//! `felhom-agent trust`: what a person at the console sees, and the way out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;
use std::rc::Rc;

use felhom_agent::state::{Boundary, State};
use felhom_shared::desired::{GuestSpec, Presence};
use felhom_shared::report::ReceiptState;
use felhom_shared::wire::QueueState;
use felhom_tests::{Agent, House, Keyring, Killed, Program, document, host_id, lxc};

/// A configuration for a person at the console of this house.
fn configured(house: &House, keyring: &Keyring) -> PathBuf {
    let folder = house.state_dir();
    let token = folder.join("pve-token");
    fs::write(&token, house.node().token()).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "host_id = \"{}\"\nstate_dir = \"{}\"\n[hub]\nurl = \"https://127.0.0.1:1\"\npins = []\n[pve]\nurl = \"{}\"\n\
         token_file = \"{}\"\n[trust]\ngenesis_sha256 = \"{}\"\n",
        host_id(),
        folder.display(),
        house.node().base_url(),
        token.display(),
        keyring.keyset().digest(),
    );
    let path = folder.join("agent.toml");
    fs::write(&path, text).unwrap();
    path
}

fn trust(config: &std::path::Path, args: &[&str]) -> Output {
    let config = config.display().to_string();
    let mut all = vec!["--config", config.as_str(), "trust"];
    all.extend(args);
    Program::output("felhom-agent", &all)
}

/// An agent that has taken a signature for a destruction and not yet acted on it.
fn reserved(house: &House, keyring: &Keyring) {
    let mut agent = house.agent();
    agent.desire(&document([lxc(101, "goes"), lxc(102, "stays")]));
    agent.settle();
    let gone = GuestSpec { presence: Presence::Absent, ..lxc(101, "goes") };
    agent.desire(&document([gone, lxc(102, "stays")]));
    let pending = agent.cycle().state.ops.pending[0].clone();
    assert_eq!(agent.hand_in(&keyring.release(&pending)).state, QueueState::Delivered);
}

fn standing(house: &House) -> Vec<ReceiptState> {
    let state = State::open_read_only(&house.state_dir()).unwrap();
    let receipts = state.book().receipts(5);
    receipts.into_iter().map(|receipt| receipt.state).collect()
}

#[test]
fn a_reset_forgets_whom_the_box_trusts_and_voids_what_they_signed() {
    let keyring = Keyring::new();
    let house = House::new().trusting(&keyring);
    let config = configured(&house, &keyring);
    reserved(&house, &keyring);
    let shown = trust(&config, &["show", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["keyset_version"], 1);
    assert_eq!(shown["keys"].as_array().unwrap().len(), 2);
    assert!(trust(&config, &["reset"]).status.success());
    assert_eq!(standing(&house), [ReceiptState::Rejected]);
    assert_eq!(trust(&config, &["show"]).status.code(), Some(1), "nobody is trusted now");
    let mut agent = house.agent();
    agent.cycle();
    assert!(house.runs(101), "what was signed before is void");
}

#[test]
fn a_reset_is_refused_while_a_signed_step_is_open() {
    let keyring = Keyring::new();
    let house = House::new().trusting(&keyring);
    let config = configured(&house, &keyring);
    reserved(&house, &keyring);
    let begun = Cell::new(0);
    let mut doomed: Agent = house.agent_with_probe(Rc::new(move |here| {
        if here == Boundary::AfterBegin {
            begun.set(begun.get() + 1);
            // The shutdown begins first, the destruction second.
            if begun.get() == 2 {
                Killed::now();
            }
        }
    }));
    while doomed.cycle_or_death().is_some() {}
    drop(doomed);
    assert_eq!(standing(&house), [ReceiptState::Started]);
    let refused = trust(&config, &["reset"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("find out what became of it"));
    assert_eq!(standing(&house), [ReceiptState::Started]);
}

#[test]
fn a_damaged_ledger_stops_what_is_signed_until_it_is_begun_anew_at_the_console() {
    let keyring = Keyring::new();
    let house = House::new().trusting(&keyring);
    let config = configured(&house, &keyring);
    reserved(&house, &keyring);
    let sql = rusqlite::Connection::open(house.state_dir().join(felhom_agent::state::FILE_NAME)).unwrap();
    sql.execute("UPDATE op_ledger SET row = replace(row, 'destroy', 'restore')", []).unwrap();
    drop(sql);
    let mut agent = house.agent();
    agent.cycle();
    assert!(agent.state().book().is_damaged());
    assert!(house.runs(101), "nothing signed runs on a ledger that does not hold");
    drop(agent);
    let reset = trust(&config, &["reset"]);
    assert!(reset.status.success());
    assert!(String::from_utf8_lossy(&reset.stdout).contains("begun anew"));
    let mut agent = house.agent();
    assert!(!agent.state().book().is_damaged());
    let pending = agent.cycle().state.ops.pending[0].clone();
    assert_eq!(agent.hand_in(&keyring.release(&pending)).state, QueueState::Delivered);
    agent.settle();
    assert!(!house.control().snapshot().guests.contains_key(&101), "and a new signature counts again");
}
