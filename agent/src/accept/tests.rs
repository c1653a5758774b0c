use super::*;

const HOST: HostId = HostId(uuid::Uuid::from_u128(7));

fn document(guests: usize) -> Vec<u8> {
    let guests: Vec<_> = (0..guests).map(guest).collect();
    serde_json::to_vec(&serde_json::json!({"version": 1, "identity": {"name": "box"}, "guests": guests}))
        .unwrap()
}

fn guest(number: usize) -> serde_json::Value {
    serde_json::json!({
        "guest_id": uuid::Uuid::from_u128(number as u128 + 1), "vmid": 101 + number, "kind": "lxc",
        "name": format!("g{number}"), "source": {"template": {"storage": "local", "file": "t.tar.zst"}},
        "cores": 1, "memory_mib": 128, "disks": {"rootfs": {"storage": "local", "size_gib": 1}}
    })
}

fn in_force(generation: u64, bytes: &[u8]) -> Accepted {
    match offer(None, generation, bytes) {
        Verdict::Accept(accepted) => *accepted,
        other => panic!("a first document is accepted, not {other:?}"),
    }
}

fn offer(last: Option<&Accepted>, generation: u64, bytes: &[u8]) -> Verdict {
    accept(HOST, last, &Offer { host_id: HOST, generation: Generation(generation), bytes })
}

fn refusal(verdict: Verdict) -> String {
    match verdict {
        Verdict::Refuse(refusal) => refusal.code,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn generation_moves_forward() {
    let last = in_force(7, &document(2));
    assert!(matches!(offer(Some(&last), 8, &document(1)), Verdict::Accept(_)));
    assert_eq!(offer(Some(&last), 7, &document(2)), Verdict::Same);
    assert_eq!(refusal(offer(Some(&last), 6, &document(2))), "generation_older");
    assert_eq!(refusal(offer(Some(&last), 7, &document(1))), "generation_same_other_bytes");
    assert_eq!(refusal(offer(Some(&last), 8 + (1 << 20), &document(2))), "generation_jumped");
    assert!(matches!(offer(Some(&last), 7 + (1 << 20), &document(2)), Verdict::Accept(_)));
}

#[test]
fn same_generation_with_other_white_space_is_other_bytes() {
    let bytes = document(1);
    let last = in_force(3, &bytes);
    let mut spaced = bytes.clone();
    spaced.push(b' ');
    assert_eq!(refusal(offer(Some(&last), 3, &spaced)), "generation_same_other_bytes");
}

#[test]
fn another_hosts_document_is_refused() {
    let bytes = document(1);
    let other = Offer { host_id: HostId(uuid::Uuid::from_u128(8)), generation: Generation(1), bytes: &bytes };
    assert_eq!(refusal(accept(HOST, None, &other)), "other_host");
}

#[test]
fn an_empty_document_over_guests_is_refused_but_may_be_the_first() {
    let last = in_force(1, &document(1));
    assert_eq!(refusal(offer(Some(&last), 2, &document(0))), "empty_over_nonempty");
    assert!(matches!(offer(None, 1, &document(0)), Verdict::Accept(_)));
}

#[test]
fn what_cannot_be_read_is_refused_with_its_code() {
    let last = in_force(1, &document(1));
    let text = String::from_utf8(document(1)).unwrap();
    let unknown = text.replacen("\"cores\"", "\"coers\":1,\"cores\"", 1);
    let huge = " ".repeat(2 << 20);
    for (bytes, code) in [
        (b"\x00\xff garbage".to_vec(), "desired_malformed"),
        (Vec::new(), "desired_malformed"),
        (unknown.into_bytes(), "desired_unknown_field"),
        (huge.into_bytes(), "desired_too_large"),
        (text.replace("\"vmid\":101", "\"vmid\":99").into_bytes(), "desired_malformed"),
        (text.replace("\"version\":1", "\"version\":2").into_bytes(), "desired_invalid"),
        (text.replace("\"memory_mib\":128", "\"memory_mib\":1").into_bytes(), "desired_invalid"),
    ] {
        assert_eq!(refusal(offer(Some(&last), 2, &bytes)), code);
    }
}
