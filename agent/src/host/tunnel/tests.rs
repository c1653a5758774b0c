//! Every call of systemctl fails once, and the helper is killed at every one: what runs is always what lies in the current
//! slot or nothing, and one more request ends it well.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use data_encoding::BASE64;
use tempfile::TempDir;

use super::*;

/// systemd, as far as the unit needs it.
struct Host {
    root: TempDir,
    /// The token with which cloudflared was started.
    runs: RefCell<Option<String>>,
    calls: Cell<u32>,
    /// At which call what happens.
    trouble: Cell<Option<(u32, Trouble)>>,
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Fails,
    Dies,
}

fn token(word: &str) -> SecretValue {
    SecretValue::new(&BASE64.encode(format!(r#"{{"a":"a","t":"t","s":"{word}"}}"#).as_bytes())).unwrap()
}

impl Host {
    /// With the tunnel of the token `old`, kept.
    fn running() -> Self {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("usr/bin/cloudflared");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "a program").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let this = Self { root, runs: RefCell::default(), calls: Cell::new(0), trouble: Cell::new(None) };
        this.ask(&this.change("old")).unwrap();
        this.ask(&TunnelCommand::Keep).unwrap();
        this
    }

    fn change(&self, word: &str) -> TunnelCommand {
        let program_sha256 = hash_file(&installed_program(self.root.path()).unwrap()).unwrap();
        TunnelCommand::Try(TryTunnel { token: token(word), program_sha256 })
    }

    fn ask(&self, command: &TunnelCommand) -> Result<Answer, Failure> {
        let tool = |_: &str, args: &[&str]| self.systemctl(args);
        Clerk { root: self.root.path(), tool: &tool, trust: None }.tunnel(command)
    }

    fn systemctl(&self, args: &[&str]) -> Result<String, String> {
        self.calls.set(self.calls.get() + 1);
        match self.trouble.get() {
            Some((at, Trouble::Fails)) if at == self.calls.get() => return Err("Job canceled.".to_owned()),
            Some((at, Trouble::Dies)) if at == self.calls.get() => resume_unwind(Box::new("killed")),
            _ => {}
        }
        match args.iter().find(|word| !word.starts_with('-')) {
            Some(&"start") => *self.runs.borrow_mut() = self.current(),
            Some(&("stop" | "disable")) => *self.runs.borrow_mut() = None,
            Some(&"show") => {
                let active = if self.runs.borrow().is_some() { "active" } else { "inactive" };
                return Ok(format!("ActiveState={active}\nExecMainStatus=0\n"));
            }
            _ => {}
        }
        Ok(String::new())
    }

    fn slots(&self) -> Slots {
        Slots::below(self.root.path())
    }

    fn current(&self) -> Option<String> {
        self.slots().token().present().map(|token| token.expose().to_owned())
    }

    fn is(&self, word: Option<&str>) -> bool {
        let meant = word.map(|word| token(word).expose().to_owned());
        self.current() == meant && *self.runs.borrow() == meant && !self.slots().on_trial()
    }
}

/// What is asked with trouble at the `at`th call; none where it is over before that.
fn in_trouble(command: &TunnelCommand, before: &[TunnelCommand], at: u32, how: Trouble) -> Option<Host> {
    let this = Host::running();
    before.iter().for_each(|command| drop(this.ask(command).unwrap()));
    this.calls.set(0);
    this.trouble.set(Some((at, how)));
    let _ = catch_unwind(AssertUnwindSafe(|| this.ask(command)));
    let reached = this.calls.get() >= at;
    this.trouble.set(None);
    let runs = this.runs.borrow().clone();
    assert!(runs.is_none() || runs == this.current(), "{command:?}, {how:?} at {at}: the other one runs");
    reached.then_some(this)
}

/// Calls `then` with the box after trouble at each call of a request.
fn everywhere(
    command: impl Fn(&Host) -> TunnelCommand,
    before: &[TunnelCommand],
    then: impl Fn(&Host, &str),
) {
    let command = command(&Host::running());
    for how in [Trouble::Fails, Trouble::Dies] {
        let boxes = (1..).map_while(|at| in_trouble(&command, before, at, how));
        let count =
            boxes.enumerate().map(|(at, this)| then(&this, &format!("{how:?} at {}", at + 1))).count();
        assert!(count >= 3, "{command:?} calls systemctl at least three times");
    }
}

#[test]
fn a_change_that_is_cut_short_is_asked_for_again_and_kept_or_taken_back() {
    let change = |this: &Host| this.change("new");
    everywhere(change, &[], |this, at| {
        this.ask(&this.change("new")).unwrap();
        this.ask(&TunnelCommand::Keep).unwrap();
        assert!(this.is(Some("new")), "{at}");
    });
    everywhere(change, &[], |this, at| {
        this.ask(&this.change("new")).unwrap();
        this.ask(&TunnelCommand::Revert).unwrap();
        assert!(this.is(Some("old")), "{at}");
    });
    // Nobody asks again: what is on trial is taken back, what is not is started.
    everywhere(change, &[], |this, at| {
        let end = if this.slots().on_trial() { TunnelCommand::Revert } else { TunnelCommand::Start };
        this.ask(&end).unwrap();
        assert!(this.is(Some("old")), "{at}");
    });
}

#[test]
fn an_end_that_is_cut_short_is_asked_for_again() {
    everywhere(
        |_| TunnelCommand::Stop,
        &[],
        |this, at| {
            this.ask(&TunnelCommand::Stop).unwrap();
            this.ask(&TunnelCommand::Keep).unwrap();
            assert!(this.is(None), "{at}");
        },
    );
}

#[test]
fn a_way_back_that_is_cut_short_is_asked_for_again() {
    let before = [Host::running().change("new")];
    everywhere(
        |_| TunnelCommand::Revert,
        &before,
        |this, at| {
            this.ask(&TunnelCommand::Revert).unwrap();
            assert!(this.is(Some("old")), "{at}");
        },
    );
}

#[test]
fn what_its_unit_does_not_run_is_not_kept() {
    let this = Host::running();
    this.ask(&this.change("new")).unwrap();
    *this.runs.borrow_mut() = None;
    assert_eq!(this.ask(&TunnelCommand::Keep).unwrap_err().code, "tunnel_not_active");
    assert!(this.slots().on_trial());
}

#[test]
fn an_empty_unit_is_what_a_power_cut_left_of_ours() {
    let this = Host::running();
    let unit = this.root.path().join(UNITS).join(UNIT);
    fs::write(&unit, "").unwrap();
    this.ask(&this.change("new")).unwrap();
    assert_eq!(fs::read_to_string(&unit).unwrap(), UNIT_TEXT);
    assert!(Path::new(&unit).exists());
}
