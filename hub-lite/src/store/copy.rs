//! A copy of the whole database while the hub goes on writing, and what a copy is worth.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{StoreError, migrations};

/// Writes the database as it is at one moment into a new file. Readers and the writer go on meanwhile.
pub(crate) fn copy_into(folder: &Path, file: &Path) -> Result<(), StoreError> {
    let source = folder.join(super::FILE_NAME);
    let connection = open(&source)?;
    // One read transaction, so one moment; and what is written is packed, without the free pages of the source.
    connection.execute("VACUUM INTO $1", [file.display().to_string()])?;
    Ok(())
}

/// The schema of a copy that is whole. Refuses one that is damaged, and one that this hub is too old for.
pub(crate) fn schema_of_whole(file: &Path) -> Result<u32, StoreError> {
    let connection = open(file)?;
    let damaged = |text: String| StoreError::Damaged { what: "copy of the database", text };
    let check: Result<String, _> = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0));
    match check.map_err(|error| damaged(error.to_string()))?.as_str() {
        "ok" => {}
        found => return Err(damaged(found.to_owned())),
    }
    let schema: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if schema == 0 {
        return Err(damaged("it has none of the hub's tables".to_owned()));
    }
    migrations::refuse_newer(schema)?;
    Ok(schema)
}

fn open(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)
        .map_err(|source| StoreError::Open { path: file.to_owned(), source })?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    Ok(connection)
}
