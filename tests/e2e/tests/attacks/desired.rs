//! 78–88: documents of a hub that means harm. Unsigned, so they only propose.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use felhom_agent::accept::{Accepted, Offer, Verdict, accept};
use felhom_shared::desired::{DesiredState, GuestSpec, Mount, MountSource, digest};
use felhom_shared::id::Generation;
use felhom_shared::limits::POLL_BYTES_MAX;
use felhom_tests::{House, Keyring, Told, document, host_id, lxc};

use crate::scene::all;
use crate::{Row, not_applicable, row};

const IN_FORCE: u64 = 7;

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row(78, "an older generation", "generation_older", || all([0, IN_FORCE - 1].map(|generation| offered(generation, &other())))),
    row(79, "the same generation with other bytes", "generation_same_other_bytes", || all([offered(IN_FORCE, &other()), offered(IN_FORCE, &format!("{} ", good()))])),
    row(79, "the same generation with the same bytes", "same", || offered(IN_FORCE, &good())),
    row(80, "the farthest generation", "generation_jumped", || all([u64::MAX, u64::MAX - 1, i64::MAX as u64, IN_FORCE + (1 << 20) + 1].map(|generation| offered(generation, &other())))),
    row(81, "an empty document", "empty_over_nonempty", || offered(IN_FORCE + 1, &text(&document([])))),
    row(81, "an empty text, null, an empty object", "desired_malformed", || all(["", "null", "{}", "[]"].map(|text| offered(IN_FORCE + 1, text)))),
    row(82, "retention lowered: no such field in a document", "desired_unknown_field", || with_field("\"retention\":{\"keep_last\":7}")),
    row(83, "two hundred guests at once", "change_budget_spent, 3 made", two_hundred_guests),
    row(84, "encryption off, another backup target: no such field", "desired_unknown_field", || all(["\"pbs\":{\"datastore\":\"thief\"}", "\"backup\":{\"encryption\":\"none\"}"].map(with_field))),
    not_applicable(85, "a template whose digest is not in the policy", "there is no signed policy of templates; a download must carry its checksum, and PVE checks it: the next row"),
    row(85, "a download without a checksum", "desired_invalid", download_without_checksum),
    row(86, "a privileged container", "privileged_needs_signature, nothing made", || held(GuestSpec { unprivileged: false, ..lxc(101, "web") })),
    row(86, "a bind mount in a new container, which is made without it", "bind_mount_needs_signature, made", bind_mount),
    row(87, "a token of the DNS provider in the document", "desired_unknown_field", || all(["\"cf_api_token\":\"secret\"", "\"dns\":{\"cloudflare_api_token\":\"secret\"}"].map(with_field))),
    row(88, "a body without end", "cut off, agent at work", endless_body),
];

fn text(desired: &DesiredState) -> String {
    serde_json::to_string(desired).unwrap()
}

fn good() -> String {
    text(&document([lxc(101, "web")]))
}

fn other() -> String {
    text(&document([lxc(101, "web"), lxc(102, "files")]))
}

/// Offered to a box with the good document in force.
fn offered(generation: u64, text: &str) -> String {
    let bytes = good().into_bytes();
    let last = Accepted {
        generation: Generation(IN_FORCE),
        digest: digest(&bytes),
        desired: DesiredState::from_json(&bytes).unwrap(),
    };
    let offer = Offer { host_id: host_id(), generation: Generation(generation), bytes: text.as_bytes() };
    match accept(host_id(), Some(&last), &offer) {
        Verdict::Same => "same".to_owned(),
        Verdict::Accept(_) => "accepted".to_owned(),
        Verdict::Refuse(refusal) => refusal.code,
    }
}

/// At the top of the document and within its guest.
fn with_field(field: &str) -> String {
    let places = ["\"guests\":", "\"cores\":"];
    all(places.map(|place| offered(IN_FORCE + 1, &good().replacen(place, &format!("{field},{place}"), 1))))
}

fn two_hundred_guests() -> String {
    let house = House::new().with_budget(3);
    let before = house.control().snapshot().guests.len();
    let mut agent = house.agent();
    let guests = (0..200).map(|nth| lxc(200 + nth, &format!("guest-{nth}")));
    agent.desire(&document(guests));
    for _ in 0..3 {
        agent.time_passes();
        agent.cycle();
    }
    let end = agent.cycle();
    let spent = end
        .state
        .guests
        .iter()
        .filter(|guest| guest.notes.iter().any(|note| note.code == "change_budget_spent"));
    assert_eq!(spent.count(), 197);
    format!("change_budget_spent, {} made", house.control().snapshot().guests.len() - before)
}

fn download_without_checksum() -> String {
    let url = "\"url\":\"https://example.org/debian.tar.zst\"";
    let with_url = good().replacen("\"url\":null", url, 1);
    let with_url = if with_url == good() {
        good().replacen("\"file\":", &format!("{url},\"file\":"), 1)
    } else {
        with_url
    };
    offered(IN_FORCE + 1, &with_url)
}

fn with_bind_mount() -> GuestSpec {
    let source = MountSource::Bind("/etc".to_owned());
    let mount = Mount { path: "/srv/etc".to_owned(), source, backup: false, read_only: false };
    GuestSpec { mounts: BTreeMap::from([("mp0".to_owned(), mount)]), ..lxc(101, "web") }
}

/// What a box makes of a guest that only a signature releases.
fn held(spec: GuestSpec) -> String {
    let house = House::new().trusting(&Keyring::new());
    let mut agent = house.agent();
    let Ok(desired) = DesiredState::from_json(text(&document([spec])).as_bytes()) else {
        return "refused as a document".to_owned();
    };
    agent.desire(&desired);
    agent.cycle();
    let end = agent.cycle();
    let note = end.guest(101).notes.first().map_or("no note", |note| note.code.as_str()).to_owned();
    let made = house.changes().iter().any(|change| change.path.ends_with("/lxc"));
    format!("{note}, {}", if made { "made" } else { "nothing made" })
}

fn bind_mount() -> String {
    let house = House::new().trusting(&Keyring::new());
    let mut agent = house.agent();
    agent.desire(&document([with_bind_mount()]));
    let end = agent.settle_to(|_| house.control().snapshot().guests.contains_key(&101));
    assert!(end.tells(101, "bind_mount_needs_signature"));
    agent.time_passes();
    agent.cycle();
    let config = house.control().snapshot().guests[&101].config.clone();
    let shown = config.values().any(|value| value.contains("/etc"));
    format!("bind_mount_needs_signature, {}", if shown { "made with it" } else { "made" })
}

/// A hub of plain threads that answers a poll with chunks for as long as anybody reads; what it could send.
fn endless_hub() -> (String, String, std::thread::JoinHandle<usize>) {
    let certificate = felhom_tests::Certificate::fresh();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let pin = certificate.pin.clone();
    let sending = std::thread::spawn(move || {
        let chunk =
            [format!("{:x}\r\n", 64 * 1024).into_bytes(), vec![b' '; 64 * 1024], b"\r\n".to_vec()].concat();
        loop {
            let (socket, _) = listener.accept().unwrap();
            let mut stream = certificate.serve(socket);
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or(0);
            if !head[..read].starts_with(b"GET") {
                continue;
            }
            let answer =
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
            let mut sent = 0;
            if stream.write_all(answer).is_ok() {
                while sent < 1 << 30 && stream.write_all(&chunk).is_ok() {
                    sent += chunk.len();
                }
            }
            return sent;
        }
    });
    (url, pin, sending)
}

fn endless_body() -> String {
    let (url, pin, sending) = endless_hub();
    let house = House::new();
    let running = house.run(&(url, pin));
    let sent = sending.join().unwrap();
    // What the kernel holds on both sides comes on top of what the agent reads.
    let bound = POLL_BYTES_MAX + 12 * 1024 * 1024;
    felhom_tests::wait_until("the agent goes on with its node", Duration::from_secs(20), || {
        house.control().requests().iter().any(|request| request.method == "GET")
    });
    running.stop();
    if sent < bound { "cut off, agent at work".to_owned() } else { format!("{sent} bytes were read") }
}
