//! Reports in which every outcome, reading, step end and note occurs.

use std::collections::BTreeMap;

use felhom_shared::desired::{GuestKind, StorageRole};
use felhom_shared::drive::{Content, DriveReport, DurableId, Hardware};
use felhom_shared::id::{Generation, HostId, NodeName, Sha256Hex, StorageId};
use felhom_shared::report::{
    Class, CycleCost, DocumentRefusal, Failure, ForeignTunnel, GenerationState, GuestReport, HostReport,
    HostState, LedgerHead, Metrics, NodeState, Note, NoteKind, Observed, OpsState, Outcome, PendingOp,
    Readiness, Receipt, ReceiptState, StepOutcome, StepReport, StorageReport, StorageUse, TunnelReadiness,
    TunnelReport, UnmanagedGuest,
};

use super::{at, guest_id, uuid, vmid};

/// Every readiness once.
fn storages() -> Vec<StorageReport> {
    let after = |readiness: &Readiness| match readiness {
        Readiness::Unplugged => Some(Readiness::Attached),
        Readiness::Attached => Some(Readiness::Mounted),
        Readiness::Mounted => Some(Readiness::Ready),
        Readiness::Ready => Some(Readiness::Unknown),
        Readiness::Unknown => None,
    };
    let all = std::iter::successors(Some(Readiness::Unplugged), after).zip(0xa1..);
    let report = |(readiness, number): (Readiness, u128)| StorageReport {
        storage: StorageId::new(format!("storage-{}", readiness.word())).unwrap(),
        durable_id: DurableId::of_contents(&uuid(number).to_string(), None).unwrap(),
        role: StorageRole::Backup,
        outcome: if readiness == Readiness::Ready { Outcome::Converged } else { Outcome::Waiting },
        readiness,
        name: (readiness == Readiness::Ready).then(|| "sdb1".to_owned()),
        steps: Vec::new(),
        notes: Vec::new(),
    };
    let mut reports: Vec<StorageReport> = all.map(report).collect();
    reports[0].notes.push(Note {
        kind: NoteKind::Waiting,
        code: "drive_unplugged".to_owned(),
        text: "the drive of storage-unplugged is not attached: plug it in, and the box goes on by itself"
            .to_owned(),
    });
    reports
}

pub(crate) fn present() -> HostReport {
    let outcomes = std::iter::successors(Some(Outcome::Converged), |outcome| after(*outcome));
    let guests = outcomes.zip(1..).map(|(outcome, number)| guest(number, outcome)).collect();
    HostReport {
        version: 1,
        sent_at: at("2026-11-24T02:10:00Z"),
        metrics: metrics(),
        state: HostState {
            host_id: HostId(uuid(0xf0)),
            agent_version: "0.1.0".to_owned(),
            generation: GenerationState {
                received: Some(Generation(8)),
                received_digest: Some("5e".repeat(32)),
                reached: Some(Generation(7)),
                refused: Some(DocumentRefusal {
                    generation: Generation(6),
                    code: "generation_older".to_owned(),
                    text: "generation 6 is older than 8, which is in force".to_owned(),
                }),
            },
            node: NodeState::Present {
                node: NodeName::new("pve1").unwrap(),
                pve_version: "9.0.11".to_owned(),
            },
            guests,
            unmanaged: vec![
                UnmanagedGuest {
                    vmid: vmid(300),
                    kind: GuestKind::Qemu,
                    name: "theirs".to_owned(),
                    status: "running".to_owned(),
                    marked: false,
                },
                UnmanagedGuest {
                    vmid: vmid(301),
                    kind: GuestKind::Lxc,
                    name: "once-ours".to_owned(),
                    status: "stopped".to_owned(),
                    marked: true,
                },
            ],
            storage: storages(),
            drives: drives(),
            tunnel: Some(tunnel()),
            journal_open: 1,
            ops: OpsState {
                keyset_version: Some(2),
                keyset_digest: Some("4b".repeat(32)),
                pending: vec![PendingOp {
                    op: "guest.destroy".to_owned(),
                    target: serde_json::json!({"host_id": uuid(0xf0), "guest_id": uuid(1)}),
                    params: serde_json::json!({"expect": {"vmid": 101, "name": "web", "config_digest": "0d".repeat(20)}}),
                    code: "destroy_needs_signature".to_owned(),
                    text: "destroying web (vmid 101) waits for a signature".to_owned(),
                }],
                receipts: receipts(),
                ledger: Some(LedgerHead { seq: 12, head: "1e".repeat(32) }),
            },
        },
    }
}

/// One with everything said of it.
fn tunnel() -> TunnelReport {
    TunnelReport {
        outcome: Some(Outcome::Waiting),
        readiness: TunnelReadiness::Unconnected,
        token_sha256: Some(Sha256Hex::of(b"a token")),
        program_sha256: Some(Sha256Hex::of(b"a program")),
        version: Some("2026.11.0".to_owned()),
        on_trial: true,
        steps: Vec::new(),
        notes: vec![Note {
            kind: NoteKind::Waiting,
            code: "tunnel_on_trial".to_owned(),
            text: "the new token is tried".to_owned(),
        }],
        foreign: vec![ForeignTunnel {
            unit: "cloudflared.service".to_owned(),
            token_in_unit: true,
            updates_itself: true,
        }],
    }
}

fn metrics() -> Metrics {
    Metrics {
        load1: 0.25,
        cpus: 16,
        memory_used_bytes: 9_663_676_416,
        memory_total_bytes: 68_719_476_736,
        uptime_s: 9258,
        storages: BTreeMap::from([
            ("local".to_owned(), StorageUse { used_bytes: 1 << 30, total_bytes: 100 << 30, active: true }),
            ("usb".to_owned(), StorageUse { used_bytes: 0, total_bytes: 0, active: false }),
        ]),
        cycle: CycleCost { duration_ms: 812, requests: 9, changing_requests: 2 },
        tunnel_connections: Some(4),
    }
}

/// One with everything said of it, and one of which hardly anything is.
fn drives() -> Vec<DriveReport> {
    let hardware = Hardware {
        wwn: Some("eui.0025388b910d4a3c"),
        serial: Some("S4X1NF0M"),
        model: "Disk",
        size_bytes: 1 << 40,
    };
    let data = Content {
        name: "nvme0n1p1".to_owned(),
        known_by: [DurableId::of_contents("5A1E-0F2B", None), DurableId::of_partition("0d9be3f7-01")]
            .into_iter()
            .flatten()
            .collect(),
        size_bytes: 1 << 39,
        format: Some("ext4".to_owned()),
        label: Some("data".to_owned()),
        mounted_at: vec!["/mnt/data".to_owned()],
        held_by: vec!["dm-0 (vg-data)".to_owned()],
    };
    let whole = DriveReport {
        name: "nvme0n1".to_owned(),
        durable_id: DurableId::of_hardware(&hardware),
        kind: "nvme".to_owned(),
        size_bytes: hardware.size_bytes,
        model: Some(hardware.model.to_owned()),
        serial: hardware.serial.map(str::to_owned),
        wwn: hardware.wwn.map(str::to_owned),
        health: Some("PASSED".to_owned()),
        life_left_percent: Some(97),
        read_only: true,
        system: true,
        contents: vec![data],
        problems: vec![Failure {
            code: "drive_identity_shared".to_owned(),
            text: "sdb says the same of itself".to_owned(),
        }],
    };
    let least = DriveReport { name: "sdc".to_owned(), kind: "usb".to_owned(), ..DriveReport::default() };
    vec![whole, least]
}

pub(crate) fn unreadable() -> HostReport {
    let mut report = present();
    report.metrics = Metrics::default();
    report.state.generation = GenerationState::default();
    report.state.node = NodeState::Unreadable {
        code: "pve_unreachable".to_owned(),
        text: "pve cannot be reached: GET /version".to_owned(),
    };
    report.state.guests = vec![];
    report.state.unmanaged = vec![];
    report.state.drives = vec![];
    report.state.tunnel = None;
    report.state.journal_open = 0;
    report
}

fn after(outcome: Outcome) -> Option<Outcome> {
    Some(match outcome {
        Outcome::Converged => Outcome::Converging,
        Outcome::Converging => Outcome::Waiting,
        Outcome::Waiting => Outcome::Held,
        Outcome::Held => Outcome::Refused,
        Outcome::Refused => Outcome::Unreadable,
        Outcome::Unreadable => Outcome::Interrupted,
        Outcome::Interrupted => Outcome::Failed,
        Outcome::Failed => return None,
    })
}

fn guest(number: u32, outcome: Outcome) -> GuestReport {
    let observed = match outcome {
        Outcome::Unreadable => Observed::Unreadable,
        Outcome::Held | Outcome::Refused => Observed::Absent,
        Outcome::Waiting => Observed::Present {
            status: "running".to_owned(),
            lock: Some("backup".to_owned()),
            pending: vec!["cores".to_owned(), "memory".to_owned()],
        },
        _ => Observed::Present { status: "stopped".to_owned(), lock: None, pending: vec![] },
    };
    GuestReport {
        guest_id: guest_id(number.into()),
        vmid: vmid(100 + number),
        kind: if number.is_multiple_of(2) { GuestKind::Qemu } else { GuestKind::Lxc },
        name: format!("guest-{number}"),
        outcome,
        observed,
        steps: if outcome == Outcome::Failed { steps() } else { vec![] },
        notes: if outcome == Outcome::Failed { notes() } else { vec![] },
    }
}

fn steps() -> Vec<StepReport> {
    let after = |outcome: &StepOutcome| {
        Some(match outcome {
            StepOutcome::Applied => StepOutcome::AlreadyTrue,
            StepOutcome::AlreadyTrue => StepOutcome::Failed,
            StepOutcome::Failed => StepOutcome::NotAttempted,
            StepOutcome::NotAttempted => StepOutcome::Running,
            StepOutcome::Running => StepOutcome::Interrupted,
            StepOutcome::Interrupted => return None,
        })
    };
    let step = |outcome: StepOutcome| StepReport {
        step: "grow_disk".to_owned(),
        detail: "rootfs to 16 GiB".to_owned(),
        class: if outcome == StepOutcome::NotAttempted { Class::Guarded } else { Class::Routine },
        outcome,
        upid: (outcome == StepOutcome::Applied)
            .then(|| "UPID:pve1:000006A7:000E3FE9:6B056E1D:resize:101:felhom@pve!agent:".to_owned()),
        error: (outcome == StepOutcome::Failed).then(|| Failure {
            code: "pve_lock_timeout".to_owned(),
            text: "pve refuses (500): can't lock file - got timeout".to_owned(),
        }),
    };
    std::iter::successors(Some(StepOutcome::Applied), after).map(step).collect()
}

fn notes() -> Vec<Note> {
    let note = |kind: NoteKind| {
        let (code, text) = match kind {
            NoteKind::Held => ("destroy_needs_signature", "destroying old (vmid 108) waits for a signature"),
            NoteKind::Refused => ("disk_cannot_shrink", "a disk never shrinks"),
            NoteKind::Waiting => ("restart_pending", "cores take effect at the next restart"),
        };
        Note { kind, code: code.to_owned(), text: text.to_owned() }
    };
    [NoteKind::Held, NoteKind::Refused, NoteKind::Waiting].map(note).to_vec()
}

/// One of every state.
fn receipts() -> Vec<Receipt> {
    let states = [
        ReceiptState::Accepted,
        ReceiptState::Started,
        ReceiptState::Applied,
        ReceiptState::Failed,
        ReceiptState::Interrupted,
        ReceiptState::Rejected,
        ReceiptState::Expired,
    ];
    let receipt = |state: ReceiptState| Receipt {
        op_id: "0b".repeat(32),
        op: "guest.destroy".to_owned(),
        guest_id: Some(guest_id(1)),
        state,
        code: matches!(state, ReceiptState::Failed).then(|| "pve_refused".to_owned()),
        text: None,
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
    };
    states.map(receipt).to_vec()
}
