//! Answers recorded from a real PVE 9.2, where the folder with them lies beside the repository.

use std::fs;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::Refusal;
use super::{
    GuestListEntry, NodeEntry, NodeStatus, PropertyString, PveError, StorageStatus, TaskEntry, TaskExit,
    Upid, Version, Volume,
};

/// All samples by file name; empty, and said so, where there are none.
fn samples() -> Vec<(String, Value)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/pve/samples");
    let Ok(entries) = fs::read_dir(&dir) else {
        println!("skipped: no recorded answers in {}", dir.display());
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_slice(&fs::read(&path).unwrap()).unwrap())
        })
        .collect()
}

fn read<T: DeserializeOwned>(name: &str, data: &Value) -> T {
    serde_json::from_value(data.clone()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The path without host-specific parts: `/nodes/*/lxc/*/config`.
fn shape(path: &str) -> String {
    let path = path.trim_start_matches("/api2/json").split('?').next().unwrap();
    let parts: Vec<_> = path.split('/').collect();
    let generic =
        parts.iter().enumerate().map(|(at, part)| match at.checked_sub(1).map(|before| parts[before]) {
            Some("nodes" | "lxc" | "qemu" | "tasks" | "storage") => "*",
            _ => part,
        });
    generic.collect::<Vec<_>>().join("/")
}

#[test]
fn every_recorded_success_is_understood() {
    for (name, sample) in samples() {
        if sample["http_status"] != 200 {
            continue;
        }
        let data = &sample["body"]["data"];
        if let Some(upid) = data.as_str().filter(|text| text.starts_with("UPID:")) {
            assert_eq!(upid.parse::<Upid>().unwrap().as_str(), upid, "{name}");
        }
        if sample["method"] != "GET" {
            continue;
        }
        match shape(sample["path"].as_str().unwrap()).as_str() {
            "/version" => drop(read::<Version>(&name, data)),
            "/nodes" => drop(read::<Vec<NodeEntry>>(&name, data)),
            "/nodes/*/status" => drop(read::<NodeStatus>(&name, data)),
            "/nodes/*/lxc" | "/nodes/*/qemu" => drop(read::<Vec<GuestListEntry>>(&name, data)),
            "/nodes/*/lxc/*/status/current" | "/nodes/*/qemu/*/status/current" => {
                drop(read::<GuestListEntry>(&name, data));
            }
            "/nodes/*/storage" => drop(read::<Vec<StorageStatus>>(&name, data)),
            "/nodes/*/storage/*/content" => drop(read::<Vec<Volume>>(&name, data)),
            "/nodes/*/tasks" => drop(read::<Vec<TaskEntry>>(&name, data)),
            "/nodes/*/tasks/*/status" => {
                if let Some(exit) = data["exitstatus"].as_str() {
                    assert!(!matches!(TaskExit::parse(exit), TaskExit::Unknown(_)), "{name}: {exit}");
                }
            }
            _ => {}
        }
    }
}

#[test]
fn every_recorded_refusal_has_a_text_and_the_telling_ones_a_cause() {
    let telling = [
        ("lxc-create-exists", "pve_already_exists"),
        ("lxc-config-put-stale", "pve_digest_mismatch"),
        ("qemu-config-put-stale", "pve_digest_mismatch"),
        ("lxc-locked-config-put", "pve_locked"),
        ("lxc-config-lock-timeout", "pve_lock_timeout"),
        ("lxc-destroy-protected", "pve_protected"),
        ("lxc-destroy-running", "pve_still_running"),
        ("lxc-start-running", "pve_already_running"),
        ("lxc-stop-stopped", "pve_not_running"),
        ("err-500-lxc-noconfig", "pve_not_found"),
        ("err-401-no-auth", "pve_unauthorized"),
        ("err-403-low-lxc-create", "pve_forbidden"),
        ("err-595-post", "pve_outcome_unknown"),
    ];
    let samples = samples();
    for (name, sample) in &samples {
        let status = sample["http_status"].as_u64().unwrap_or(200);
        if status < 400 {
            continue;
        }
        let error = PveError::from_answer(&Refusal {
            call: name,
            changing: sample["method"] != "GET",
            status: u16::try_from(status).unwrap(),
            reason: sample["reason"].as_str().unwrap().to_owned(),
            message: sample["body"]["message"].as_str().map(str::to_owned),
            errors: serde_json::from_value(sample["body"]["errors"].clone()).unwrap_or_default(),
        });
        assert!(!error.to_string().contains("no reason given"), "{name}");
        if let Some((_, code)) = telling.iter().find(|(telling, _)| telling == name) {
            assert_eq!(error.code(), *code, "{name}");
        }
    }
    let found = |wanted: &str| samples.iter().any(|(name, _)| name == wanted);
    assert!(samples.is_empty() || telling.iter().all(|(name, _)| found(name)), "a sample was renamed");
}

#[test]
fn every_recorded_configuration_parses_by_the_kind_of_its_keys() {
    use felhom_shared::desired::GuestKind;

    use super::PropertyKind as K;
    for (name, sample) in samples() {
        let path = shape(sample["path"].as_str().unwrap_or_default());
        let guest = match path.as_str() {
            "/nodes/*/lxc/*/config" => GuestKind::Lxc,
            "/nodes/*/qemu/*/config" => GuestKind::Qemu,
            _ => continue,
        };
        let Some(values) = sample["body"]["data"].as_object() else { continue };
        for (key, value) in values {
            let kind = K::of(guest, key);
            let value = super::lenient::text_of(value);
            let plain = matches!(kind, K::Tags | K::Description | K::Boolean | K::Number | K::Text);
            if !plain {
                let parsed = PropertyString::of_kind(kind, &value).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert!(super::same_meaning(&parsed.to_string(), &value, kind), "{name}: {key}");
            }
        }
    }
}
