//! The next keyset from the one before. Deterministic: the same edit of the same keyset gives the same bytes on
//! every machine, so signatures made in different places fit together.
//!
//! Nothing here says whether an edit is wise; what the contract refuses is refused with its reason.

use felhom_shared::signed::{KeyEntry, Keyset, PublicKey, Role, Thresholds};

/// Why there is no next keyset.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum EditError {
    #[error("the keyset would be refused: {0}")]
    Refused(String),
    #[error("{0} is not in the keyset")]
    KeyAbsent(String),
    #[error("{0} is in the keyset already")]
    KeyPresent(String),
    #[error("a threshold is written NAME=NUMBER with root, ops, destroy or release, not {0:?}")]
    Threshold(String),
}

/// What else an edit may change.
#[derive(Debug, Default, Clone)]
pub struct Settings {
    /// `root=2` and the like.
    pub thresholds: Vec<String>,
    /// Replace the hub's pins, where any are given.
    pub hub_pins: Vec<String>,
    /// Replace the escrow recipients, where any are given.
    pub escrow_recipients: Vec<String>,
}

/// The first keyset.
pub fn init(keys: Vec<KeyEntry>, settings: &Settings) -> Result<Keyset, EditError> {
    let keyset = Keyset {
        version: 1,
        prev_sha256: None,
        keys,
        thresholds: Thresholds { root: 1, ops: 1, destroy: 1, release: 1 },
        hub_pins: Vec::new(),
        escrow_recipients: Vec::new(),
    };
    finish(keyset, settings)
}

/// The next one, with one key more.
pub fn add(
    before: &Keyset,
    key: PublicKey,
    roles: Vec<Role>,
    settings: &Settings,
) -> Result<Keyset, EditError> {
    if before.keys.iter().any(|entry| entry.public == key) {
        return Err(EditError::KeyPresent(key.fingerprint()));
    }
    let mut keyset = after(before);
    keyset.keys.push(KeyEntry { public: key, roles });
    finish(keyset, settings)
}

/// The next one, without the key of this fingerprint.
pub fn revoke(before: &Keyset, fingerprint: &str, settings: &Settings) -> Result<Keyset, EditError> {
    let mut keyset = after(before);
    let at = position(&keyset, fingerprint)?;
    keyset.keys.remove(at);
    finish(keyset, settings)
}

/// The next one, with a new key in the place and the roles of an old one.
pub fn rotate(before: &Keyset, old: &str, new: PublicKey, settings: &Settings) -> Result<Keyset, EditError> {
    let mut keyset = after(before);
    let at = position(&keyset, old)?;
    if keyset.keys.iter().any(|entry| entry.public == new) {
        return Err(EditError::KeyPresent(new.fingerprint()));
    }
    keyset.keys[at].public = new;
    finish(keyset, settings)
}

fn after(before: &Keyset) -> Keyset {
    Keyset { version: before.version.saturating_add(1), prev_sha256: Some(before.digest()), ..before.clone() }
}

fn position(keyset: &Keyset, fingerprint: &str) -> Result<usize, EditError> {
    let at = keyset.keys.iter().position(|entry| entry.public.fingerprint() == fingerprint);
    at.ok_or_else(|| EditError::KeyAbsent(fingerprint.to_owned()))
}

fn finish(mut keyset: Keyset, settings: &Settings) -> Result<Keyset, EditError> {
    for text in &settings.thresholds {
        set_threshold(&mut keyset.thresholds, text)?;
    }
    if !settings.hub_pins.is_empty() {
        keyset.hub_pins.clone_from(&settings.hub_pins);
    }
    if !settings.escrow_recipients.is_empty() {
        keyset.escrow_recipients.clone_from(&settings.escrow_recipients);
    }
    keyset.check().map_err(EditError::Refused)?;
    Ok(keyset)
}

fn set_threshold(thresholds: &mut Thresholds, text: &str) -> Result<(), EditError> {
    let unlike = || EditError::Threshold(text.to_owned());
    let (name, number) = text.split_once('=').ok_or_else(unlike)?;
    let number = number.parse().map_err(|_| unlike())?;
    match name {
        "root" => thresholds.root = number,
        "ops" => thresholds.ops = number,
        "destroy" => thresholds.destroy = number,
        "release" => thresholds.release = number,
        _ => return Err(unlike()),
    }
    Ok(())
}
