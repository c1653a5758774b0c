//! A ZFS pool as a drive of the agent's: imported by its number, never by its name, from the very drives that were found to
//! carry it; with a small dataset of ours in it, where the marker lies.
//!
//! Forces nothing: a pool that another system used last is left to a person. Destroys nothing: what else is in the pool is
//! its owner's. Mounts nothing itself, as everywhere here: systemd mounts our dataset, PVE the guests' ones.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use felhom_shared::drive::{Content, DurableId, is_pool_name};
use felhom_shared::report::Failure;
use uuid::Uuid;

use super::block::{Pool, held_by_pool};
use super::clerk::{Clerk, failed};
use super::mount_unit;

/// How long ZFS takes to find out that a drive is gone, when it is made to look.
const REOPENS: Duration = Duration::from_secs(30);

/// Our dataset in a pool: it is mounted where the storage belongs, and holds the marker.
#[must_use]
pub(super) fn dataset(pool: &str) -> String {
    format!("{pool}/felhom")
}

impl Clerk<'_> {
    /// Has the pool of these members imported, with our dataset in it. Its name. One that was in use already may have lost
    /// its drives and got them back, and goes on with them.
    pub(super) fn import(
        &self,
        members: &[Content],
        id: &DurableId,
        in_use: bool,
    ) -> Result<String, Failure> {
        let name = name_of(members)?;
        self.load_zfs()?;
        let guid = id.contents().unwrap_or_default();
        match self.imported(&name) {
            None => {
                let mut args: Vec<String> =
                    ["import", "-N", "-o", "cachefile=none"].map(str::to_owned).to_vec();
                let devices = members.iter().map(|member| self.member_device(member).display().to_string());
                args.extend(devices.flat_map(|device| ["-d".to_owned(), device]));
                args.push(guid.to_owned());
                self.about_pool("zpool", &args.iter().map(String::as_str).collect::<Vec<_>>())?;
            }
            Some(pool) if !self.is_pool(&pool, guid)? => return Err(name_taken(&name)),
            Some(pool) if in_use => self.revive(&pool)?,
            Some(_) => {}
        }
        let ours = dataset(&name);
        if (self.tool)("zfs", &["list", "-H", "-o", "name", &ours]).is_err() {
            self.about_pool("zfs", &["create", "-o", "mountpoint=legacy", &ours])?;
        }
        Ok(name)
    }

    /// The drives of a pool may be back under other names. ZFS goes on using the old ones until it is told to look again;
    /// what it has not written yet is written then.
    fn revive(&self, pool: &Pool) -> Result<(), Failure> {
        let name = &pool.name;
        if !pool.is_suspended() {
            // It waits where the pool only now finds that its drives were gone, until that is cleared: so it is not waited for.
            let reopen = ["--fork", "zpool", "reopen", "-n", name];
            self.about_pool("setsid", &reopen)?;
            let until = Instant::now() + REOPENS;
            while Instant::now() < until && !self.imported(name).is_some_and(|pool| pool.is_suspended()) {
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        self.about_pool("zpool", &["clear", name])?;
        if self.imported(name).is_some_and(|pool| pool.is_suspended()) {
            let text =
                format!("the pool {name} still waits for a drive: `zpool status {name}` says for which");
            return Err(failed("pool_suspended", text));
        }
        Ok(())
    }

    /// Whether an imported pool is the one with this number: older kernels say only its name.
    fn is_pool(&self, pool: &Pool, guid: &str) -> Result<bool, Failure> {
        if pool.guid.is_some() {
            return Ok(pool.is(guid));
        }
        Ok(self.about_pool("zpool", &["get", "-H", "-o", "value", "guid", &pool.name])?.trim() == guid)
    }

    /// Writes out all that a pool has and lets go of its drives, so that they may be pulled.
    pub(super) fn export(&self, pool: &Pool) -> Result<(), Failure> {
        let drives = self.drives()?;
        let held = Some(held_by_pool(&pool.name));
        let members = drives.iter().flat_map(|drive| &drive.contents);
        let mut points: Vec<&String> = members
            .filter(|member| member.held_by.iter().any(|holder| Some(holder) == held.as_ref()))
            .flat_map(|member| &member.mounted_at)
            .collect();
        // What lies within another is unmounted first.
        points.sort_unstable_by(|one, other| other.cmp(one));
        points.dedup();
        for point in points {
            // Where it was mounted at boot or by PVE: systemd knows of every mount of the host.
            let unit = mount_unit::of_path(point);
            (self.tool)("systemctl", &["stop", "--", &unit]).map_err(|said| failed("pool_busy", said))?;
        }
        self.about_pool("zpool", &["export", &pool.name]).map(drop)
    }

    /// A new pool on one partition, named as its storage, as PVE makes them.
    pub(super) fn create_pool(&self, name: &str, partition: Uuid) -> Result<(), Failure> {
        self.load_zfs()?;
        let device = self.partition_device(&partition.to_string()).display().to_string();
        // Made as what is not mounted: a mount made here would be nobody else's.
        let made = [
            "create",
            "-o",
            "ashift=12",
            "-o",
            "cachefile=none",
            "-O",
            "compression=on",
            "-O",
            "canmount=off",
        ];
        let args: Vec<&str> = made.into_iter().chain([name, &device]).collect();
        self.about_pool("zpool", &args)?;
        self.about_pool("zfs", &["set", "canmount=on", name]).map(drop)
    }

    /// A name that is free, on every drive and in the kernel.
    pub(super) fn is_free_for_a_pool(&self, name: &str) -> Result<(), Failure> {
        let drives = self.drives()?;
        let mut members = drives.iter().flat_map(|drive| &drive.contents);
        let is_attached =
            members.any(|member| member.pool_id().is_some() && member.label.as_deref() == Some(name));
        if !is_pool_name(name) || is_attached || self.imported(name).is_some() {
            return Err(name_taken(name));
        }
        Ok(())
    }

    /// Its tools give up where the kernel has not loaded it, and this program may load nothing: systemd does.
    fn load_zfs(&self) -> Result<(), Failure> {
        self.about_pool("systemctl", &["start", "--", "modprobe@zfs.service"]).map(drop)
    }

    fn imported(&self, name: &str) -> Option<Pool> {
        self.devices().pools().into_iter().find(|pool| pool.name == name)
    }

    fn member_device(&self, member: &Content) -> PathBuf {
        let partition = member.known_by.iter().find_map(|id| id.as_str().strip_prefix("partition:"));
        match partition {
            Some(uuid) => self.partition_device(uuid),
            None => self.root.join("dev").join(&member.name),
        }
    }

    /// By a name that a pool may remember: `sdb1` is another drive's tomorrow.
    fn partition_device(&self, uuid: &str) -> PathBuf {
        self.root.join("dev/disk/by-partuuid").join(uuid)
    }

    /// Runs a tool of the host: what it prints, or its words as the reason.
    fn about_pool(&self, program: &str, args: &[&str]) -> Result<String, Failure> {
        (self.tool)(program, args).map_err(|said| failed("pool_failed", said))
    }
}

fn name_of(members: &[Content]) -> Result<String, Failure> {
    let mut names: Vec<&str> = members.iter().filter_map(|member| member.label.as_deref()).collect();
    names.dedup();
    match names[..] {
        [name] if is_pool_name(name) => Ok(name.to_owned()),
        _ => Err(failed("pool_name_unfit", format!("its drives call the pool {names:?}"))),
    }
}

fn name_taken(name: &str) -> Failure {
    let text = format!(
        "another pool is called {name}: import one of the two under another name first, with `zpool import NUMBER NEW-NAME`"
    );
    failed("pool_name_taken", text)
}
