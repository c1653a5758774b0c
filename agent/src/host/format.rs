//! A drive made new, by `felhom-host`, on the word of a signature and of nobody else.
//!
//! The agent that asks for it has checked the signature too, and may have been taken over since. So everything is checked
//! again here, from the digest that root has written into the configuration: keysets, signature, target, time; that this very
//! signature was not used before; and the drive, byte for byte, a moment before it is touched. What looks empty and is not
//! (members of pools and volume groups, encryption, RAID) is refused whatever was signed: a person empties it by hand.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use felhom_shared::desired::Filesystem;
use felhom_shared::drive::{DriveReport, DurableId};
use felhom_shared::id::HostId;
use felhom_shared::report::Failure;
use felhom_shared::signed::{
    self, Clock, ExpectDrive, FormatDrive, HeadDigest, OpId, Rejection, Request, Signed, authorise,
    check_window, read_op,
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::clerk::{Clerk, failed, unread};
use super::command::{DriveHead, SignedFormat};

/// Where both ends of a drive are looked at.
const END_BYTES: u64 = 1 << 20;
/// For a new partition to appear.
const APPEARS: Duration = Duration::from_secs(20);
/// What is made of several drives, or hides what it holds.
const WOVEN: [&str; 9] = [
    "zfs_member",
    "LVM2_member",
    "crypto_LUKS",
    "linux_raid_member",
    "bcache",
    "ceph_bluestore",
    "drbd",
    "btrfs",
    "swap",
];

/// Whose word counts, from the agent's configuration, which root has written.
#[derive(Debug, Clone)]
pub struct Trust {
    /// This box.
    pub host_id: HostId,
    /// Digest of the first keyset; none: nothing is ever formatted.
    pub genesis_sha256: Option<String>,
    /// Whose tunnels may run here; none: anybody's.
    pub tunnel_account: Option<String>,
    /// Where it is remembered which signatures were used, and how new the keysets were.
    pub memory: PathBuf,
}

/// What the file system made under a signature is known by.
#[must_use]
pub fn filesystem_uuid(op_id: &OpId) -> Uuid {
    let digest = Sha256::digest(format!("felhom file system {}", op_id.as_str()));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// Why a drive is not formatted, whatever anybody signs; none where it may be.
#[must_use]
pub fn objection(drive: &DriveReport) -> Option<Failure> {
    let no = |code: &str, text: String| Some(failed(code, text));
    if let Some(problem) = drive.problems.first() {
        return Some(problem.clone());
    }
    if drive.system {
        return no("drive_of_the_system", format!("the box itself runs from {}", drive.name));
    }
    if drive.read_only {
        return no("drive_read_only", format!("the kernel lets nobody write to {}", drive.name));
    }
    for content in &drive.contents {
        if let Some(point) = content.mounted_at.first() {
            return no("drive_mounted", format!("{} is mounted at {point}", content.name));
        }
        if let Some(holder) = content.held_by.first() {
            return no("drive_held", format!("{} is held by {holder}", content.name));
        }
        if let Some(format) = content.format.as_deref().filter(|format| WOVEN.contains(format)) {
            let text = format!(
                "{} is {format}: it looks unused and may hold more than can be seen. If it is to go, a person empties it \
                 first with `wipefs`",
                content.name
            );
            return no("drive_woven", text);
        }
    }
    None
}

impl Clerk<'_> {
    /// Reads both ends of a drive.
    pub(super) fn read_head(&self, durable_id: &DurableId) -> Result<DriveHead, Failure> {
        let drive = self.whole(durable_id)?;
        head(&self.device(&drive.name)).map_err(|error| unread(&error))
    }

    /// Formats what the envelope says, once.
    pub(super) fn format(&self, asked: &SignedFormat) -> Result<(), Failure> {
        let trust = self.trust.ok_or_else(|| refused(&Rejection::NoTrustRoot))?;
        let (op_id, order) = judge(trust, asked).map_err(|rejection| refused(&rejection))?;
        if order.storage != asked.storage {
            return Err(refused(&Rejection::NotAskedFor));
        }
        let drive = self.whole(&order.expect.durable_id)?;
        if let Some(objection) = objection(&drive) {
            return Err(objection);
        }
        let device = self.device(&drive.name);
        let head = head(&device).map_err(|error| unread(&error))?;
        let now = ExpectDrive::of(&drive, head.sha256, head.blank);
        let now = now
            .ok_or_else(|| failed("drive_without_identity", format!("{} cannot be described", drive.name)))?;
        if let Some(what) = order.expect.differs_from(&now) {
            return Err(refused(&Rejection::ExpectMismatch(what)));
        }
        // The kernel's own word that nobody uses it, which no list can give.
        let alone = fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_EXCL).open(&device);
        drop(
            alone
                .map_err(|error| failed("drive_held", format!("{} is in use: {error}", device.display())))?,
        );
        if order.filesystem == Filesystem::Zfs {
            self.is_free_for_a_pool(order.storage.as_str())?;
        }
        use_up(&trust.memory, &op_id)?;
        tracing::warn!(
            "{} is formatted with {} for {}",
            order.expect.words(),
            order.filesystem.word(),
            order.storage
        );
        self.make(&device, &drive.name, &order, filesystem_uuid(&op_id))
    }

    fn make(&self, device: &Path, name: &str, order: &FormatDrive, uuid: Uuid) -> Result<(), Failure> {
        let run = |program: &str, args: &[&str]| {
            (self.tool)(program, args).map(drop).map_err(|said| failed("format_failed", said))
        };
        let device = device.display().to_string();
        run("wipefs", &["--all", "--quiet", "--", &device])?;
        // A pool draws its own number, so its partition says under which signature it was made.
        let (kind, known) = match order.filesystem {
            Filesystem::Zfs => ("--typecode=1:bf01", Some(format!("--partition-guid=1:{uuid}"))),
            Filesystem::Ext4 | Filesystem::Xfs => ("--typecode=1:8300", None),
        };
        let table =
            ["--zap-all", "--new=1:0:0", kind, "--change-name=1:felhom"].into_iter().chain(known.as_deref());
        run("sgdisk", &table.chain([device.as_str()]).collect::<Vec<_>>())?;
        run("udevadm", &["settle"])?;
        let partition = self.first_partition(name)?.display().to_string();
        let text = uuid.to_string();
        match order.filesystem {
            // What lies on it belongs to guests and backups: nothing is kept back for root.
            Filesystem::Ext4 => run("mkfs.ext4", &["-q", "-F", "-m", "0", "-U", &text, &partition])?,
            Filesystem::Xfs => run("mkfs.xfs", &["-q", "-f", "-m", &format!("uuid={text}"), &partition])?,
            Filesystem::Zfs => self.create_pool(order.storage.as_str(), uuid)?,
        }
        // udev looks at what was written when the writer has closed it.
        run("udevadm", &["settle"])
    }

    fn first_partition(&self, name: &str) -> Result<PathBuf, Failure> {
        let deadline = Instant::now() + APPEARS;
        loop {
            let drives = self.drives()?;
            let drive = drives.iter().find(|drive| drive.name == name);
            let part = drive.and_then(|drive| drive.contents.iter().find(|content| content.name != name));
            if let Some(part) = part {
                return Ok(self.device(&part.name));
            }
            if Instant::now() > deadline {
                return Err(failed("format_failed", format!("the new partition of {name} does not appear")));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The one drive that is known so.
    fn whole(&self, durable_id: &DurableId) -> Result<DriveReport, Failure> {
        let drives = self.drives()?;
        let found = drives.into_iter().find(|drive| drive.durable_id.as_ref() == Some(durable_id));
        found.ok_or_else(|| failed("drive_not_found", format!("no drive is known by {durable_id} alone")))
    }

    fn device(&self, name: &str) -> PathBuf {
        self.root.join("dev").join(name)
    }
}

/// The whole way from bytes to an order, as the agent goes it, with nothing of the agent's but the bytes.
fn judge(trust: &Trust, asked: &SignedFormat) -> Result<(OpId, FormatDrive), Rejection> {
    let genesis = trust.genesis_sha256.as_ref().ok_or(Rejection::NoTrustRoot)?;
    let (first, rest) = asked.keysets.split_first().ok_or(Rejection::NoTrustRoot)?;
    let mut trusted = signed::genesis(first.as_bytes(), genesis)?;
    for keyset in rest {
        trusted = signed::next(&trusted, keyset.as_bytes())?;
    }
    let keyset = trusted.keyset();
    // A keyset that was replaced may still trust a key that was revoked.
    if keyset.version < newest_keyset(&trust.memory) {
        return Err(Rejection::KeysetVersion);
    }
    let verified = read_op(Signed::decode(asked.envelope.as_bytes())?, keyset)?;
    let op = verified.op();
    if op.target.host_id != trust.host_id {
        return Err(Rejection::WrongHost);
    }
    authorise(&verified, keyset)?;
    let now_ms = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    check_window(op, Clock { system_ms: now_ms, floor_ms: 0 })?;
    let Request::FormatDrive(order) = &op.request else { return Err(Rejection::OpUnknown) };
    note_keyset(&trust.memory, keyset.version);
    Ok((verified.op_id().clone(), order.clone()))
}

const NEWEST_KEYSET: &str = "keyset-version";

fn newest_keyset(memory: &Path) -> u64 {
    fs::read_to_string(memory.join(NEWEST_KEYSET)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn note_keyset(memory: &Path, version: u64) {
    if version > newest_keyset(memory) {
        // Without the note only the agent's own look is left, which has been taken already.
        let _ = fs::create_dir_all(memory)
            .and_then(|()| fs::write(memory.join(NEWEST_KEYSET), version.to_string()));
    }
}

/// On disk before the drive is touched: a signature formats once, also when the power goes in the middle.
fn use_up(memory: &Path, op_id: &OpId) -> Result<(), Failure> {
    let folder = memory.join("used");
    let used = || {
        fs::create_dir_all(&folder)?;
        File::create_new(folder.join(op_id.as_str()))?.sync_all()?;
        File::open(&folder)?.sync_all()
    };
    used().map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return refused(&Rejection::Replayed);
        }
        failed("format_failed", format!("{} cannot be written: {error}", folder.display()))
    })
}

fn head(device: &Path) -> io::Result<DriveHead> {
    let mut file = File::open(device)?;
    let size = file.seek(SeekFrom::End(0))?;
    let mut hash = Sha256::new();
    let mut blank = true;
    for start in [0, size.saturating_sub(END_BYTES)] {
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        (&file).take(END_BYTES).read_to_end(&mut bytes)?;
        blank &= bytes.iter().all(|byte| *byte == 0);
        hash.update(&bytes);
    }
    let digest = data_encoding::HEXLOWER.encode(&hash.finalize());
    Ok(DriveHead { sha256: HeadDigest::new(digest).expect("SHA-256 has 64 digits"), blank })
}

fn refused(rejection: &Rejection) -> Failure {
    failed(rejection.code(), rejection.to_string())
}
