//! Looking at the tunnel, and what is remembered from one look to the next: hashes of files that have not changed, since
//! when a change is tried, when the hub was last heard. In memory only; an agent that was started anew looks again.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use felhom_shared::desired::TunnelSpec;
use felhom_shared::id::Sha256Hex;
use felhom_shared::report::{Failure, ForeignTunnel};
use tokio::time::Instant;

use super::attempt::Attempt;
use super::cloudflared::{Cloudflared, Ready};
use super::observe::{Installed, SeenTunnel, TrialSeen};
use super::step::{TunnelStep, Wanted};
use super::{Secrets, foreign};
use crate::host::clerk::UNITS;
use crate::host::command::{Answer, HostCommand, is_served};
use crate::host::tunnel::slots::{PROGRAM, Slots, UNIT};
use crate::host::tunnel::{TunnelCommand, UNIT_TEXT, UnitState, hash_file, installed_program};
use crate::observe::Reading;

/// Where the tunnel's unit has cloudflared tell of itself.
pub const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 20249);
/// What systemd said is not asked again so soon, but of a change that is being tried.
const UNIT_PAUSE: Duration = Duration::from_secs(15);
/// Somebody else writes the unit as well: nobody gains from a tunnel that is started anew each time.
const UNIT_WRITTEN_PAUSE: Duration = Duration::from_secs(3600);
/// A cloudflared that was just started is not started again, and systemd is not asked about it again.
const START_PAUSE: Duration = Duration::from_secs(120);

/// What a file was when it was hashed.
type Stamp = (u64, u64, i64, i64, u64);

/// What looks at the tunnel.
#[derive(Debug)]
pub struct Watch {
    root: PathBuf,
    address: SocketAddr,
    cloudflared: Option<Cloudflared>,
    hashes: BTreeMap<PathBuf, (Stamp, Sha256Hex)>,
    version: Option<(Sha256Hex, String)>,
    /// What systemd said of the unit, if it was asked and answered.
    unit: Option<(Instant, Option<UnitState>)>,
    unit_written_at: Option<Instant>,
    /// Whether somebody may be asked on this one's behalf.
    asks: bool,
    trial_since: Option<Instant>,
    started_at: Option<Instant>,
    hub_heard_at: Option<Instant>,
    foreign: Option<([Option<SystemTime>; 3], Vec<ForeignTunnel>)>,
    connections: Option<u32>,
}

impl Watch {
    /// Of the host below `root`, whose cloudflared tells of itself at this address.
    #[must_use]
    pub fn of(root: &Path, address: SocketAddr) -> Self {
        Self {
            root: root.to_owned(),
            address,
            cloudflared: None,
            hashes: BTreeMap::new(),
            version: None,
            unit: None,
            unit_written_at: None,
            asks: true,
            trial_since: None,
            started_at: None,
            hub_heard_at: None,
            foreign: None,
            connections: None,
        }
    }

    /// The same, which only reads: what the running agent asks must not be asked beside it.
    #[must_use]
    pub fn reading_only(mut self) -> Self {
        self.asks = false;
        self
    }

    /// The hub has answered.
    pub fn hub_heard(&mut self) {
        self.hub_heard_at = Some(Instant::now());
    }

    /// Connections when last looked.
    #[must_use]
    pub fn connections(&self) -> Option<u32> {
        self.connections
    }

    /// A change is being tried: the next look should not be long in coming.
    #[must_use]
    pub fn on_trial(&self) -> bool {
        self.trial_since.is_some()
    }

    /// A step was done: what was true before may not be any more.
    pub fn done(&mut self, step: &TunnelStep) {
        self.unit = None;
        match step {
            TunnelStep::StartTunnel => self.started_at = Some(Instant::now()),
            TunnelStep::TryTunnel(_) | TunnelStep::StopTunnel => {
                self.unit_written_at = Some(Instant::now());
                (self.trial_since, self.started_at) = (None, None);
            }
            TunnelStep::KeepTunnel | TunnelStep::RevertTunnel(_) => self.started_at = Some(Instant::now()),
        }
    }

    /// Looks at everything. None where there is no tunnel, and none is meant to be.
    pub async fn look(
        &mut self,
        spec: Option<&TunnelSpec>,
        (state_dir, secrets, attempt): (&Path, &Secrets, Option<Attempt>),
    ) -> Option<SeenTunnel> {
        let slots = Slots::below(&self.root);
        self.look_for_others();
        let foreign = self.foreign.as_ref().map(|(_, found)| found.clone()).unwrap_or_default();
        let on_trial = slots.on_trial();
        let is_there = on_trial || slots.current().exists();
        if spec.is_none() && !is_there {
            (self.trial_since, self.connections) = (None, None);
            return (!foreign.is_empty()).then(|| SeenTunnel { foreign, ..SeenTunnel::nothing() });
        }
        let installed = self.installed(&slots);
        let program = match installed_program(&self.root) {
            None => Reading::Absent,
            Some(path) => readable(self.hash(&path)),
        };
        let ready = if installed == Reading::Absent { Ready::Down } else { self.ready().await };
        let connected = matches!(ready, Ready::Runs { connections } if connections > 0);
        self.connections = match ready {
            Ready::Runs { connections } => Some(connections),
            Ready::Down | Ready::Unclear(_) => installed.present().map(|_| 0),
        };
        let served = is_served(state_dir);
        if let (Some(installed), Ready::Runs { .. }) = (installed.present(), &ready) {
            self.read_version(&installed.wanted.program_sha256).await;
        }
        let version = self.version.clone().and_then(|(of, version)| {
            installed.present().is_some_and(|there| there.wanted.program_sha256 == of).then_some(version)
        });
        let is_asked = served && self.asks && installed.present().is_some();
        let unit = if is_asked && (on_trial || !connected) {
            self.ask_systemd(state_dir, on_trial).await
        } else {
            None
        };
        let named = spec.and_then(|spec| spec.token.as_ref());
        Some(SeenTunnel {
            installed,
            program,
            ready,
            version,
            unit,
            trial: self.trial(on_trial),
            attempt,
            has_secret: named.is_some_and(|named| secrets.get(named).is_some()),
            unit_written: self.unit_written_at.is_some_and(|at| at.elapsed() < UNIT_WRITTEN_PAUSE),
            just_started: self.started_at.is_some_and(|at| at.elapsed() < START_PAUSE),
            foreign,
            served,
        })
    }

    fn trial(&mut self, on_trial: bool) -> Option<TrialSeen> {
        if !on_trial {
            self.trial_since = None;
            return None;
        }
        let since = *self.trial_since.get_or_insert_with(Instant::now);
        let hub_heard = self.hub_heard_at.is_some_and(|heard| heard > since);
        Some(TrialSeen { lasts: since.elapsed(), hub_heard })
    }

    fn installed(&mut self, slots: &Slots) -> Reading<Installed> {
        let token = match slots.token() {
            Reading::Present(token) => token,
            Reading::Absent => return Reading::Absent,
            Reading::Unreadable(failure) => return Reading::Unreadable(failure),
        };
        let program_sha256 = match readable(self.hash(&slots.current().join(PROGRAM))) {
            Reading::Present(hash) => hash,
            // A token without its program is as good as nothing.
            Reading::Absent => return Reading::Absent,
            Reading::Unreadable(failure) => return Reading::Unreadable(failure),
        };
        let units = [slots.current().join(UNIT), self.root.join(UNITS).join(UNIT)];
        let unit_is_ours =
            units.iter().all(|unit| fs::read(unit).is_ok_and(|text| text == UNIT_TEXT.as_bytes()));
        Reading::Present(Installed {
            wanted: Wanted { token_sha256: token.sha256(), program_sha256 },
            unit_is_ours,
        })
    }

    /// Programs are large: one is read again only when it is another file.
    fn hash(&mut self, path: &Path) -> io::Result<Sha256Hex> {
        let stamp = stamp(&fs::metadata(path)?);
        if let Some((then, hash)) = self.hashes.get(path)
            && *then == stamp
        {
            return Ok(hash.clone());
        }
        let hash = hash_file(path)?;
        self.hashes.insert(path.to_owned(), (stamp, hash.clone()));
        Ok(hash)
    }

    async fn ready(&mut self) -> Ready {
        match self.client() {
            Some(cloudflared) => cloudflared.ready().await,
            None => Ready::Unclear("a client for cloudflared cannot be made".to_owned()),
        }
    }

    async fn read_version(&mut self, program: &Sha256Hex) {
        if self.version.as_ref().is_some_and(|(of, _)| of == program) {
            return;
        }
        let version = match self.client() {
            Some(cloudflared) => cloudflared.version().await,
            None => None,
        };
        self.version = version.map(|version| (program.clone(), version));
    }

    fn client(&mut self) -> Option<Cloudflared> {
        if self.cloudflared.is_none() {
            self.cloudflared = Cloudflared::at(self.address);
        }
        self.cloudflared.clone()
    }

    /// Seldom: for each question a program is started.
    async fn ask_systemd(&mut self, state_dir: &Path, on_trial: bool) -> Option<UnitState> {
        if let Some((at, unit)) = &self.unit
            && at.elapsed() < UNIT_PAUSE
            && !on_trial
        {
            return unit.clone();
        }
        let asked = HostCommand::Tunnel(TunnelCommand::Look).ask(state_dir).await;
        let unit = match asked {
            Ok(Answer::Tunnel(unit)) => Some(unit),
            _ => None,
        };
        self.unit = Some((Instant::now(), unit.clone()));
        unit
    }

    fn look_for_others(&mut self) {
        let stamp = foreign::stamp(&self.root);
        if self.foreign.as_ref().is_none_or(|(then, _)| *then != stamp) {
            self.foreign = Some((stamp, foreign::find(&self.root)));
        }
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.ctime_nsec(), metadata.len())
}

fn readable(hash: io::Result<Sha256Hex>) -> Reading<Sha256Hex> {
    match hash {
        Ok(hash) => Reading::Present(hash),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Reading::Absent,
        Err(error) => Reading::Unreadable(Failure {
            code: "cloudflared_unreadable".to_owned(),
            text: format!("cloudflared on this box cannot be read: {error}"),
        }),
    }
}
