//! The steps as the journal stores them, frozen: an agent must read what its predecessor was doing when it was
//! replaced. `FELHOM_GOLDEN=write` writes the file anew where a change is meant.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use felhom_agent::host::command::{MarkDrive, MountDrive, UnmountDrive};
use felhom_agent::host::marker::Marker;
use felhom_agent::resources::storage::step::{
    AssignStep, ChangeStorage, DetachStep, FormatStep, ReplaceStep, StorageStep,
};
use felhom_agent::resources::tunnel::step::{RevertTunnel, TunnelStep, Wanted};
use felhom_agent::step::{
    ClearUnfinished, CloneGuest, CreateGuest, DestroyGuest, FetchFile, GrowDisk, RestoreGuest, RollbackGuest,
    SetConfig, Step,
};
use felhom_shared::desired::{Checksum, ChecksumAlgorithm, ContentType, Filesystem, StorageRole};
use felhom_shared::drive::DurableId;
use felhom_shared::id::{FileName, HostId, Sha256Hex, StorageId, Vmid};
use felhom_shared::signed::OpId;
use uuid::Uuid;

fn storage(text: &str) -> StorageId {
    StorageId::new(text).unwrap()
}

fn params(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn grant() -> OpId {
    OpId::of(b"an envelope")
}

fn mount() -> StorageStep {
    StorageStep::MountDrive(MountDrive {
        storage: storage("photos"),
        id: file_system(),
        filesystem: Filesystem::Ext4,
    })
}

fn uuid() -> Uuid {
    Uuid::from_u128(0xb3d5_f7a1_22c4_4e0e_8c61_5d1f_9f3c_7e20)
}

fn file_system() -> DurableId {
    DurableId::of_contents(&uuid().to_string(), None).unwrap()
}

fn marker() -> Marker {
    Marker {
        version: 1,
        drive_id: uuid(),
        host_id: HostId(uuid()),
        storage: storage("photos"),
        role: StorageRole::Files,
    }
}

fn after_on_storage(step: &StorageStep) -> Option<StorageStep> {
    Some(match step {
        StorageStep::MountDrive(_) => {
            StorageStep::MarkDrive(MarkDrive { id: file_system(), marker: marker() })
        }
        StorageStep::MarkDrive(_) => StorageStep::UnmountDrive(UnmountDrive { storage: storage("photos") }),
        StorageStep::UnmountDrive(_) => {
            StorageStep::DefineStorage(params(&[("content", "backup"), ("is_mountpoint", "1")]))
        }
        StorageStep::DefineStorage(_) => StorageStep::ChangeStorage(ChangeStorage {
            set: params(&[("content", "backup,iso")]),
            delete: vec!["disable".to_owned()],
            digest: "287724b0".to_owned(),
        }),
        StorageStep::ChangeStorage(_) => StorageStep::FormatDrive(FormatStep {
            grant: grant(),
            filesystem: Filesystem::Xfs,
            drive: "Elements, serial number WX41, 2000 GB".to_owned(),
        }),
        StorageStep::FormatDrive(_) => StorageStep::AssignStorage(AssignStep {
            grant: grant(),
            id: file_system(),
            marker: marker(),
            content: [ContentType::Backup].into(),
            digest: "287724b0".to_owned(),
        }),
        StorageStep::AssignStorage(_) => StorageStep::DetachStorage(DetachStep { grant: grant() }),
        StorageStep::DetachStorage(_) => StorageStep::ReplaceDrive(ReplaceStep {
            grant: grant(),
            durable_id: DurableId::of_partition("aa0d1f7e-01").unwrap(),
        }),
        StorageStep::ReplaceDrive(_) => return None,
    })
}

fn tunnel() -> Wanted {
    Wanted { token_sha256: Sha256Hex::of(b"a token"), program_sha256: Sha256Hex::of(b"a program") }
}

fn after_on_tunnel(step: &TunnelStep) -> Option<TunnelStep> {
    Some(match step {
        TunnelStep::TryTunnel(_) => TunnelStep::StopTunnel,
        TunnelStep::StopTunnel => TunnelStep::KeepTunnel,
        TunnelStep::KeepTunnel => TunnelStep::StartTunnel,
        TunnelStep::StartTunnel => TunnelStep::RevertTunnel(RevertTunnel {
            tried: Some(tunnel()),
            hub_heard: true,
            why: "it had no connection after 60 s".to_owned(),
        }),
        TunnelStep::RevertTunnel(_) => return None,
    })
}

/// Every kind of step once; a new one does not compile until it stands here.
fn after(step: &Step) -> Option<Step> {
    Some(match step {
        Step::FetchFile(_) => Step::CreateGuest(CreateGuest {
            params: params(&[("cores", "2"), ("rootfs", "local-lvm:8")]),
            allocates_on: vec![storage("local-lvm")],
            grant: None,
        }),
        Step::CreateGuest(create) if create.grant.is_none() => {
            Step::CreateGuest(CreateGuest { grant: Some(grant()), ..create.clone() })
        }
        Step::CreateGuest(_) => Step::CloneGuest(CloneGuest {
            source: Vmid::new(9000).unwrap(),
            params: params(&[("full", "1")]),
            allocates_on: vec![],
        }),
        Step::CloneGuest(_) => Step::SetConfig(SetConfig {
            set: params(&[("memory", "1024"), ("tags", "app;felhom")]),
            delete: vec!["description".to_owned()],
            digest: "287724b0".to_owned(),
            allocates_on: vec![storage("local-lvm")],
        }),
        Step::SetConfig(_) => Step::GrowDisk(GrowDisk {
            slot: "rootfs".to_owned(),
            size_gib: 16,
            storage: storage("local-lvm"),
        }),
        Step::GrowDisk(_) => Step::StartGuest,
        Step::StartGuest => Step::ShutdownGuest { timeout_s: 180 },
        Step::ShutdownGuest { .. } => Step::RebootGuest { timeout_s: 180 },
        Step::RebootGuest { .. } => Step::DestroyGuest(DestroyGuest { grant: grant() }),
        Step::DestroyGuest(_) => {
            Step::RollbackGuest(RollbackGuest { grant: grant(), snapshot: "before".to_owned() })
        }
        Step::RollbackGuest(_) => Step::RestoreGuest(RestoreGuest {
            grant: grant(),
            volid: "backup:backup/vzdump-lxc-101-2026_01_02-03_04_05.tar.zst".to_owned(),
        }),
        Step::RestoreGuest(_) => Step::ClearUnfinished(ClearUnfinished {
            task: "UPID:pve1:00000001:00000001:66000000:vzcreate:101:felhom@pve!agent:".to_owned(),
        }),
        Step::ClearUnfinished(_) => Step::Storage(mount()),
        Step::Storage(StorageStep::ReplaceDrive(_)) => Step::Tunnel(TunnelStep::TryTunnel(tunnel())),
        Step::Storage(step) => Step::Storage(after_on_storage(step)?),
        Step::Tunnel(step) => Step::Tunnel(after_on_tunnel(step)?),
    })
}

fn every_step() -> Vec<Step> {
    let first = Step::FetchFile(FetchFile {
        storage: storage("local"),
        file: FileName::new("debian-12.tar.zst").unwrap(),
        content: "vztmpl".to_owned(),
        url: "https://images.example/debian-12.tar.zst".to_owned(),
        checksum: Checksum { algorithm: ChecksumAlgorithm::Sha256, value: "0f".repeat(32) },
    });
    std::iter::successors(Some(first), after).collect()
}

#[test]
fn steps_in_the_journal_are_frozen() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/steps.json");
    let now = format!("{}\n", serde_json::to_string_pretty(&every_step()).unwrap());
    if std::env::var("FELHOM_GOLDEN").is_ok_and(|word| word == "write") {
        std::fs::write(&path, &now).unwrap();
    }
    let then = std::fs::read_to_string(&path).unwrap();
    assert_eq!(now, then, "if that is meant, freeze it with FELHOM_GOLDEN=write");
    assert_eq!(serde_json::from_str::<Vec<Step>>(&then).unwrap(), every_step());
}
