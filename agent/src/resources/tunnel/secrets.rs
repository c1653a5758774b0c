//! Values that came beside a document, until they are where they belong. In memory only: the agent's state holds no secret,
//! and an agent that was started anew asks for them again.

use std::collections::BTreeMap;

use felhom_shared::desired::DesiredState;
use felhom_shared::ordered;
use felhom_shared::secret::{SecretName, SecretRef, SecretValue};

/// What the hub has delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<SecretName, SecretValue>);

impl Secrets {
    /// Takes what this document names, by name and hash, and forgets everything else.
    pub fn take(&mut self, desired: &DesiredState, delivered: &BTreeMap<SecretName, SecretValue>) {
        let named = desired.secrets().filter_map(|named| {
            let value = delivered.get(&named.secret).filter(|value| value.sha256() == named.sha256);
            let value = value.or_else(|| self.get(named))?;
            Some((named.secret.clone(), value.clone()))
        });
        self.0 = ordered::map(named);
    }

    /// The value of a secret that a document names.
    #[must_use]
    pub fn get(&self, named: &SecretRef) -> Option<&SecretValue> {
        self.0.get(&named.secret).filter(|value| value.sha256() == named.sha256)
    }
}
