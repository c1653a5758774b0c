//! Which format of the state this agent knows, and the refusal of a newer one: what a newer agent has written may mean
//! something that this one would misread, and the ledger of signed operations must never be misread.
//!
//! The number stands in the file's `user_version` and, for the packages, in `packaging/felhom-agent/data-format`. It is
//! raised when an older agent would misread the state, not when a table or a column that it does not look at is new.

use std::path::Path;

use rusqlite::Connection;

use super::{SCHEMA, StateError};

/// The newest format that is understood.
pub const FORMAT: u32 = 1;

/// Looks before anything is written, so that a file that is refused stays byte for byte as it was.
pub(super) fn refuse_newer(connection: &Connection, path: &Path) -> Result<(), StateError> {
    let found = read(connection).map_err(|source| StateError::Open { path: path.to_owned(), source })?;
    if found > FORMAT {
        return Err(StateError::Newer { path: path.to_owned(), found });
    }
    Ok(())
}

/// Makes what is missing. A file of the time before formats were written says 0 and has format 1.
pub(super) fn complete(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let found = read(connection)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    if found != FORMAT {
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    transaction.commit()
}

fn read(connection: &Connection) -> Result<u32, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::state::{FILE_NAME, State};

    fn set_format(folder: &Path, format: i32) {
        let connection = Connection::open(folder.join(FILE_NAME)).unwrap();
        connection.pragma_update(None, "user_version", format).unwrap();
    }

    fn format_of(folder: &Path) -> u32 {
        read(&Connection::open(folder.join(FILE_NAME)).unwrap()).unwrap()
    }

    #[test]
    fn the_packages_compare_the_same_number() {
        let packaged = include_str!("../../../packaging/felhom-agent/data-format");
        assert_eq!(packaged.trim().parse(), Ok(FORMAT));
    }

    #[test]
    fn a_file_from_before_formats_were_written_is_taken_and_marked() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = State::open(folder.path()).unwrap().outbox_id().unwrap();
        assert_eq!(format_of(folder.path()), FORMAT);
        set_format(folder.path(), 0);
        State::open_read_only(folder.path()).unwrap();
        assert_eq!(
            State::open(folder.path()).unwrap().outbox_id().unwrap(),
            outbox,
            "nothing was begun anew"
        );
        assert_eq!(format_of(folder.path()), FORMAT);
    }

    #[test]
    fn a_newer_file_is_refused_with_what_to_do_and_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        State::open(folder.path()).unwrap().outbox_id().unwrap();
        set_format(folder.path(), 2);
        let before = fs::read(folder.path().join(FILE_NAME)).unwrap();
        for refused in [State::open(folder.path()), State::open_read_only(folder.path())] {
            let error = refused.err().unwrap();
            let said = error.to_string();
            assert!(matches!(error, StateError::Newer { found: 2, .. }), "{said}");
            assert!(
                said.contains("install the newer felhom-agent again") && said.contains(FILE_NAME),
                "{said}"
            );
        }
        assert_eq!(fs::read(folder.path().join(FILE_NAME)).unwrap(), before);
    }
}
