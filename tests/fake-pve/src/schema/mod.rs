//! The parameter schema of the supported calls: the official description where it lies
//! beside the repository, otherwise a distilled copy built into the program. A call
//! outside the schema has no parameters at all.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use self::param::Param;

pub(crate) mod check;
mod distil;
mod formats;
pub(crate) mod param;

pub use self::distil::distil;

/// One method of one path.
#[derive(Debug)]
pub(crate) struct CallSchema {
    /// Handled by pvedaemon, not by pveproxy itself.
    pub(crate) protected: bool,
    pub(crate) permissions: Value,
    pub(crate) params: BTreeMap<String, Arc<Param>>,
}

/// Which description is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaSource {
    /// The official `pve-api.json`.
    Official(PathBuf),
    /// The distilled copy of the supported calls.
    BuiltIn,
}

/// The copy built into the program.
pub(crate) fn distilled() -> HashMap<(String, String), CallSchema> {
    let api = serde_json::from_str(include_str!("endpoints.json")).expect("the built-in schema is JSON");
    distil::from_distilled(&api)
}

/// Beside the repository, where it is present.
fn official_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/pve/pve-api.json")
}

/// All calls by method and path template.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) source: SchemaSource,
    calls: HashMap<(String, String), CallSchema>,
}

impl Schema {
    /// Loaded once a process: the official file is four megabytes.
    pub(crate) fn shared() -> Arc<Self> {
        static SCHEMA: OnceLock<Arc<Schema>> = OnceLock::new();
        Arc::clone(SCHEMA.get_or_init(|| Arc::new(Self::load())))
    }

    fn load() -> Self {
        let path = official_path();
        if let Ok(text) = std::fs::read_to_string(&path) {
            let api: Value = serde_json::from_str(&text).expect("the official schema is JSON");
            return Self { source: SchemaSource::Official(path), calls: distil::from_official(&api) };
        }
        Self { source: SchemaSource::BuiltIn, calls: distilled() }
    }

    pub(crate) fn call(&self, method: &str, template: &str) -> Option<&CallSchema> {
        self.calls.get(&(method.to_owned(), template.to_owned()))
    }

    /// The schema of a guest's configuration key.
    pub(crate) fn config_key(&self, kind: &str, key: &str) -> Option<&Param> {
        self.call("PUT", &format!("/nodes/{{node}}/{kind}/{{vmid}}/config"))?.param(key)
    }
}

impl CallSchema {
    /// `net3` is described by `net[n]`.
    pub(crate) fn param(&self, name: &str) -> Option<&Param> {
        if let Some(param) = self.params.get(name) {
            return Some(param);
        }
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = &name[stem.len()..];
        let param = self.params.get(&format!("{stem}[n]"))?;
        let index: u64 = digits.parse().ok()?;
        let canonical = digits == "0" || !digits.starts_with('0');
        (canonical && index <= param.index_max.unwrap_or(255)).then_some(&**param)
    }
}
