//! The keysets on disk: the chain from the first one that this box was told to trust.
//!
//! Trust is not stored, it is made again at every start, from the digest in the configuration on: a changed row
//! breaks the chain and ends it there.

use felhom_shared::signed::{self, Rejection, Trusted};
use rusqlite::params;

use super::{State, StateError};

impl State {
    /// The keyset in force, verified anew from the first; none while there is no chain.
    pub fn trusted(&self, genesis_sha256: &str) -> Result<Option<Trusted>, StateError> {
        let blobs = self.keyset_blobs()?;
        let Some((first, rest)) = blobs.split_first() else { return Ok(None) };
        let damaged =
            |rejection: Rejection| StateError::Damaged { what: "keyset", text: rejection.to_string() };
        let mut trusted = signed::genesis(first.as_bytes(), genesis_sha256).map_err(damaged)?;
        for blob in rest {
            trusted = signed::next(&trusted, blob.as_bytes()).map_err(damaged)?;
        }
        Ok(Some(trusted))
    }

    /// All keysets from the first on, as they were signed.
    pub fn keyset_blobs(&self) -> Result<Vec<String>, StateError> {
        let sql = self.sql();
        let mut statement = sql.prepare_cached("SELECT blob FROM keysets ORDER BY version")?;
        let blobs = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(blobs)
    }

    /// Keeps the keyset after the last.
    pub fn put_keyset(&self, version: u64, blob: &str) -> Result<(), StateError> {
        self.sql().execute(
            "INSERT INTO keysets (version, blob) VALUES (?1, ?2)",
            params![version.cast_signed(), blob],
        )?;
        Ok(())
    }

    /// Forgets whom the box trusted, so that another first keyset can be configured. Break-glass, at the console.
    pub fn forget_trust(&self) -> Result<(), StateError> {
        self.sql().execute("DELETE FROM keysets", [])?;
        Ok(())
    }
}
