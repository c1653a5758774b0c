//! What the token may do. Read first: where a right is missing, PVE answers with an empty list and 200.

use std::collections::BTreeMap;

use felhom_shared::ordered;
use serde::Deserialize;

use super::error::PveError;
use super::lenient;
use super::transport::Pve;

/// Privileges by the path they are granted on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    /// `/vms` → `VM.Audit` → whether the grant reaches further down. A deeper path replaces a shallower one.
    pub by_path: BTreeMap<String, BTreeMap<String, bool>>,
}

impl Permissions {
    /// Whether the privilege is held on `path`: granted by the deepest listed path at or above it.
    #[must_use]
    pub fn has(&self, path: &str, privilege: &str) -> bool {
        let mut at = path.trim_end_matches('/');
        let mut above = false;
        loop {
            let key = if at.is_empty() { "/" } else { at };
            if let Some(granted) = self.by_path.get(key) {
                return granted.get(privilege).is_some_and(|reaches_down| *reaches_down || !above);
            }
            above = true;
            match at.rfind('/') {
                Some(slash) => at = &at[..slash],
                None => return false,
            }
        }
    }
}

/// One privilege's value in PVE's answer.
#[derive(Deserialize)]
struct ReachesDown(#[serde(deserialize_with = "lenient::boolean")] bool);

impl Pve {
    /// What the token may do, on every path PVE lists for it.
    pub async fn permissions(&self) -> Result<Permissions, PveError> {
        let raw: BTreeMap<String, BTreeMap<String, ReachesDown>> =
            self.get("/access/permissions", &[]).await?;
        let plain =
            |granted: BTreeMap<String, ReachesDown>| granted.into_iter().map(|(name, down)| (name, down.0));
        let by_path =
            ordered::map(raw.into_iter().map(|(path, granted)| (path, ordered::map(plain(granted)))));
        Ok(Permissions { by_path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(pairs: &[(&str, &[&str])]) -> Permissions {
        let set = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), true)).collect();
        Permissions { by_path: pairs.iter().map(|(path, names)| ((*path).to_owned(), set(names))).collect() }
    }

    #[test]
    fn deeper_path_replaces_what_a_shallower_grants() {
        let permissions = granted(&[("/", &["Sys.Audit"]), ("/vms", &["VM.Audit"]), ("/vms/101", &[])]);
        assert!(permissions.has("/nodes/pve1", "Sys.Audit"));
        assert!(permissions.has("/vms/102", "VM.Audit"));
        assert!(!permissions.has("/vms/102", "Sys.Audit"));
        assert!(!permissions.has("/vms/101", "VM.Audit"));
    }

    #[test]
    fn a_grant_that_does_not_reach_down_holds_only_where_it_is() {
        let here = BTreeMap::from([("VM.Audit".to_owned(), false)]);
        let permissions = Permissions { by_path: BTreeMap::from([("/vms".to_owned(), here)]) };
        assert!(permissions.has("/vms", "VM.Audit"));
        assert!(!permissions.has("/vms/101", "VM.Audit"));
    }

    #[test]
    fn without_any_grant_nothing_is_held() {
        assert!(!Permissions::default().has("/vms", "VM.Audit"));
    }
}
