//! Documents that are not a desired state, each with the code and the words by which it is refused.
//!
//! The files under `vectors/desired` differ from a good document in one place each.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use felhom_shared::desired::{DesiredError, DesiredState};
use felhom_shared::limits::{DESIRED_BYTES_MAX, GUESTS_MAX};

const UNKNOWN: &str = "desired_unknown_field";
const MALFORMED: &str = "desired_malformed";
const INVALID: &str = "desired_invalid";

/// File, code, and a part of the reason.
#[rustfmt::skip]
const VECTORS: &[(&str, &str, &str)] = &[
    ("tunnel_unknown_field", UNKNOWN, "unknown field `hostname`"),
    ("tunnel_cf_api_token", UNKNOWN, "unknown field `api_token`"),
    ("tunnel_token_value", UNKNOWN, "unknown field `value`"),
    ("tunnel_program_url", UNKNOWN, "unknown field `program`"),
    ("tunnel_token_itself", MALFORMED, "SecretRef"),
    ("tunnel_secret_path", MALFORMED, "not a valid secret's name"),
    ("tunnel_secret_upper", MALFORMED, "not a valid secret's name"),
    ("tunnel_sha_short", MALFORMED, "64 lower-case hex digits"),
    ("tunnel_program_upper", MALFORMED, "64 lower-case hex digits"),
    ("tunnel_without_token", INVALID, "a tunnel needs its token"),
    ("tunnel_absent_with_token", INVALID, "to be absent has no token"),
    ("tunnel_revert_14", INVALID, "15 to 900"),
    ("tunnel_revert_901", INVALID, "15 to 900"),
    ("unknown_field_top", UNKNOWN, "unknown field `backup`"),
    ("unknown_field_identity", UNKNOWN, "unknown field `city`"),
    ("unknown_field_guest", UNKNOWN, "unknown field `cpu`"),
    ("unknown_field_template", UNKNOWN, "unknown field `size`"),
    ("unknown_field_disk", UNKNOWN, "unknown field `format`"),
    ("unknown_field_mount", UNKNOWN, "unknown field `acl`"),
    ("unknown_field_mount_volume", UNKNOWN, "unknown field `quota`"),
    ("unknown_field_network", UNKNOWN, "unknown field `ip6`"),
    ("unknown_field_features", UNKNOWN, "unknown field `keyctl`"),
    ("unknown_field_startup", UNKNOWN, "unknown field `delay`"),
    ("unknown_field_window", UNKNOWN, "unknown field `end`"),
    ("unknown_field_clone", UNKNOWN, "unknown field `full`"),
    ("unknown_field_checksum", UNKNOWN, "unknown field `salt`"),
    ("unknown_field_image", UNKNOWN, "unknown field `boot`"),
    ("unknown_kind", UNKNOWN, "unknown variant `openvz`"),
    ("unknown_source", UNKNOWN, "unknown variant `backup`"),
    ("unknown_presence", UNKNOWN, "unknown variant `destroyed`"),
    ("unknown_power", UNKNOWN, "unknown variant `reset`"),
    ("unknown_checksum_md5", UNKNOWN, "unknown variant `md5`"),
    ("unknown_weekday", UNKNOWN, "unknown variant `sunday`"),
    ("version_2", INVALID, "version: it is 2"),
    ("version_missing", MALFORMED, "missing field `version`"),
    ("version_text", MALFORMED, "invalid type: string \"1\""),
    ("twin_guest_id", INVALID, "guests[other].guest_id: two guests"),
    ("twin_vmid", INVALID, "two guests have vmid 101"),
    ("twin_name_in_other_case", INVALID, "guests[WEB].name: two guests"),
    ("name_empty", MALFORMED, "must not be empty"),
    ("name_dotted", MALFORMED, "letters, digits and hyphens"),
    ("name_hyphen_first", MALFORMED, "begin or end with a hyphen"),
    ("name_too_long", MALFORMED, "longer than 63"),
    ("name_newline", MALFORMED, "letters, digits and hyphens"),
    ("name_bidi", MALFORMED, "letters, digits and hyphens"),
    ("name_nul", MALFORMED, "letters, digits and hyphens"),
    ("name_homoglyph", MALFORMED, "letters, digits and hyphens"),
    ("name_option", MALFORMED, "letters, digits and hyphens"),
    ("identity_name_space", MALFORMED, "letters, digits and hyphens"),
    ("guest_id_not_uuid", MALFORMED, "UUID"),
    ("vmid_99", MALFORMED, "100 to 999999999"),
    ("vmid_too_large", MALFORMED, "100 to 999999999"),
    ("vmid_negative", MALFORMED, "invalid value: integer `-1`"),
    ("vmid_float", MALFORMED, "invalid type: floating point"),
    ("vmid_text", MALFORMED, "invalid type: string"),
    ("vmid_beyond_u32", MALFORMED, "invalid value: integer `4294967397`"),
    ("vmid_null", MALFORMED, "invalid type: null"),
    ("storage_path", MALFORMED, "is not a valid storage"),
    ("storage_option", MALFORMED, "is not a valid storage"),
    ("storage_colon", MALFORMED, "is not a valid storage"),
    ("storage_digit_first", MALFORMED, "is not a valid storage"),
    ("file_traversal", MALFORMED, "is not a valid file name"),
    ("file_absolute", MALFORMED, "is not a valid file name"),
    ("file_hidden", MALFORMED, "is not a valid file name"),
    ("file_option", MALFORMED, "is not a valid file name"),
    ("file_slash", MALFORMED, "is not a valid file name"),
    ("tag_upper", MALFORMED, "is not a valid tag"),
    ("tag_separator", MALFORMED, "is not a valid tag"),
    ("tag_space", MALFORMED, "is not a valid tag"),
    ("source_missing", MALFORMED, "missing field `source`"),
    ("source_two_kinds", MALFORMED, "expected"),
    ("source_image_for_container", INVALID, "made from `template` or `clone`"),
    ("source_template_for_machine", INVALID, "made from `image` or `clone`"),
    ("source_clone_of_itself", INVALID, "cannot be cloned from itself"),
    ("url_without_checksum", INVALID, "a `url` needs a `checksum`"),
    ("url_file_scheme", INVALID, "http or https"),
    ("checksum_short", INVALID, "64 lower-case hex"),
    ("checksum_upper", INVALID, "64 lower-case hex"),
    ("checksum_sha512_length", INVALID, "128 lower-case hex"),
    ("cores_zero", INVALID, "guests[web].cores"),
    ("cores_8193", INVALID, "guests[web].cores"),
    ("cores_negative", MALFORMED, "invalid value: integer `-2`"),
    ("memory_float", MALFORMED, "invalid type: floating point"),
    ("memory_exponent", MALFORMED, "invalid type: floating point"),
    ("memory_tiny", INVALID, "guests[web].memory_mib"),
    ("memory_huge", INVALID, "guests[web].memory_mib"),
    ("swap_negative", MALFORMED, "invalid value"),
    ("disk_zero", INVALID, "disks.rootfs.size_gib"),
    ("disk_huge", INVALID, "disks.rootfs.size_gib"),
    ("disk_text_unit", MALFORMED, "invalid type: string"),
    ("number_beyond_u64", MALFORMED, ""),
    ("disks_missing", MALFORMED, "missing field `disks`"),
    ("disks_empty", INVALID, "exactly one disk, `rootfs`"),
    ("container_with_scsi", INVALID, "exactly one disk, `rootfs`"),
    ("machine_without_disk", INVALID, "a guest needs a disk"),
    ("machine_disk_key_option", INVALID, "not a disk key"),
    ("machine_disk_key_31", INVALID, "not a disk key"),
    ("machine_disk_key_leading_zero", INVALID, "not a disk key"),
    ("machine_with_swap", INVALID, "swap_mib: only containers"),
    ("machine_with_mount", INVALID, "mounts: only containers"),
    ("machine_with_features", INVALID, "features: only containers"),
    ("machine_privileged", INVALID, "unprivileged: only containers"),
    ("mount_path_relative", INVALID, "mounts.mp0.path: it must be an absolute path"),
    ("mount_path_root", INVALID, "mounts.mp0.path: it must be an absolute path"),
    ("mount_path_traversal", INVALID, "mounts.mp0.path: it must be an absolute path"),
    ("mount_path_option", INVALID, "mounts.mp0.path: it must be an absolute path"),
    ("mount_path_newline", INVALID, "mounts.mp0.path: it must be an absolute path"),
    ("mount_path_bidi", INVALID, "mounts.mp0.path: it must be an absolute path"),
    ("mount_key", INVALID, "not a mount point key"),
    ("mount_bind_traversal", INVALID, "mounts.mp0.source.bind"),
    ("net_bridge_option", INVALID, "net0.bridge: not an interface name"),
    ("net_bridge_long", INVALID, "net0.bridge: not an interface name"),
    ("net_name_option", INVALID, "net0.name: not an interface name"),
    ("net_name_control", INVALID, "net0.name: not an interface name"),
    ("net_vlan_0", INVALID, "net0.vlan"),
    ("net_vlan_4095", INVALID, "net0.vlan"),
    ("net_vlan_beyond_u16", MALFORMED, "invalid value: integer `65536`"),
    ("net_ip_option", INVALID, "net0.ip"),
    ("net_ip_no_prefix", INVALID, "net0.ip"),
    ("net_ip_prefix_33", INVALID, "net0.ip"),
    ("net_ip_prefix_0", INVALID, "net0.ip"),
    ("net_ip_unspecified", INVALID, "net0.ip"),
    ("net_ip_v6_as_v4", INVALID, "net0.ip"),
    ("net_ip_octal", INVALID, "net0.ip"),
    ("net_gateway_name", MALFORMED, "invalid IP address syntax"),
    ("net_mac_lower", INVALID, "net0.mac"),
    ("net_mac_multicast", INVALID, "net0.mac"),
    ("net_mac_short", INVALID, "net0.mac"),
    ("net_mac_option", INVALID, "net0.mac"),
    ("net_key", INVALID, "not a network key"),
    ("machine_with_ip", INVALID, "only containers get their address"),
    ("description_control", INVALID, "description"),
    ("description_long", INVALID, "description"),
    ("window_zero_minutes", INVALID, "maintenance_window.minutes"),
    ("window_two_days", INVALID, "maintenance_window.minutes"),
    ("window_zone_injection", INVALID, "timezone"),
    ("window_zone_empty", INVALID, "maintenance_window.timezone"),
    ("window_start_25", MALFORMED, ""),
    ("drive_unknown_field", UNKNOWN, "unknown field `device`"),
    ("drive_action_wipe", UNKNOWN, "unknown variant `wipe`"),
    ("drive_role_unknown", UNKNOWN, "unknown variant `swap`"),
    ("drive_filesystem_ntfs", UNKNOWN, "unknown variant `ntfs`"),
    ("drive_content_snippets", UNKNOWN, "unknown variant `snippets`"),
    ("drive_by_device", INVALID, "storage[photos].durable_id: it must be as the box reports it"),
    ("drive_by_path", INVALID, "storage[photos].durable_id"),
    ("drive_id_empty", INVALID, "storage[photos].durable_id"),
    ("drive_without_content", INVALID, "storage[photos].content: it must say"),
    ("drive_backup_with_guests", INVALID, "a storage for backup does not hold rootdir"),
    ("drive_files_with_images", INVALID, "a storage for files does not hold images"),
    ("drive_format_without_filesystem", INVALID, "storage[photos].filesystem"),
    ("drive_format_by_contents", INVALID, "named as a whole"),
    ("drive_twice", INVALID, "storage[other].durable_id: two entries name this drive"),
    ("drive_name_twice", INVALID, "storage[PHOTOS].storage: two entries"),
    ("drive_name_path", MALFORMED, "is not a valid storage"),
    ("drive_label_control", INVALID, "storage[photos].label"),
    ("empty", MALFORMED, "EOF"),
    ("cut_off", MALFORMED, "EOF"),
    ("two_documents", MALFORMED, "trailing characters"),
    ("array", MALFORMED, "invalid"),
    ("nan", MALFORMED, "expected"),
    ("comment", MALFORMED, "key must be a string"),
    ("duplicate_key_guests", MALFORMED, "duplicate field `guests`"),
    ("duplicate_key_vmid", MALFORMED, "duplicate field `vmid`"),
    ("deep_nesting", MALFORMED, "invalid type: sequence"),
    ("lone_surrogate", MALFORMED, "hex escape"),
    ("guests_null", MALFORMED, "invalid type: null"),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn good() -> String {
    fs::read_to_string(folder().join("golden/desired_v1_least.json")).unwrap()
}

fn refusal(text: &str) -> DesiredError {
    DesiredState::from_json(text.as_bytes()).expect_err("it should have been refused")
}

#[test]
fn every_vector_is_refused_with_its_code_and_reason() {
    let mut wrong = Vec::new();
    for (name, code, fragment) in VECTORS {
        let bytes = fs::read(folder().join(format!("vectors/desired/{name}.json"))).unwrap();
        match DesiredState::from_json(&bytes) {
            Ok(_) => wrong.push(format!("{name} was accepted")),
            Err(error) if error.code() == *code && error.to_string().contains(fragment) => {}
            Err(error) => wrong.push(format!("{name}: {} {error}", error.code())),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), VECTORS.len(), wrong.join("\n"));
}

#[test]
fn every_file_among_the_vectors_is_in_the_table() {
    let files: BTreeSet<String> = fs::read_dir(folder().join("vectors/desired"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let table: BTreeSet<String> = VECTORS.iter().map(|(name, _, _)| format!("{name}.json")).collect();
    assert_eq!(files, table);
    assert_eq!(table.len(), VECTORS.len(), "a vector stands in the table twice");
}

#[test]
fn the_document_that_the_vectors_spoil_is_good() {
    DesiredState::from_json(good().as_bytes()).unwrap();
}

#[test]
fn a_document_beyond_the_limit_is_refused_before_it_is_read() {
    let padded = format!("{}{}", good(), " ".repeat(DESIRED_BYTES_MAX));
    assert_eq!(refusal(&padded).code(), "desired_too_large");
    let garbage = "[".repeat(2 * DESIRED_BYTES_MAX);
    assert_eq!(refusal(&garbage).code(), "desired_too_large");
}

#[test]
fn more_guests_than_the_limit_are_refused() {
    let mut state = DesiredState::from_json(good().as_bytes()).unwrap();
    let one = state.guests.remove(0);
    state.guests = vec![one; GUESTS_MAX + 1];
    let error = state.check().unwrap_err();
    assert!(error.to_string().contains("501 guests"), "{error}");
}

#[test]
fn a_refusal_shows_no_raw_control_characters() {
    for (name, ..) in VECTORS.iter().filter(|(name, ..)| name.starts_with("name_")) {
        let bytes = fs::read(folder().join(format!("vectors/desired/{name}.json"))).unwrap();
        let text = DesiredState::from_json(&bytes).unwrap_err().to_string();
        assert!(
            !text.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)),
            "{name}: {text:?}"
        );
    }
}
