//! Readings of the node: what is there, what is not, and what could not be read.
//!
//! `unreadable_is_not_absent`: PVE answers a caller without rights with an empty list and 200, so a missing
//! guest counts as absent only after the token's rights to see it were checked. Reads only; decides nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use felhom_shared::desired::{DesiredState, GuestKind, GuestSpec, Presence};
use felhom_shared::id::{NodeName, Vmid};
use felhom_shared::ordered;
use felhom_shared::report::{Failure, NodeState, Observed};
use futures_util::StreamExt;

use crate::pve::{GuestAt, GuestListEntry, GuestReading, GuestStatus, Permissions, Pve, PveError};
use crate::resources::storage::observe::SeenStorages;
use crate::resources::tunnel::observe::SeenTunnel;

/// Configurations read at once: pveproxy has three workers, more connections gain nothing.
const READS_AT_ONCE: usize = 4;
/// A configuration whose list entry has not changed is read again after this time.
const CONFIG_AGE_MAX: Duration = Duration::from_secs(300);

/// One thing looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<T> {
    /// It is there.
    Present(T),
    /// It was looked for with the right to see it, and is not there.
    Absent,
    /// Nothing may be concluded.
    Unreadable(Failure),
}

impl<T> Reading<T> {
    /// What is there, if it is.
    #[must_use]
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }
}

/// A guest as the node shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenGuest {
    /// Container or virtual machine.
    pub kind: GuestKind,
    /// Its row in the node's list.
    pub entry: ListRow,
    /// Its configuration; read only for guests at VMIDs of the document.
    pub config: Reading<GuestReading>,
}

/// The stable part of a list entry: what moves by itself (memory in use, uptime) is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRow {
    /// Number on the node.
    pub vmid: Vmid,
    /// Its name, as far as PVE knows it.
    pub name: String,
    /// Whether it runs.
    pub status: GuestStatus,
    /// PVE's persistent lock.
    pub lock: Option<String>,
    /// Its tags.
    pub tags: std::collections::BTreeSet<String>,
    /// Whether it is a template.
    pub template: bool,
    /// Sizes, as a fingerprint: a change means the configuration has changed.
    pub sizes: [u64; 4],
}

impl From<&GuestListEntry> for ListRow {
    fn from(entry: &GuestListEntry) -> Self {
        let cpus = entry.cpus.unwrap_or(0.0).to_bits();
        Self {
            vmid: entry.vmid,
            name: entry.name.clone(),
            status: entry.status.clone(),
            lock: entry.lock.clone(),
            tags: entry.tags.clone(),
            template: entry.template,
            sizes: [cpus, entry.maxmem_bytes, entry.maxswap_bytes, entry.maxdisk_bytes],
        }
    }
}

impl SeenGuest {
    /// Whether it runs; `None` when PVE's word is neither running nor stopped.
    #[must_use]
    pub fn is_running(&self) -> Option<bool> {
        match self.entry.status {
            GuestStatus::Running => Some(true),
            GuestStatus::Stopped => Some(false),
            GuestStatus::Unknown(_) => None,
        }
    }

    /// PVE's word for its state.
    #[must_use]
    pub fn status_word(&self) -> &str {
        match &self.entry.status {
            GuestStatus::Running => "running",
            GuestStatus::Stopped => "stopped",
            GuestStatus::Unknown(word) => word,
        }
    }

    /// Keys whose value waits for a restart.
    #[must_use]
    pub fn pending_keys(&self) -> Vec<String> {
        let Some(config) = self.config.present() else { return Vec::new() };
        let mut keys: Vec<String> = config.pending.keys().chain(&config.pending_delete).cloned().collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The reading as the report tells it.
    #[must_use]
    pub fn observed(&self) -> Observed {
        Observed::Present {
            status: self.status_word().to_owned(),
            lock: self.entry.lock.clone(),
            pending: self.pending_keys(),
        }
    }
}

/// All readings of one pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedHost {
    /// The node itself.
    pub node: NodeState,
    /// What the lists showed, by VMID.
    pub guests: BTreeMap<Vmid, SeenGuest>,
    /// VMIDs of the document that no list showed, each with what may be concluded.
    pub missing: BTreeMap<Vmid, Option<Failure>>,
    /// The document's storages; none where it names none, or where nobody has looked.
    pub storages: Option<SeenStorages>,
    /// The tunnel; none where there is none, or where nobody has looked.
    pub tunnel: Option<SeenTunnel>,
}

impl ObservedHost {
    /// The reading of one guest of the document.
    #[must_use]
    pub fn guest(&self, spec: &GuestSpec) -> Reading<SeenGuest> {
        if let Some(guest) = self.guests.get(&spec.vmid) {
            return Reading::Present(guest.clone());
        }
        match (self.missing.get(&spec.vmid), &self.node) {
            (Some(None), _) => Reading::Absent,
            (Some(Some(failure)), _) => Reading::Unreadable(failure.clone()),
            (None, NodeState::Unreadable { code, text }) => {
                Reading::Unreadable(Failure { code: code.clone(), text: text.clone() })
            }
            (None, NodeState::Present { .. }) => Reading::Unreadable(Failure {
                code: "not_looked_for".to_owned(),
                text: "this guest was not part of the reading".to_owned(),
            }),
        }
    }

    /// A host of which nothing could be read.
    #[must_use]
    pub fn unreadable(failure: &Failure) -> Self {
        let node = NodeState::Unreadable { code: failure.code.clone(), text: failure.text.clone() };
        Self { node, guests: BTreeMap::new(), missing: BTreeMap::new(), storages: None, tunnel: None }
    }
}

/// A failed call in a stable word, a sentence, and what to do.
#[must_use]
pub fn failure(error: &PveError) -> Failure {
    Failure { code: error.code().to_owned(), text: format!("{error}. {}", error.what_to_do()) }
}

/// Reads the node, remembering what has not changed.
pub struct Observer {
    pve: Pve,
    wanted_node: Option<NodeName>,
    node: Option<(NodeName, String)>,
    configs: BTreeMap<Vmid, (ListRow, GuestReading, Instant)>,
}

impl Observer {
    /// An observer of `wanted_node`, or of the only node the API names.
    #[must_use]
    pub fn new(pve: Pve, wanted_node: Option<NodeName>) -> Self {
        Self { pve, wanted_node, node: None, configs: BTreeMap::new() }
    }

    /// The node's name, once it was read.
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        self.node.as_ref().map(|(node, _)| node)
    }

    /// Forgets what is remembered of a guest: it is about to change, or has.
    pub fn forget(&mut self, vmid: Vmid) {
        self.configs.remove(&vmid);
    }

    /// Forgets every configuration, so that the next reading is whole.
    pub fn forget_configs(&mut self) {
        self.configs.clear();
    }

    /// Finds the node; remembered until something could not be read.
    pub async fn find_node(&mut self) -> Result<(NodeName, String), Failure> {
        if let Some(found) = &self.node {
            return Ok(found.clone());
        }
        let version = self.pve.version().await.map_err(|error| failure(&error))?;
        let nodes = self.pve.nodes().await.map_err(|error| failure(&error))?;
        let mut names = nodes.into_iter().map(|entry| entry.node);
        let node = match &self.wanted_node {
            Some(wanted) => names.find(|name| name == wanted),
            None => names.next().filter(|_| names.next().is_none()),
        };
        let node = node.ok_or_else(|| Failure {
            code: "node_not_found".to_owned(),
            text: "PVE does not show this node to the token, or shows several: set `node` in the agent's \
                   configuration to this host's name"
                .to_owned(),
        })?;
        self.node = Some((node.clone(), version.version.clone()));
        Ok((node, version.version))
    }

    /// Reads what the document is about.
    pub async fn observe(&mut self, desired: &DesiredState) -> ObservedHost {
        match self.try_observe(desired).await {
            Ok(observed) => observed,
            Err(failure) => {
                // Whatever comes back may be another version, or another node.
                self.forget_configs();
                self.node = None;
                ObservedHost::unreadable(&failure)
            }
        }
    }

    async fn try_observe(&mut self, desired: &DesiredState) -> Result<ObservedHost, Failure> {
        let (node, pve_version) = self.find_node().await?;
        let mut guests = BTreeMap::new();
        for kind in [GuestKind::Lxc, GuestKind::Qemu] {
            let entries = self.pve.guests(&node, kind).await.map_err(|error| failure(&error))?;
            for entry in entries {
                let row = ListRow::from(&entry);
                guests.insert(row.vmid, SeenGuest { kind, entry: row, config: Reading::Absent });
            }
        }
        self.configs.retain(|vmid, _| guests.contains_key(vmid));
        self.read_configs(&node, desired, &mut guests).await;
        let missing = self.missing(desired, &guests).await?;
        Ok(ObservedHost {
            node: NodeState::Present { node, pve_version },
            guests,
            missing,
            storages: None,
            tunnel: None,
        })
    }

    async fn read_configs(
        &mut self,
        node: &NodeName,
        desired: &DesiredState,
        guests: &mut BTreeMap<Vmid, SeenGuest>,
    ) {
        let mut due = Vec::new();
        for vmid in desired.guests.iter().map(|spec| spec.vmid) {
            let Some(guest) = guests.get_mut(&vmid) else { continue };
            match self.configs.get(&vmid) {
                Some((row, config, read_at)) if *row == guest.entry && read_at.elapsed() < CONFIG_AGE_MAX => {
                    guest.config = Reading::Present(config.clone());
                }
                _ => due.push((vmid, guest.kind)),
            }
        }
        let pve = &self.pve;
        let reads = due
            .into_iter()
            .map(|(vmid, kind)| async move { (vmid, pve.guest_pending(GuestAt { node, kind, vmid }).await) });
        let readings: Vec<_> =
            futures_util::stream::iter(reads).buffer_unordered(READS_AT_ONCE).collect().await;
        for (vmid, reading) in readings {
            let Some(guest) = guests.get_mut(&vmid) else { continue };
            guest.config = match reading {
                Ok(config) => {
                    self.configs.insert(vmid, (guest.entry.clone(), config.clone(), Instant::now()));
                    Reading::Present(config)
                }
                Err(error) => Reading::Unreadable(failure(&error)),
            };
        }
    }

    /// What may be concluded of guests that no list showed.
    async fn missing(
        &self,
        desired: &DesiredState,
        guests: &BTreeMap<Vmid, SeenGuest>,
    ) -> Result<BTreeMap<Vmid, Option<Failure>>, Failure> {
        let gone = |spec: &&GuestSpec| !guests.contains_key(&spec.vmid);
        let missing: Vec<&GuestSpec> = desired.guests.iter().filter(gone).collect();
        let matters = missing.iter().any(|spec| spec.presence == Presence::Present) || guests.is_empty();
        if missing.is_empty() || !matters {
            return Ok(ordered::map(missing.into_iter().map(|spec| (spec.vmid, None))));
        }
        let permissions = self.pve.permissions().await.map_err(|error| failure(&error))?;
        Ok(ordered::map(missing.into_iter().map(|spec| (spec.vmid, cannot_see(&permissions, spec.vmid)))))
    }

    /// Reads one guest afresh, as after an error: the list decides whether it exists.
    pub async fn read_guest(
        pve: &Pve,
        node: &NodeName,
        spec: &GuestSpec,
    ) -> Result<Reading<SeenGuest>, PveError> {
        let (kind, vmid) = (spec.kind, spec.vmid);
        let row = match Self::list_row(pve, node, kind, vmid).await? {
            Reading::Present(row) => row,
            Reading::Absent => return Ok(Reading::Absent),
            Reading::Unreadable(failure) => return Ok(Reading::Unreadable(failure)),
        };
        let config = Reading::Present(pve.guest_pending(GuestAt { node, kind, vmid }).await?);
        Ok(Reading::Present(SeenGuest { kind, entry: row, config }))
    }

    /// One guest's row in the list as it is now.
    pub async fn list_row(
        pve: &Pve,
        node: &NodeName,
        kind: GuestKind,
        vmid: Vmid,
    ) -> Result<Reading<ListRow>, PveError> {
        let entries = pve.guests(node, kind).await?;
        if let Some(entry) = entries.iter().find(|entry| entry.vmid == vmid) {
            return Ok(Reading::Present(ListRow::from(entry)));
        }
        Ok(match cannot_see(&pve.permissions().await?, vmid) {
            None => Reading::Absent,
            Some(failure) => Reading::Unreadable(failure),
        })
    }
}

fn cannot_see(permissions: &Permissions, vmid: Vmid) -> Option<Failure> {
    let path = format!("/vms/{vmid}");
    (!permissions.has(&path, "VM.Audit")).then(|| Failure {
        code: "no_right_to_see".to_owned(),
        text: format!(
            "the agent's token has no VM.Audit on {path}, so PVE would hide the guest: give the token and its user \
             that right"
        ),
    })
}
