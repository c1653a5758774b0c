use super::*;

/// Runs a maintainer script with the machine's folders moved to `root`.
fn maintainer(script: &str, format: u32, root_folder: &Path, args: &[&str]) -> std::process::Output {
    let text = fs::read_to_string(root().join("packaging").join(script)).unwrap();
    let text = text
        .replace("@DATA_FORMAT@", &format.to_string())
        .replace("@VERSION@", "0.0.1")
        .replace("/var/lib/", &format!("{}/", root_folder.display()))
        .replace("/etc/felhom", &format!("{}/etc", root_folder.display()))
        .replace("/run/systemd/system", &format!("{}/no-systemd", root_folder.display()))
        .replace("/usr/bin/deb-systemd-helper", &format!("{}/no-helper", root_folder.display()))
        .replace("deb-systemd-helper ", "true ");
    Command::new("sh").arg("-c").arg(text).arg(script).args(args).env_remove("FELHOM_PURGE").output().unwrap()
}

#[test]
fn the_exposure_is_read_from_the_last_line() {
    assert_eq!(read_exposure("x\n\n→ Overall exposure level for a.service: 1.8 OK 🙂\n"), Some(1.8));
    assert_eq!(read_exposure("nothing"), None);
}

#[test]
fn a_downgrade_below_the_data_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("felhom");
    let upgrade = |format| maintainer("felhom-agent/preinst", format, folder.path(), &["upgrade", "0.9"]);
    assert!(upgrade(1).status.success(), "a first installation has no marker");
    let configured = maintainer("felhom-agent/postinst", 3, folder.path(), &["configure"]);
    assert!(configured.status.success(), "{}", String::from_utf8_lossy(&configured.stderr));
    assert_eq!(fs::read_to_string(state.join("data-format")).unwrap(), "3\n");
    assert!(upgrade(3).status.success() && upgrade(4).status.success());
    let refused = upgrade(2);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("has format 3") && said.contains("refused"), "{said}");
    // An older package that was let in does not lower what newer ones may have written.
    assert!(maintainer("felhom-agent/postinst", 2, folder.path(), &["configure"]).status.success());
    assert_eq!(fs::read_to_string(state.join("data-format")).unwrap(), "3\n");
    fs::write(state.join("data-format"), "three\n").unwrap();
    assert!(!upgrade(9).status.success(), "what cannot be read is not taken for zero");
}

#[test]
fn purging_keeps_what_exists_nowhere_else_unless_told() {
    for (script, data, key) in
        [("felhom-agent/postrm", "felhom", Some("etc/hub-key")), ("felhom-hub/postrm", "felhom-hub", None)]
    {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at(data)).unwrap();
        fs::create_dir_all(at("etc")).unwrap();
        fs::write(at(&format!("{data}/kept")), "x").unwrap();
        fs::write(at("etc/hub-key"), "x").unwrap();
        for action in ["remove", "purge"] {
            let done = maintainer(script, 1, folder.path(), &[action]);
            assert!(done.status.success(), "{script} {action}");
            assert!(at(&format!("{data}/kept")).exists() && at("etc/hub-key").exists(), "{script} {action}");
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            assert_eq!(said.contains("FELHOM_PURGE=yes"), action == "purge", "{script} {action}: {said}");
        }
        let told = fs::read_to_string(root().join("packaging").join(script)).unwrap();
        let path = at("told");
        let text = told
            .replace("/var/lib/", &format!("{}/", folder.path().display()))
            .replace("/etc/felhom", &format!("{}/etc", folder.path().display()))
            .replace("/usr/bin/deb-systemd-helper", "/nowhere");
        fs::write(&path, text).unwrap();
        let status = Command::new("sh").arg(&path).arg("purge").env("FELHOM_PURGE", "yes").status().unwrap();
        assert!(status.success() && !at(data).exists(), "{script}");
        assert_eq!(
            at("etc/hub-key").exists(),
            key.is_none(),
            "{script}: a key goes with its own package only"
        );
    }
}

/// Stands in for a Proxmox host: writes down how it was called and gives a token.
fn fake_host(folder: &Path, version: &str) {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let pveum = "#!/bin/sh\nprintf '%s\\n' \"$*\" >>\"$LOG\"\n\
        case \"$*\" in *\"token add\"*) echo '{\"full-tokenid\":\"felhom@pve!agent\",\"info\":{\"privsep\":\"1\"},\"value\":\"0f0f0f0f-aaaa-bbbb-cccc-123456789abc\"}' ;; esac\n";
    let pveversion =
        format!("#!/bin/sh\necho 'pve-manager/{version}/faa83925c9641325 (running kernel: 6.8.12-4-pve)'\n");
    for (name, text) in [("pveum", pveum), ("pveversion", &pveversion)] {
        fs::write(bin.join(name), text).unwrap();
        fs::set_permissions(bin.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
}

fn role(folder: &Path, args: &[&str]) -> (bool, String, String) {
    let log = folder.join("log");
    let _ = fs::remove_file(&log);
    let path = format!("{}:/usr/bin:/bin", folder.join("bin").display());
    let mut run = Command::new("sh");
    run.arg(root().join("packaging/pve-role-setup")).args(args);
    run.env("PATH", path).env("LOG", &log).env("FELHOM_ETC", folder.join("etc"));
    let done = run.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    (done.status.success(), said, fs::read_to_string(&log).unwrap_or_default())
}

#[test]
fn the_role_has_what_doctor_looks_for_and_the_secret_is_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    fake_host(folder.path(), "8.4.1");
    let (well, said, calls) = role(folder.path(), &["setup"]);
    assert!(well, "{said}");
    let token = folder.path().join("etc/pve-token");
    assert_eq!(
        fs::read_to_string(&token).unwrap(),
        "felhom@pve!agent=0f0f0f0f-aaaa-bbbb-cccc-123456789abc\n"
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&token).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(!said.contains("0f0f0f0f") && !calls.contains("0f0f0f0f"), "{said}{calls}");
    assert!(!calls.contains("Sys.Modify") && !calls.contains("VM.Monitor"), "{calls}");
    let doctor = fs::read_to_string(root().join("agent/src/cli/doctor.rs")).unwrap();
    let made = calls.lines().find(|line| line.starts_with("role add FelhomAgent ")).unwrap();
    let wanted: Vec<(&str, &str)> = doctor.lines().filter_map(wanted).collect();
    assert!(wanted.len() >= 16, "doctor's list is read: {wanted:?}");
    for (path, privilege) in wanted {
        assert!(made.split_whitespace().any(|word| word == privilege), "{privilege} in {made}");
        for whom in ["--users felhom@pve", "--tokens felhom@pve!agent"] {
            let right = format!("acl modify {path} --roles FelhomAgent {whom} --propagate 1");
            assert!(calls.contains(&right), "{right} in {calls}");
        }
    }
    let (well, _, calls) = role(folder.path(), &["setup"]);
    assert!(well && !calls.contains("token add"), "a token that is there is kept: {calls}");
}

/// A line of doctor's table: `("/vms", "VM.Audit"),`.
fn wanted(line: &str) -> Option<(&str, &str)> {
    let (path, privilege) = line.trim().strip_prefix("(\"")?.strip_suffix("\"),")?.split_once("\", \"")?;
    path.starts_with('/').then_some((path, privilege))
}

#[test]
fn the_role_depends_on_the_version() {
    let folder = tempfile::tempdir().unwrap();
    for (version, wide) in [("8.4.1", false), ("9.1.2", true)] {
        fake_host(folder.path(), version);
        let (well, said, calls) = role(folder.path(), &["setup", "--privileged-containers"]);
        assert!(well, "{said}");
        assert_eq!(calls.contains("acl modify / --roles FelhomAgentSystem"), wide, "{version}: {calls}");
    }
    for unknown in ["7.4-1", "10.0.1", "garbage"] {
        fake_host(folder.path(), unknown);
        let (well, said, calls) = role(folder.path(), &["setup"]);
        assert!(
            !well && calls.is_empty() && said.contains("nothing was changed"),
            "{unknown}: {said}{calls}"
        );
    }
}
