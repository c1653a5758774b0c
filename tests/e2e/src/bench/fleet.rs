//! Hosts that both sides of a bench can name without telling each other: identity, key and reports follow from a
//! number. Their keys open nothing but hubs that live as long as a bench.

use felhom_shared::desired::GuestKind;
use felhom_shared::id::{Generation, GuestId, HostId, NodeName, Vmid};
use felhom_shared::key::{ApiKey, KeyKind};
use felhom_shared::report::{
    GenerationState, GuestReport, HostReport, HostState, Metrics, NodeState, Observed, OpsState, Outcome,
    REPORT_VERSION,
};
use felhom_shared::wire::{POLL_PATH, REPORT_PATH};
use uuid::Uuid;

/// The size of the reports that the targets are about.
const REPORT_BYTES: usize = 8 * 1024;

/// The host with this number.
#[must_use]
pub fn host_id(number: u32) -> HostId {
    HostId(Uuid::from_u128(0xfe11_0000_0000_4000_9000_0000_0000_0000 | u128::from(number)))
}

/// Its key.
#[must_use]
pub fn key(number: u32) -> ApiKey {
    let (mut lookup, mut secret) = ([0; 10], [7; 32]);
    lookup[..4].copy_from_slice(&number.to_be_bytes());
    secret[..4].copy_from_slice(&number.to_be_bytes());
    ApiKey::from_random(KeyKind::Host, lookup, &secret)
}

/// A whole request with one of its reports, zstd level 1 as the agent sends it. Another `variant`, another state.
#[must_use]
pub fn report_request(number: u32, variant: usize) -> Vec<u8> {
    let json = report(number, variant);
    let body = zstd::bulk::compress(&json, 1).expect("zstd compresses what is in memory");
    let mut request = format!(
        "POST {REPORT_PATH} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Encoding: zstd\r\nContent-Length: {}\r\n\r\n",
        key(number).expose(),
        body.len()
    )
    .into_bytes();
    request.extend(body);
    request
}

/// A whole request that parks until there is a document.
#[must_use]
pub fn poll_request(number: u32) -> Vec<u8> {
    let key = key(number);
    format!(
        "GET {POLL_PATH}?wait=300 HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {}\r\n\r\n",
        key.expose()
    )
    .into_bytes()
}

fn report(number: u32, variant: usize) -> Vec<u8> {
    let node = NodeName::new("pve1").expect("a plain word");
    let mut report = HostReport {
        version: REPORT_VERSION,
        sent_at: jiff::Timestamp::UNIX_EPOCH,
        metrics: Metrics::default(),
        state: HostState {
            host_id: host_id(number),
            agent_version: "0.1.0".to_owned(),
            generation: GenerationState { received: Some(Generation(7)), ..GenerationState::default() },
            node: NodeState::Present { node, pve_version: "9.0.11".to_owned() },
            guests: Vec::new(),
            unmanaged: Vec::new(),
            storage: Vec::new(),
            drives: Vec::new(),
            tunnel: None,
            journal_open: 0,
            ops: OpsState::default(),
        },
    };
    loop {
        let json = serde_json::to_vec(&report).expect("a report is plain data");
        if json.len() >= REPORT_BYTES {
            return json;
        }
        let at = report.state.guests.len();
        report.state.guests.push(guest(number, at, at == variant));
    }
}

fn guest(number: u32, at: usize, stopped: bool) -> GuestReport {
    let vmid = 101 + u32::try_from(at).expect("a few dozen guests");
    // Ids that do not compress, as real ones do not.
    let id = u128::from(vmid) << 32 | u128::from(number);
    let id = id.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let status = if stopped { "stopped" } else { "running" };
    GuestReport {
        guest_id: GuestId(uuid::Builder::from_random_bytes(id.to_be_bytes()).into_uuid()),
        vmid: Vmid::new(vmid).expect("within PVE's bounds"),
        kind: GuestKind::Lxc,
        name: format!("service-{at}"),
        outcome: Outcome::Converged,
        observed: Observed::Present { status: status.to_owned(), lock: None, pending: Vec::new() },
        steps: Vec::new(),
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_of_the_promised_size_and_differ() {
        let (one, other) = (report(5, 0), report(5, 1));
        assert!((REPORT_BYTES..REPORT_BYTES + 512).contains(&one.len()), "{}", one.len());
        assert_ne!(one, other);
        let read: HostReport = serde_json::from_slice(&one).unwrap();
        assert_eq!(read.state.host_id, host_id(5));
    }
}
