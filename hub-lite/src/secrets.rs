//! Secrets of hosts: put here before a document names them, delivered beside it, shown to nobody.

use std::collections::BTreeMap;

use felhom_shared::desired::DesiredState;
use felhom_shared::id::HostId;
use felhom_shared::secret::{SecretName, SecretRef, SecretValue};
use rusqlite::Connection;

use crate::auth::Keys;
use crate::clock::now_ms;
use crate::seal::SealError;
use crate::store::{StoreError, audit, desired_history, secrets};

/// Why a secret was not put or removed.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The current document names it.
    #[error("generation {0} names this secret: publish one that does not, then remove it")]
    InUse(felhom_shared::id::Generation),
    /// There is none.
    #[error("this host has no secret of that name")]
    Unknown,
    /// The store.
    #[error("the secrets could not be read or written")]
    Store(#[from] StoreError),
}

/// Puts a value under a name, and forgets those that the current document does not name: its own stays, and after it was replaced
/// it may still be published again.
pub fn put(
    sql: &Connection,
    keys: &Keys,
    host_id: HostId,
    (name, value): (&SecretName, &SecretValue),
    by: &str,
) -> Result<SecretRef, SecretError> {
    let named = SecretRef { secret: name.clone(), sha256: value.sha256() };
    let sealed = keys.seal().close(host_id, &named, value)?;
    secrets::put(sql, host_id, &named, (&sealed, now_ms()))?;
    let needed = named_by_current(sql, host_id)?.1;
    for old in of_name(sql, host_id, name)?.into_iter().filter(|old| *old != named && !needed.contains(old)) {
        secrets::remove(sql, host_id, &old)?;
    }
    let detail = format!("{name}, sha256 {}…", named.sha256.short());
    audit::append(sql, by, "secret_put", Some(host_id), (&detail, now_ms()))?;
    Ok(named)
}

/// Removes every value of a name that the current document does not need.
pub fn remove(sql: &Connection, host_id: HostId, name: &SecretName, by: &str) -> Result<(), SecretError> {
    let (generation, needed) = named_by_current(sql, host_id)?;
    let all = of_name(sql, host_id, name)?;
    if let Some(generation) = generation.filter(|_| all.iter().any(|one| needed.contains(one))) {
        return Err(SecretError::InUse(generation));
    }
    if all.is_empty() {
        return Err(SecretError::Unknown);
    }
    all.iter().try_for_each(|one| secrets::remove(sql, host_id, one))?;
    Ok(audit::append(sql, by, "secret_removed", Some(host_id), (name.as_str(), now_ms()))?)
}

/// The first secret of a document that this hub does not hold.
pub fn missing(
    sql: &Connection,
    host_id: HostId,
    desired: &DesiredState,
) -> Result<Option<SecretRef>, StoreError> {
    for named in desired.secrets() {
        if secrets::sealed(sql, host_id, named)?.is_none() {
            return Ok(Some(named.clone()));
        }
    }
    Ok(None)
}

/// The values that a document names, for its box. One that cannot be opened is left out: the box says what it lacks.
pub fn deliver(
    sql: &Connection,
    keys: &Keys,
    host_id: HostId,
    named: &[SecretRef],
) -> Result<BTreeMap<SecretName, SecretValue>, StoreError> {
    let mut values = BTreeMap::new();
    for named in named {
        let Some(sealed) = secrets::sealed(sql, host_id, named)? else { continue };
        match keys.seal().open(host_id, named, &sealed) {
            Ok(value) => drop(values.insert(named.secret.clone(), value)),
            Err(error) => tracing::error!(host.id = %host_id, secret = %named.secret, "{error}"),
        }
    }
    Ok(values)
}

fn of_name(sql: &Connection, host_id: HostId, name: &SecretName) -> Result<Vec<SecretRef>, StoreError> {
    let listed = secrets::list(sql, host_id)?.into_iter().filter(|listed| listed.name == *name);
    Ok(listed.map(|listed| SecretRef { secret: listed.name, sha256: listed.sha256 }).collect())
}

fn named_by_current(
    sql: &Connection,
    host_id: HostId,
) -> Result<(Option<felhom_shared::id::Generation>, Vec<SecretRef>), StoreError> {
    let current = desired_history::current_document(sql, host_id)?;
    Ok(current.map_or_else(Default::default, |current| (Some(current.generation), current.secrets)))
}
