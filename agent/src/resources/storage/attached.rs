//! The drives attached now, remembered until something says that they changed.
//!
//! Read again when udev tells of a block device, and once an hour in case that was missed. What cannot be read is not
//! gone: the last reading stays. Health is PVE's to ask for, because asking needs rights that the agent does not have.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use felhom_shared::drive::DriveReport;
use felhom_shared::id::NodeName;
use felhom_shared::ordered;
use felhom_shared::report::Failure;

use super::detect;
use crate::host::block::BlockDevices;
use crate::host::device_events::DeviceEvents;
use crate::observe::Reading;
use crate::pve::{DiskEntry, Pve, PveError};

/// In case an event was lost.
const READING_AGE_MAX: Duration = Duration::from_secs(3600);
/// SMART wakes a sleeping drive.
const HEALTH_AGE_MAX: Duration = Duration::from_secs(6 * 3600);
/// A drive comes with an event for itself and one for each partition.
const SETTLES: Duration = Duration::from_millis(500);

/// What reads the drives.
#[derive(Debug)]
pub struct Attached {
    devices: Option<BlockDevices>,
    events: Option<DeviceEvents>,
    /// An event came and the drives were not read since: a wait that is given up must not lose it.
    told: bool,
    drives: Vec<DriveReport>,
    read_at: Option<Instant>,
    /// Why the last reading came to nothing.
    failure: Option<Failure>,
    health: BTreeMap<String, Health>,
    health_read_at: Option<Instant>,
}

#[derive(Debug, Clone, Default)]
struct Health {
    word: Option<String>,
    life_left_percent: Option<u8>,
}

impl Attached {
    /// Looks at nothing and has no drives.
    #[must_use]
    pub fn none() -> Self {
        Self {
            devices: None,
            events: None,
            told: false,
            drives: Vec::new(),
            read_at: None,
            failure: Some(unread("nobody looks at them here")),
            health: BTreeMap::new(),
            health_read_at: None,
        }
    }

    /// The drives of `devices`, and udev's word when they change. To be called within a runtime.
    #[must_use]
    pub fn of(devices: BlockDevices) -> Self {
        let events = DeviceEvents::open().inspect_err(|error| {
            tracing::warn!(
                "drives that come and go are noticed within an hour only: udev cannot be heard: {error}"
            );
        });
        Self { devices: Some(devices), events: events.ok(), ..Self::none() }
    }

    /// The next reading is a new one: something else than udev says that the drives changed.
    pub fn look_again(&mut self) {
        self.told = true;
    }

    /// Waits until other drives are attached than at the last reading. For ever where there is nothing to wait for.
    pub async fn changed(&mut self) {
        loop {
            let (Some(devices), Some(events)) = (&self.devices, &self.events) else {
                return std::future::pending().await;
            };
            let event = if self.told { Ok(String::new()) } else { events.next_block().await };
            match event {
                // Volumes of guests and snapshots of backups come and go all day, and are no drives.
                Ok(name) if name.is_empty() || devices.is_drive(&name) => {}
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!("udev is no longer heard: {error}");
                    self.events = None;
                    continue;
                }
            }
            self.told = true;
            tokio::time::sleep(SETTLES).await;
            if self.read() {
                return;
            }
        }
    }

    /// The drives, read again where the last reading is old.
    pub async fn refreshed(&mut self, pve: &Pve, node: Option<&NodeName>) -> &[DriveReport] {
        if self.told || self.read_at.is_none_or(|at| at.elapsed() > READING_AGE_MAX) {
            self.read();
        }
        let old = self.health_read_at.is_none_or(|at| at.elapsed() > HEALTH_AGE_MAX);
        if let Some(node) = node.filter(|_| old && !self.drives.is_empty()) {
            self.read_health(pve, node).await;
        }
        &self.drives
    }

    /// The drives as they are now; what could not be read is not what was read before.
    #[must_use]
    pub fn reading(&self) -> Reading<Vec<DriveReport>> {
        match &self.failure {
            Some(failure) => Reading::Unreadable(failure.clone()),
            None => Reading::Present(self.drives.clone()),
        }
    }

    /// The drives as they were last read.
    #[must_use]
    pub fn known(&self) -> &[DriveReport] {
        &self.drives
    }

    /// Reads the drives. Whether they are others than before.
    fn read(&mut self) -> bool {
        let Some(devices) = &self.devices else { return false };
        (self.read_at, self.told) = (Some(Instant::now()), false);
        let mut drives = match devices.read() {
            Ok(found) => detect(&found),
            Err(error) => {
                tracing::warn!("the drives of this box cannot be read: {error}");
                self.failure = Some(unread(&error.to_string()));
                return false;
            }
        };
        self.failure = None;
        drives.iter_mut().for_each(|drive| self.put_health(drive));
        let others = drives != self.drives;
        if others {
            self.drives = drives;
            self.health_read_at = None;
        }
        others
    }

    async fn read_health(&mut self, pve: &Pve, node: &NodeName) {
        self.health_read_at = Some(Instant::now());
        match health(pve, node, &self.drives).await {
            Ok(health) => self.health = health,
            // Shown as not known; `doctor` tells of missing rights.
            Err(error) => tracing::debug!("PVE does not tell of the drives' health: {error}"),
        }
        let mut drives = std::mem::take(&mut self.drives);
        drives.iter_mut().for_each(|drive| self.put_health(drive));
        self.drives = drives;
    }

    fn put_health(&self, drive: &mut DriveReport) {
        let known = self.health.get(&drive.name).cloned().unwrap_or_default();
        (drive.health, drive.life_left_percent) = (known.word, known.life_left_percent);
    }
}

fn unread(why: &str) -> Failure {
    let text = format!("the drives of this box cannot be read: {why}");
    Failure { code: "drives_unreadable".to_owned(), text }
}

/// By name as of now. A drive behind a USB bridge is not asked: it can hang the call for all of them.
async fn health(
    pve: &Pve,
    node: &NodeName,
    drives: &[DriveReport],
) -> Result<BTreeMap<String, Health>, PveError> {
    let path = |drive: &DriveReport| format!("/dev/{}", drive.name);
    if drives.iter().all(|drive| drive.kind != "usb") {
        let entries = pve.disks(node, false).await?;
        let named = drives.iter().filter_map(|drive| {
            let entry = entries.iter().find(|entry| entry.devpath == path(drive))?;
            Some((drive.name.clone(), Health::from(entry)))
        });
        return Ok(ordered::map(named));
    }
    let mut all = BTreeMap::new();
    for drive in drives.iter().filter(|drive| drive.kind != "usb" && drive.kind != "virtual") {
        let word = known(&pve.disk_health(node, &path(drive)).await?);
        all.insert(drive.name.clone(), Health { word, life_left_percent: None });
    }
    Ok(all)
}

impl From<&DiskEntry> for Health {
    fn from(entry: &DiskEntry) -> Self {
        Self { word: known(&entry.health), life_left_percent: entry.life_left.parse().ok() }
    }
}

fn known(word: &str) -> Option<String> {
    (!word.is_empty() && !word.eq_ignore_ascii_case("unknown")).then(|| word.to_owned())
}
