//! One step of the tunnel, asked of `felhom-host`. Makes no choice and never tries again.

use std::path::Path;

use felhom_shared::report::Failure;
use felhom_shared::secret::SecretValue;

use super::step::TunnelStep;
use crate::host::command::{Answer, HostCommand};
use crate::host::tunnel::{TryTunnel, TunnelCommand};

/// Asks the host for it. A change needs its token.
pub async fn apply(state_dir: &Path, step: &TunnelStep, token: Option<SecretValue>) -> Result<(), Failure> {
    let command = match step {
        TunnelStep::TryTunnel(wanted) => {
            let token = token.filter(|token| token.sha256() == wanted.token_sha256);
            let token = token.ok_or_else(|| Failure {
                code: "secret_missing".to_owned(),
                text: "the tunnel's token is not at hand any more; the hub is asked for it again".to_owned(),
            })?;
            TunnelCommand::Try(TryTunnel { token, program_sha256: wanted.program_sha256.clone() })
        }
        TunnelStep::StopTunnel => TunnelCommand::Stop,
        TunnelStep::KeepTunnel => TunnelCommand::Keep,
        TunnelStep::RevertTunnel(_) => TunnelCommand::Revert,
        TunnelStep::StartTunnel => TunnelCommand::Start,
    };
    match HostCommand::Tunnel(command).ask(state_dir).await? {
        Answer::Done => Ok(()),
        other => Err(Failure {
            code: "host_command_failed".to_owned(),
            text: format!("felhom-host answered something else: {other:?}"),
        }),
    }
}
