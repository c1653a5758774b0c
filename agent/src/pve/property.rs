//! PVE's property strings (`virtio=AA:BB…,bridge=vmbr0`) and comparison of values by meaning.
//!
//! PVE reorders, re-spells and completes what it is given, so comparing texts reports drift for ever. This module
//! knows for each kind of value which spellings mean the same and which defaults may be left out. It never guesses:
//! what it cannot parse is compared as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use felhom_shared::ordered;

use super::lenient::parse_bool;
use kind::Rules;

mod kind;
mod size;

pub use kind::PropertyKind;
pub use size::{size_bytes, size_text};

/// Cards that QEMU's `netN` may name in place of `model=`, with the MAC as value.
const QEMU_NET_MODELS: [&str; 16] = [
    "e1000",
    "e1000-82540em",
    "e1000-82544gc",
    "e1000-82545em",
    "e1000e",
    "i82551",
    "i82557b",
    "i82559er",
    "ne2k_isa",
    "ne2k_pci",
    "pcnet",
    "rtl8139",
    "virtio",
    "vmxnet3",
    "igb",
    "i82550",
];

/// A parsed property string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyString {
    default_key: Option<&'static str>,
    values: BTreeMap<String, String>,
}

/// A text that is no property string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a property string: {reason}")]
pub struct InvalidProperty {
    text: String,
    reason: &'static str,
}

impl PropertyString {
    /// Parses `value,key=value,…`; a part without `=` is the value of `default_key`.
    pub fn parse(default_key: Option<&'static str>, text: &str) -> Result<Self, InvalidProperty> {
        let refuse = |reason| InvalidProperty { text: text.to_owned(), reason };
        let mut values = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = match part.split_once('=') {
                Some(pair) => pair,
                None => (default_key.ok_or_else(|| refuse("a value has no key"))?, part),
            };
            if values.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(refuse("a key comes twice"));
            }
        }
        Ok(Self { default_key, values })
    }

    /// Parses a value of a known kind. QEMU's `virtio=MAC` becomes `model` and `macaddr`.
    pub fn of_kind(kind: PropertyKind, text: &str) -> Result<Self, InvalidProperty> {
        let refuse = |reason| InvalidProperty { text: text.to_owned(), reason };
        let rules = kind.rules().ok_or_else(|| refuse("this key holds a plain value"))?;
        let mut parsed = Self::parse(rules.default_key, text)?;
        if kind == PropertyKind::QemuNet
            && let Some(model) = QEMU_NET_MODELS.iter().find(|model| parsed.values.contains_key(**model))
        {
            let mac = parsed.values.remove(*model).unwrap_or_default();
            let model_twice = parsed.values.insert("model".to_owned(), (*model).to_owned()).is_some();
            let mac_twice = parsed.values.insert("macaddr".to_owned(), mac).is_some();
            if model_twice || mac_twice {
                return Err(refuse("the card is named twice"));
            }
        }
        Ok(parsed)
    }

    /// A property's value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// Whether a property is on; `None` when absent or no boolean.
    #[must_use]
    pub fn boolean(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(parse_bool)
    }

    /// The property `size` in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        self.get("size").and_then(size_bytes)
    }

    /// Sets a property.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.values.insert(key.into(), value.into());
    }

    /// Removes a property.
    pub fn remove(&mut self, key: &str) {
        self.values.remove(key);
    }

    /// All properties in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Takes over from `current` what PVE would otherwise make up anew (a card's MAC address).
    pub fn keep_filled_in(&mut self, current: &Self, kind: PropertyKind) {
        for key in kind.rules().map_or(&[][..], |rules| rules.filled_in) {
            if let (None, Some(value)) = (self.get(key), current.get(key)) {
                self.set(*key, value);
            }
        }
    }

    /// One form for all spellings of a meaning. For comparing, never for sending.
    fn canonical(mut self, rules: &Rules) -> BTreeMap<String, String> {
        for (key, value) in &mut self.values {
            let key = key.as_str();
            if rules.booleans.contains(&key) {
                if let Some(flag) = parse_bool(value) {
                    *value = u8::from(flag).to_string();
                }
            } else if rules.any_case.contains(&key) {
                value.make_ascii_lowercase();
            } else if rules.sets.contains(&key) {
                *value = value.split(';').collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(";");
            } else if key == "size"
                && let Some(bytes) = size_bytes(value)
            {
                *value = bytes.to_string();
            }
        }
        self.values.retain(|key, value| !rules.defaults.contains(&(key.as_str(), value.as_str())));
        self.values
    }
}

/// The value of the default key first and bare, then the rest by name, as PVE writes it.
impl fmt::Display for PropertyString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(value) = self.default_key.and_then(|key| self.get(key)) {
            f.write_str(value)?;
            separator = ",";
        }
        for (key, value) in self.iter().filter(|(key, _)| Some(*key) != self.default_key) {
            write!(f, "{separator}{key}={value}")?;
            separator = ",";
        }
        Ok(())
    }
}

/// Whether two values of a configuration key mean the same.
#[must_use]
pub fn same_meaning(a: &str, b: &str, kind: PropertyKind) -> bool {
    if a == b {
        return true;
    }
    match kind {
        PropertyKind::Tags => tag_set(a) == tag_set(b),
        PropertyKind::Description => a.trim_end() == b.trim_end(),
        PropertyKind::Boolean => {
            let flag = |text: &str| if text.is_empty() { Some(false) } else { parse_bool(text) };
            flag(a).is_some_and(|a| flag(b) == Some(a))
        }
        PropertyKind::Number => match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        },
        _ => match (canonical(a, kind), canonical(b, kind)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
    }
}

/// Whether `current` is what `wanted` asks for, when what PVE fills in by itself (MAC address, size) and `wanted`
/// leaves open is set aside.
#[must_use]
pub fn satisfies(current: &str, wanted: &str, kind: PropertyKind) -> bool {
    let (Some(rules), Some(mut has), Some(wants)) =
        (kind.rules(), canonical(current, kind), canonical(wanted, kind))
    else {
        return same_meaning(current, wanted, kind);
    };
    has.retain(|key, _| wants.contains_key(key) || !rules.filled_in.contains(&key.as_str()));
    has == wants
}

fn canonical(text: &str, kind: PropertyKind) -> Option<BTreeMap<String, String>> {
    Some(PropertyString::of_kind(kind, text).ok()?.canonical(kind.rules()?))
}

/// The tags in a text, separated by `;`, `,` or white space, in lower case as PVE keeps them.
#[must_use]
pub fn tag_set(text: &str) -> BTreeSet<String> {
    let tags = text.split(|c: char| c == ';' || c == ',' || c.is_whitespace()).filter(|tag| !tag.is_empty());
    ordered::set(tags.map(str::to_ascii_lowercase))
}

#[cfg(test)]
mod tests;
