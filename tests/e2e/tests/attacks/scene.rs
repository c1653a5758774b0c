//! Where attacks take place. The pure scene is a judgement at a fixed time; the real one is a house whose agent
//! holds a destruction until somebody signs for it.

use std::sync::OnceLock;
use std::time::Duration;

use fake_pve::Options;
use felhom_agent::ops::Judge;
use felhom_shared::desired::{DesiredState, GuestSpec, Presence};
use felhom_shared::report::PendingOp;
use felhom_shared::signed::{
    self, Clock, ConfigDigest, Expect, Expected, Keyset, Namespace, Nonce, Op, Rejection, Request, Trusted,
};
use felhom_shared::wire::OpReceipt;
use felhom_tests::{Agent, House, Key, Keyring, document, guest_id, host_id, lxc, op_on};
use jiff::Timestamp;

/// The time of the pure scene, milliseconds since 1970.
pub(crate) const NOW: u64 = 1_795_000_000_000;
pub(crate) const HOUR: u64 = 3600 * 1000;
pub(crate) const DAY: u64 = 24 * HOUR;

/// The word for what came of something.
pub(crate) fn code<T>(result: Result<T, Rejection>) -> String {
    result.map_or_else(|rejection| rejection.code().to_owned(), |_| "accepted".to_owned())
}

/// The one outcome of several variants of an attack, or all of them when they differ.
pub(crate) fn all(outcomes: impl IntoIterator<Item = String>) -> String {
    let outcomes: Vec<String> = outcomes.into_iter().collect();
    match outcomes.split_first() {
        Some((first, rest)) if rest.iter().all(|outcome| outcome == first) => first.clone(),
        _ => outcomes.join(", "),
    }
}

/// The document that asks for the guest `web` to go.
pub(crate) fn asked_away() -> DesiredState {
    let spec = GuestSpec { presence: Presence::Absent, ..lxc(101, "web") };
    document([spec, lxc(102, "stays")])
}

/// The operation that lets it go, issued now.
pub(crate) fn op() -> Op {
    let expect = Expect {
        vmid: lxc(101, "web").vmid,
        name: lxc(101, "web").name,
        config_digest: Some(ConfigDigest::try_from("0123456789abcdef".repeat(3)[..40].to_owned()).unwrap()),
    };
    let draft = op_on(guest_id(101), Request::DestroyGuest(Expected { expect }));
    draft.into_op(Nonce([7; 16]), NOW, NOW + DAY, Keyring::new().ops.public().fingerprint())
}

/// The payload of [`op`].
pub(crate) fn payload() -> String {
    op().to_payload()
}

/// Any payload, well signed by the operator.
pub(crate) fn signed(payload: &str) -> String {
    Keyring::new().ops.sign(Namespace::Op, payload)
}

/// The first keyset of every scene.
pub(crate) fn genesis() -> Trusted {
    static GENESIS: OnceLock<Trusted> = OnceLock::new();
    let make = || {
        let keyring = Keyring::new();
        signed::genesis(keyring.keyset_blob().as_bytes(), &keyring.keyset().digest()).unwrap()
    };
    GENESIS.get_or_init(make).clone()
}

/// A keyset after the first, changed.
pub(crate) fn second(change: impl FnOnce(&mut Keyset)) -> Trusted {
    let blob = Keyring::new().next(change).keyset_blob();
    signed::next(&genesis(), blob.as_bytes()).unwrap()
}

/// The keyset that also knows this key, as the operator's second.
pub(crate) fn with_second_operator(line: &str, destroy: u8) -> Trusted {
    second(|keyset| {
        let mut entry = keyset.keys[1].clone();
        entry.public = line.parse().unwrap();
        keyset.keys.push(entry);
        keyset.thresholds.destroy = destroy;
    })
}

/// What a box at [`NOW`] that trusts the first keyset makes of an envelope.
pub(crate) fn judged(envelope: impl AsRef<[u8]>) -> String {
    judged_by(&genesis(), envelope)
}

/// The same for a box that trusts another keyset.
pub(crate) fn judged_by(trusted: &Trusted, envelope: impl AsRef<[u8]>) -> String {
    let clock = Clock { system_ms: NOW, floor_ms: NOW - HOUR };
    judged_at(trusted, clock, envelope)
}

/// The same at another time.
pub(crate) fn judged_at(trusted: &Trusted, clock: Clock, envelope: impl AsRef<[u8]>) -> String {
    let desired = asked_away();
    let judge = Judge {
        host_id: host_id(),
        trusted: Some(trusted),
        desired: Some(&desired),
        clock,
        rolled_back: false,
    };
    code(judge.judge(envelope.as_ref()))
}

/// A key that signs releases, and the keyset that says so.
pub(crate) fn release_key() -> (Key, Trusted) {
    let key = Key::number(4);
    let trusted = second(|keyset| {
        let mut entry = keyset.keys[1].clone();
        entry.public = key.public();
        entry.roles = vec![signed::Role::Release];
        keyset.keys.push(entry);
    });
    (key, trusted)
}

/// The time now, milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap()
}

/// A house whose document asks for `web` to go, which the agent holds.
pub(crate) struct Scene {
    pub(crate) keyring: Keyring,
    pub(crate) house: House,
    pub(crate) pending: PendingOp,
    agent: Option<Agent>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let keyring = Keyring::new();
        let options = Options { task_time: Duration::from_millis(5), ..Options::default() };
        let house = House::with(options).trusting(&keyring);
        let mut agent = house.agent();
        agent.desire(&document([lxc(101, "web"), lxc(102, "stays")]));
        agent.settle();
        agent.desire(&asked_away());
        let pending = agent.cycle().state.ops.pending[0].clone();
        Self { keyring, house, pending, agent: Some(agent) }
    }

    pub(crate) fn agent(&mut self) -> &mut Agent {
        self.agent.as_mut().unwrap()
    }

    /// The signed destruction, with a fresh nonce.
    pub(crate) fn envelope(&self) -> String {
        self.keyring.release(&self.pending)
    }

    /// The destruction as an operation that is not signed yet, changed.
    pub(crate) fn changed(&self, change: impl FnOnce(&mut Op)) -> String {
        let envelope = self.envelope();
        let line = envelope.find('\n').unwrap();
        let mut op = Op::parse(&envelope.as_bytes()[..=line]).unwrap();
        change(&mut op);
        self.keyring.sign(&op)
    }

    /// Hands an envelope in; what the hub is told.
    pub(crate) fn hand_in(&mut self, envelope: &str) -> String {
        word(&self.agent().hand_in(envelope))
    }

    /// What a cut of the power and a start after it do.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.agent = Some(self.house.agent());
    }

    /// Stops the agent.
    pub(crate) fn stop(&mut self) {
        drop(self.agent.take());
    }

    /// Starts this agent in place of the one that was stopped.
    pub(crate) fn start(&mut self, agent: Agent) {
        self.agent = Some(agent);
    }

    /// Lets the agent do what it may.
    pub(crate) fn work(&mut self) {
        for _ in 0..4 {
            self.agent().time_passes();
            self.agent().cycle();
        }
        assert!(self.house.control().wait_idle(Duration::from_secs(10)));
    }

    /// The newest receipt: its code, or its state.
    pub(crate) fn receipt(&mut self) -> String {
        let receipts = self.agent().state().book().receipts(1);
        let Some(receipt) = receipts.first() else { return "no receipt".to_owned() };
        let state = serde_json::to_value(receipt.state).unwrap().as_str().unwrap().to_owned();
        receipt.code.clone().unwrap_or(state)
    }

    /// Works, and says how often `web` was destroyed, and what the newest receipt says.
    pub(crate) fn ran(&mut self) -> String {
        self.work();
        let times = self.house.changes_to("DELETE", "/101");
        format!("ran {times}, {}", self.receipt())
    }
}

/// What the hub is told, in one word.
pub(crate) fn word(told: &OpReceipt) -> String {
    let state = serde_json::to_value(told.state).unwrap().as_str().unwrap().to_owned();
    told.code.clone().unwrap_or(state)
}
