//! API tokens and what they may do. Tickets and cookies are refused: the agent has none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::call::Refusal;

/// Every privilege of PVE 9, for the token that has them all.
const PRIVILEGES: &[&str] = &[
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Group.Allocate",
    "Mapping.Audit",
    "Mapping.Modify",
    "Mapping.Use",
    "Permissions.Modify",
    "Pool.Allocate",
    "Pool.Audit",
    "Realm.Allocate",
    "Realm.AllocateUser",
    "SDN.Allocate",
    "SDN.Audit",
    "SDN.Use",
    "Sys.AccessNetwork",
    "Sys.Audit",
    "Sys.Console",
    "Sys.Incoming",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "Sys.Syslog",
    "User.Modify",
    "VM.Allocate",
    "VM.Audit",
    "VM.Backup",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Console",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",
    "VM.GuestAgent.FileSystemMgmt",
    "VM.GuestAgent.FileWrite",
    "VM.GuestAgent.Unrestricted",
    "VM.Migrate",
    "VM.PowerMgmt",
    "VM.Replicate",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
];

/// A token as the test or the person defines it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Token {
    /// `user@realm!tokenid`.
    pub id: String,
    /// The UUID behind `=`.
    pub secret: String,
    /// Privileges by path; a path covers what lies below it.
    pub acl: BTreeMap<String, BTreeSet<String>>,
    /// An expired token answers like a wrong secret.
    pub expired: bool,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Token {
    /// A token with every privilege on `/`.
    #[must_use]
    pub fn full(id: &str, secret: &str) -> Self {
        Self::poor(id, secret).grant("/", PRIVILEGES)
    }

    /// A token that may do nothing until granted something.
    #[must_use]
    pub fn poor(id: &str, secret: &str) -> Self {
        Self { id: id.to_owned(), secret: secret.to_owned(), acl: BTreeMap::new(), expired: false }
    }

    /// The same token with more privileges on `path`.
    #[must_use]
    pub fn grant(mut self, path: &str, privileges: &[&str]) -> Self {
        let set = self.acl.entry(path.to_owned()).or_default();
        set.extend(privileges.iter().map(|&p| p.to_owned()));
        self
    }

    pub(crate) fn header_value(&self) -> String {
        format!("{}={}", self.id, self.secret)
    }
}

/// Who calls, after authentication.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// `user@realm!tokenid`.
    pub(crate) id: String,
    acl: BTreeMap<String, BTreeSet<String>>,
}

impl Caller {
    pub(crate) fn may(&self, path: &str, privilege: &str) -> bool {
        self.acl.iter().any(|(on, set)| {
            let covers =
                on == "/" || path == on || path.strip_prefix(on.as_str()).is_some_and(|r| r.starts_with('/'));
            covers && set.contains(privilege)
        })
    }

    pub(crate) fn may_any(&self, path: &str, privileges: &[&str]) -> bool {
        privileges.iter().any(|p| self.may(path, p))
    }

    pub(crate) fn acl(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.acl
    }

    /// Own tasks, or those of the user's other tokens never: a token sees just its own.
    pub(crate) fn owns(&self, user: &str) -> bool {
        self.id == user
    }
}

/// The caller behind an `Authorization` header.
pub(crate) fn authenticate(
    header: Option<&str>,
    tokens: &BTreeMap<String, Token>,
) -> Result<Caller, Refusal> {
    let no_ticket = || Refusal::bare(401, "No ticket");
    let failed = || Refusal::bare(401, "Authentication failed!");
    let credential = header.and_then(|h| h.strip_prefix("PVEAPIToken=")).ok_or_else(no_ticket)?;
    let (id, secret) = credential.split_once('=').ok_or_else(failed)?;
    let token = tokens.get(id).filter(|t| t.secret == secret && !t.expired).ok_or_else(failed)?;
    Ok(Caller { id: token.id.clone(), acl: token.acl.clone() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Token, authenticate};

    fn tokens() -> BTreeMap<String, Token> {
        let token = Token::poor("a@pve!t", "s").grant("/vms/100", &["VM.Audit"]);
        BTreeMap::from([(token.id.clone(), token)])
    }

    #[test]
    fn a_path_covers_what_lies_below_it_and_no_sibling_with_its_prefix() {
        let caller = authenticate(Some("PVEAPIToken=a@pve!t=s"), &tokens()).unwrap();
        assert!(caller.may("/vms/100", "VM.Audit") && caller.may("/vms/100/x", "VM.Audit"));
        assert!(!caller.may("/vms/1000", "VM.Audit") && !caller.may("/vms/100", "VM.Allocate"));
    }

    #[test]
    fn wrong_secrets_and_other_schemes_are_told_apart_in_the_reason() {
        let reason = |h| authenticate(h, &tokens()).unwrap_err().message;
        assert_eq!(reason(None), "No ticket");
        assert_eq!(reason(Some("Bearer xyz")), "No ticket");
        assert_eq!(reason(Some("PVEAPIToken=garbage")), "Authentication failed!");
        assert_eq!(reason(Some("PVEAPIToken=a@pve!t=x")), "Authentication failed!");
    }
}
