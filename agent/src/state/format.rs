//! Which format of the state this agent knows, and the refusal of a newer one: what a newer agent has written may mean
//! something that this one would misread, and the ledger of signed operations must never be misread.
//!
//! The number stands in the file's `user_version` and, for the packages, in `packaging/felhom-agent/data-format`. It is
//! raised when an older agent would misread the state, not when a table or a column that it does not look at is new.

use std::path::Path;

use rusqlite::Connection;

use super::{SCHEMA, StateError};

/// The newest format that is understood.
pub const FORMAT: u32 = 3;

/// Looks before anything is written, so that a file that is refused stays byte for byte as it was.
pub(super) fn refuse_newer(connection: &Connection, path: &Path) -> Result<(), StateError> {
    let found = read(connection).map_err(|source| StateError::Open { path: path.to_owned(), source })?;
    if found > FORMAT {
        return Err(StateError::Newer { path: path.to_owned(), found });
    }
    Ok(())
}

/// Format 3 has the tunnel's steps in its journal, which an older agent cannot read. Until format 1 only guests had steps. The table is made anew, because a column cannot become one that may be empty.
const TO_FORMAT_2: &str = "
ALTER TABLE journal RENAME TO journal_1;
DROP INDEX journal_open;
DROP INDEX journal_began;
";
const FROM_FORMAT_1: &str = "
INSERT INTO journal SELECT * FROM journal_1;
DROP TABLE journal_1;
";

/// Makes what is missing. A file of the time before formats were written says 0 and has format 1.
pub(super) fn complete(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let found = read(connection)?;
    let transaction = connection.transaction()?;
    let is_old = found < 2 && has_journal(&transaction)?;
    if is_old {
        transaction.execute_batch(TO_FORMAT_2)?;
    }
    transaction.execute_batch(SCHEMA)?;
    if is_old {
        transaction.execute_batch(FROM_FORMAT_1)?;
    }
    if found != FORMAT {
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    transaction.commit()
}

fn has_journal(connection: &Connection) -> Result<bool, rusqlite::Error> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'journal'";
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|count| count > 0)
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
    fn a_journal_of_guests_alone_is_taken_over_with_what_is_open_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join(FILE_NAME)).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE journal (id INTEGER PRIMARY KEY, guest_id TEXT NOT NULL, vmid INTEGER NOT NULL, kind TEXT NOT NULL,
                    step TEXT NOT NULL, cycle INTEGER NOT NULL, began_at_ms INTEGER NOT NULL, upid TEXT,
                    ended_at_ms INTEGER, outcome TEXT, failure TEXT) STRICT;
                 CREATE INDEX journal_open ON journal (id) WHERE outcome IS NULL;
                 CREATE INDEX journal_began ON journal (began_at_ms);
                 INSERT INTO journal VALUES (7, '0d9be3f7-7b55-4d43-a7d5-6d4f4c3b2a10', 101, 'lxc', '\"start_guest\"', 3, 1000,
                    NULL, NULL, NULL, NULL);
                 PRAGMA user_version = 1;",
            )
            .unwrap();
        drop(connection);
        for _ in 0..2 {
            let state = State::open(folder.path()).unwrap();
            let open = state.open_entries().unwrap();
            assert_eq!((open.len(), open[0].step.word()), (1, "start_guest"));
            assert_eq!(open[0].item.guest().map(|(vmid, _)| vmid.get()), Some(101));
            assert_eq!((format_of(folder.path()), state.next_cycle().unwrap()), (FORMAT, 4));
        }
    }

    #[test]
    fn a_newer_file_is_refused_with_what_to_do_and_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        State::open(folder.path()).unwrap().outbox_id().unwrap();
        set_format(folder.path(), i32::try_from(FORMAT + 1).unwrap());
        let before = fs::read(folder.path().join(FILE_NAME)).unwrap();
        for refused in [State::open(folder.path()), State::open_read_only(folder.path())] {
            let error = refused.err().unwrap();
            let said = error.to_string();
            assert!(matches!(error, StateError::Newer { found, .. } if found == FORMAT + 1), "{said}");
            assert!(
                said.contains("install the newer felhom-agent again") && said.contains(FILE_NAME),
                "{said}"
            );
        }
        assert_eq!(fs::read(folder.path().join(FILE_NAME)).unwrap(), before);
    }
}
