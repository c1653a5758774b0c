//! A task's identifier. It names node, time, kind and user, so it can be judged without asking PVE.

use std::fmt;
use std::str::FromStr;

use felhom_shared::id::Vmid;
use serde::{Deserialize, Serialize};

/// `UPID:node:pid:pstart:starttime:kind:id:user:`, kept letter for letter, since PVE looks tasks up by its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upid {
    text: String,
    starttime: u64,
}

/// A text that is no UPID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a upid")]
pub struct InvalidUpid(String);

impl Upid {
    /// The node it runs on.
    #[must_use]
    pub fn node(&self) -> &str {
        self.field(1)
    }

    /// When it started, in seconds since 1970.
    #[must_use]
    pub fn starttime(&self) -> u64 {
        self.starttime
    }

    /// The type of the task: `vzcreate`, `qmstart`, `vzdump`, ….
    #[must_use]
    pub fn kind(&self) -> &str {
        self.field(5)
    }

    /// What it works on, in the kind's own form: `101`, `101@local`, or empty.
    #[must_use]
    pub fn id(&self) -> &str {
        self.field(6)
    }

    /// The guest it works on, when its id is just that.
    #[must_use]
    pub fn vmid(&self) -> Option<Vmid> {
        self.id().parse().ok()
    }

    /// Who started it: `user@realm` or `user@realm!token`.
    #[must_use]
    pub fn user(&self) -> &str {
        self.field(7)
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn field(&self, index: usize) -> &str {
        self.text.split(':').nth(index).expect("parse counted the fields")
    }
}

impl FromStr for Upid {
    type Err = InvalidUpid;

    fn from_str(text: &str) -> Result<Self, InvalidUpid> {
        let refuse = || InvalidUpid(text.to_owned());
        let fields: Vec<&str> = text.split(':').collect();
        let ["UPID", node, pid, pstart, starttime, kind, id, user, ""] = fields[..] else {
            return Err(refuse());
        };
        let hex = |field: &str, lengths: &[usize]| {
            lengths.contains(&field.len()) && field.bytes().all(|b| b.is_ascii_hexdigit())
        };
        // No control character or slash: the text goes into paths and to people's terminals.
        let plain = |field: &str| field.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        let sound = hex(pid, &[8])
            && hex(pstart, &[8, 9])
            && hex(starttime, &[8])
            && [node, kind, user].iter().all(|field| !field.is_empty() && plain(field))
            && plain(id);
        let starttime = u64::from_str_radix(starttime, 16).map_err(|_| refuse())?;
        if sound { Ok(Self { text: text.to_owned(), starttime }) } else { Err(refuse()) }
    }
}

impl TryFrom<String> for Upid {
    type Error = InvalidUpid;
    fn try_from(text: String) -> Result<Self, InvalidUpid> {
        text.parse()
    }
}

impl From<Upid> for String {
    fn from(upid: Upid) -> String {
        upid.text
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_upid_is_read_field_by_field() {
        let upid: Upid = "UPID:vm:00007162:000BBE3F:6B0567B3:vzcreate:107:root@pam!lab:".parse().unwrap();
        assert_eq!(
            (upid.node(), upid.kind(), upid.id(), upid.user()),
            ("vm", "vzcreate", "107", "root@pam!lab")
        );
        assert_eq!(upid.starttime(), 1_795_516_339);
        assert_eq!(upid.vmid().map(Vmid::get), Some(107));
        assert_eq!(upid.to_string().parse(), Ok(upid));
    }

    #[test]
    fn id_may_be_empty_or_name_more_than_a_guest() {
        let upid: Upid = "UPID:pve1:00000001:123456789:65000000:imgdel:101@bk:root@pam:".parse().unwrap();
        assert_eq!((upid.id(), upid.vmid()), ("101@bk", None));
        let upid: Upid = "UPID:pve1:00000001:00000001:65000000:aptupdate::root@pam:".parse().unwrap();
        assert_eq!((upid.id(), upid.vmid()), ("", None));
    }

    #[test]
    fn damaged_upids_are_refused() {
        for bad in [
            "",
            "UPID",
            "UPID:vm:00007162:000BBE3F:6B0567B3:vzcreate:107:root@pam",
            "UPID:vm:7162:000BBE3F:6B0567B3:vzcreate:107:root@pam:",
            "UPID:vm:00007162:000BBE3F:6B0567BX:vzcreate:107:root@pam:",
            "UPID::00007162:000BBE3F:6B0567B3:vzcreate:107:root@pam:",
            "UPID:vm:00007162:000BBE3F:6B0567B3:vzcreate:../1:root@pam:",
            "UPID:vm:00007162:000BBE3F:6B0567B3:vz\ncreate:107:root@pam:",
            "UPID:vm:00007162:000BBE3F:6B0567B3:vzcreate:107:root@pam::",
        ] {
            assert!(bad.parse::<Upid>().is_err(), "{bad:?}");
        }
    }
}
