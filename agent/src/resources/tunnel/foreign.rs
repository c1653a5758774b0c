//! Other tunnels on the box: units that start a cloudflared and are not ours. Told of, and left alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use felhom_shared::report::ForeignTunnel;

use crate::host::tunnel::slots::UNIT;

/// Where systemd looks for units, the administrator's first.
const FOLDERS: [&str; 3] = ["etc/systemd/system", "usr/local/lib/systemd/system", PACKAGES];
/// Those of packages. There are hundreds, and the few of interest have a name that says so.
const PACKAGES: &str = "usr/lib/systemd/system";
/// The unit by which cloudflared's own installer has it replaced every day.
const UPDATER: &str = "cloudflared-update.timer";
const UNIT_BYTES_MAX: u64 = 64 * 1024;

/// When each folder was last changed: a unit that comes or goes changes it.
pub(super) fn stamp(root: &Path) -> [Option<std::time::SystemTime>; FOLDERS.len()] {
    FOLDERS.map(|folder| fs::metadata(root.join(folder)).and_then(|metadata| metadata.modified()).ok())
}

/// Every unit that starts a cloudflared and is not ours, by name.
pub(super) fn find(root: &Path) -> Vec<ForeignTunnel> {
    let mut found = BTreeMap::new();
    for name in FOLDERS {
        let folder = root.join(name);
        let updates_itself = folder.join(UPDATER).exists();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(unit) = entry.file_name().into_string() else { continue };
            let may_be = name != PACKAGES || unit.contains("cloudflare") || unit.contains("tunnel");
            if !unit.ends_with(".service") || !may_be || unit == UNIT || found.contains_key(&unit) {
                continue;
            }
            let small = fs::metadata(entry.path()).is_ok_and(|it| it.is_file() && it.len() <= UNIT_BYTES_MAX);
            let Some(text) = small.then(|| fs::read_to_string(entry.path()).ok()).flatten() else { continue };
            if let Some(foreign) = read(&unit, &text, updates_itself) {
                found.insert(unit, foreign);
            }
        }
    }
    found.into_values().collect()
}

fn read(unit: &str, text: &str, updates_itself: bool) -> Option<ForeignTunnel> {
    let starts = |line: &&str| line.starts_with("ExecStart=") && line.contains("cloudflared");
    let start = text.lines().find(starts)?;
    // What only fetches a newer program is no tunnel.
    if start.contains("cloudflared update") {
        return None;
    }
    let in_argv = start.split_whitespace().any(|word| word == "--token" || word.starts_with("--token="));
    let in_env = text.lines().any(|line| line.starts_with("Environment=") && line.contains("TUNNEL_TOKEN="));
    let updates_itself = updates_itself || !start.contains("--no-autoupdate");
    Some(ForeignTunnel { unit: unit.to_owned(), token_in_unit: in_argv || in_env, updates_itself })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_others_are_told_without_their_tokens() {
        let old = "[Service]\nExecStart=/usr/bin/cloudflared --no-autoupdate tunnel run --token eyJhIjoi\n";
        let found = read("cloudflared.service", old, true).unwrap();
        assert!(found.token_in_unit && found.updates_itself);
        assert!(!format!("{found:?}").contains("eyJ"));
        let good = "[Service]\nExecStart=/usr/bin/cloudflared --no-autoupdate tunnel run --token-file /x\n";
        let found = read("cloudflared.service", good, false).unwrap();
        assert!(!found.token_in_unit && !found.updates_itself);
        let env = "[Service]\nEnvironment=TUNNEL_TOKEN=eyJ\nExecStart=/opt/cloudflared tunnel run\n";
        assert!(read("my-tunnel.service", env, false).unwrap().token_in_unit);
        for other in
            ["[Service]\nExecStart=/bin/bash -c 'cloudflared update'\n", "ExecStart=/usr/bin/nginx\n"]
        {
            assert_eq!(read("other.service", other, false), None);
        }
    }
}
