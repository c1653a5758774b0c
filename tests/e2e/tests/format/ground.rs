//! A box with drives and `felhom-host` on it, and what an operator would sign.

use fake_pve::{Control, Drive, FakePve, Options};
use felhom_agent::host::block::BlockDevices;
use felhom_agent::host::clerk::Clerk;
use felhom_agent::host::command::{Answer, DriveHead, HostCommand, ReadHead, SignedFormat};
use felhom_agent::host::format::Trust;
use felhom_agent::resources::storage::detect;
use felhom_shared::desired::Filesystem;
use felhom_shared::drive::{DriveReport, DurableId};
use felhom_shared::id::StorageId;
use felhom_shared::report::Failure;
use felhom_shared::signed::{Draft, ExpectDrive, FormatDrive, Op, Request, Target};
use felhom_tests::host_desk::{change_double, run_tool};
use felhom_tests::{Keyring, host_id};

pub(crate) const SERIAL: &str = "WX41A23P9";

pub(crate) fn storage() -> StorageId {
    StorageId::new("backup-usb").unwrap()
}

/// A box with its system drive, the drive that is meant, and another of the same make.
pub(crate) struct Ground {
    pub(crate) node: FakePve,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) keyring: Keyring,
    pub(crate) keysets: Vec<String>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let node = FakePve::start(Options::default()).unwrap();
        let keyring = Keyring::new();
        let drives = [Drive::usual().remove(0), Drive::spare(SERIAL), Drive::spare("WX41OTHER")];
        node.control().set_drives(&drives).unwrap();
        let keysets = vec![keyring.keyset_blob()];
        Self { node, folder: tempfile::tempdir().unwrap(), keyring, keysets }
    }

    pub(crate) fn control(&self) -> Control {
        self.node.control()
    }

    pub(crate) fn trust(&self) -> Trust {
        let genesis_sha256 = Some(self.keyring.keyset().digest());
        Trust {
            host_id: host_id(),
            genesis_sha256,
            tunnel_account: None,
            memory: self.folder.path().to_owned(),
        }
    }

    pub(crate) fn execute(&self, command: &HostCommand, trust: &Trust) -> Result<Answer, Failure> {
        let (control, root) = (self.control(), self.control().host_root());
        let tool = |program: &str, args: &[&str]| {
            run_tool(&root, program, args, &|change| change_double(&control, change))
        };
        Clerk { root: &root, tool: &tool, trust: Some(trust) }.execute(command)
    }

    pub(crate) fn drive(&self) -> DriveReport {
        let devices = BlockDevices::new(self.control().host_root()).read().unwrap();
        detect(&devices).into_iter().find(|drive| drive.serial.as_deref() == Some(SERIAL)).unwrap()
    }

    pub(crate) fn head(&self, durable_id: &DurableId) -> DriveHead {
        let read = HostCommand::ReadHead(ReadHead { storage: storage(), durable_id: durable_id.clone() });
        match self.execute(&read, &self.trust()) {
            Ok(Answer::Head(head)) => head,
            other => panic!("{other:?}"),
        }
    }

    /// What a person would sign now.
    pub(crate) fn order(&self) -> FormatDrive {
        let drive = self.drive();
        let head = self.head(drive.durable_id.as_ref().unwrap());
        let expect = ExpectDrive::of(&drive, head.sha256, head.blank).unwrap();
        FormatDrive { storage: storage(), filesystem: Filesystem::Ext4, expect }
    }

    pub(crate) fn op(&self) -> Op {
        let target = Target { host_id: host_id(), guest_id: None };
        self.keyring.issued(Draft { request: Request::FormatDrive(self.order()), target })
    }

    pub(crate) fn format(&self, envelope: &str) -> Result<Answer, Failure> {
        let (envelope, keysets) = (envelope.to_owned(), self.keysets.clone());
        self.execute(
            &HostCommand::FormatDrive(SignedFormat { storage: storage(), envelope, keysets }),
            &self.trust(),
        )
    }

    pub(crate) fn edit(&self, change: impl FnOnce(&mut Vec<Drive>)) {
        let mut drives = self.control().drives();
        change(&mut drives);
        self.control().set_drives(&drives).unwrap();
    }

    /// Panics unless this is refused with the code and no drive was touched.
    #[track_caller]
    pub(crate) fn refuses(&self, envelope: &str, code: &str, what: &str) {
        let before = self.control().drives();
        let answer = self.format(envelope);
        assert_eq!(
            answer.clone().err().map(|failure| failure.code).as_deref(),
            Some(code),
            "{what}: {answer:?}"
        );
        assert_eq!(self.control().drives(), before, "{what}: a drive was touched");
    }
}

/// The drive that is meant.
pub(crate) fn meant(drives: &mut [Drive]) -> &mut Drive {
    drives.iter_mut().find(|drive| drive.serial == SERIAL).unwrap()
}
