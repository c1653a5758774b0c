//! `felhom-host` beside a double that runs as a program: for the demo, where nobody is root and nothing is mounted.
//!
//! `host_of_double AGENT_CONFIG STATE_DIR HOST_ROOT FAKE_PVE CONTROL_ADDRESS`

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use felhom_agent::config::Config;
use felhom_agent::host::format::Trust;
use felhom_tests::host_desk::{MountChange, serve_once};
use felhom_tests::tunnel_unit::TunnelUnit;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(config), Some(state_dir), Some(root), Some(fake_pve), Some(control)) =
        (args.next(), args.next(), args.next(), args.next(), args.next())
    else {
        return ExitCode::from(2);
    };
    let change = |change: MountChange| {
        let words = match &change {
            MountChange::Mount { uuid, at } => vec!["mount-drive", uuid.as_str(), at.as_str()],
            MountChange::Unmount { at } => vec!["unmount-drive", at.as_str()],
            MountChange::Repartition { name, format, uuid, partition } => {
                vec!["repartition", name, format, uuid, partition]
            }
            MountChange::MountDataset { dataset, at } => vec!["mount-dataset", dataset.as_str(), at.as_str()],
            MountChange::Zfs(words) => {
                std::iter::once("zfs").chain(words.iter().map(String::as_str)).collect()
            }
        };
        let mut ctl = Command::new(&fake_pve);
        ctl.args(["ctl", "--control"]).arg(&control).args(words).stdout(Stdio::null());
        let status = ctl.status().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the double refuses {change:?}")) }
    };
    let config = Config::read(&config).ok();
    let tunnel = config.as_ref().map(|config| TunnelUnit::at(&root, config.tunnel.metrics));
    let trust = config.map(|config| Trust {
        host_id: config.host_id,
        genesis_sha256: config.trust.genesis_sha256,
        tunnel_account: config.tunnel.account,
        memory: state_dir.with_file_name("host-memory"),
    });
    // Ends with the demo, which kills it.
    loop {
        serve_once(&state_dir, (&root, trust.as_ref(), tunnel.as_ref()), &change);
        std::thread::sleep(Duration::from_millis(100));
    }
}
