//! What operators hand in: signed operations and keysets. Kept byte for byte and read by nobody here: the box
//! decides what a signature allows, and a hub that had its own idea of it could be wrong to the same effect.

use felhom_shared::id::HostId;
use felhom_shared::limits::ENVELOPE_BYTES_MAX;
use felhom_shared::signed::OpId;
use felhom_shared::wire::{QueueState, QueuedOp};
use rusqlite::Connection;

use crate::state::AppState;
use crate::store::keysets::{self, StoredKeyset};
use crate::store::{StoreError, audit, hosts, signed_ops};

/// Most operations that wait for one box. More than this is a mistake or an attack on the box's time.
pub const QUEUED_PER_HOST_MAX: u32 = 256;
/// Most operations kept of one box, with what became of them.
pub const KEPT_PER_HOST_MAX: u32 = 4096;
/// No honest keyset's number is near it, and the store's numbers hold it.
const KEYSET_VERSION_MAX: u64 = 1 << 53;

/// Why something is not taken. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It is larger than any envelope.
    #[error("an envelope has at most {ENVELOPE_BYTES_MAX} bytes, this one has {0}")]
    TooLarge(usize),
    /// It cannot be an envelope, which is text.
    #[error("an envelope is a text file, and this is none; hand in the file that felhom-sign wrote")]
    NotText,
    /// There is no such host.
    #[error("there is no such host")]
    NoHost,
    /// The host's queue is full.
    #[error("{QUEUED_PER_HOST_MAX} operations wait for this box already; it must take them first")]
    QueueFull,
    /// A keyset's number is none.
    #[error("a keyset's version is a number from 1 on")]
    Version,
    /// A keyset would leave a gap.
    #[error("the newest keyset here is {newest}; upload version {} first", .newest + 1)]
    Gap {
        /// The newest version that the hub holds.
        newest: u64,
    },
    /// Another keyset has this number.
    #[error("another keyset is stored as version {0}; a keyset is never replaced, make the next version")]
    OtherBytes(u64),
    /// The store.
    #[error("it could not be stored")]
    Store(#[from] StoreError),
}

impl UploadError {
    /// The stable word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "envelope_too_large",
            Self::NotText => "envelope_not_text",
            Self::NoHost => "not_found",
            Self::QueueFull => "queue_full",
            Self::Version => "keyset_version",
            Self::Gap { .. } => "keyset_gap",
            Self::OtherBytes(_) => "keyset_other_bytes",
            Self::Store(_) => "store_failed",
        }
    }
}

/// Who hands something in, and when.
#[derive(Debug, Clone)]
pub struct Uploader {
    /// Name of the operator or of the system user.
    pub name: String,
    /// Milliseconds.
    pub now_ms: i64,
}

impl Uploader {
    /// Somebody, now.
    #[must_use]
    pub fn now(name: impl Into<String>) -> Self {
        Self { name: name.into(), now_ms: crate::clock::now_ms() }
    }
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The operation's id.
    pub op_id: OpId,
    /// Where it stands.
    pub state: QueueState,
    /// Whether it is new here.
    pub new: bool,
}

/// Queues a signed operation, wakes its box and rings for the pages.
pub async fn hand_in(
    state: &AppState,
    host_id: HostId,
    envelope: Vec<u8>,
    by: Uploader,
) -> Result<Uploaded, UploadError> {
    let work = move |sql: &Connection| all_or_nothing(upload(sql, host_id, &envelope, &by));
    let uploaded = state.store.write(work).await??;
    state.reload(host_id).await?;
    Ok(uploaded)
}

/// Stores a keyset and wakes every box; `false` if it was there already.
pub async fn hand_in_keyset(
    state: &AppState,
    version: u64,
    envelope: Vec<u8>,
    by: Uploader,
) -> Result<bool, UploadError> {
    let work = move |sql: &Connection| all_or_nothing(put_keyset(sql, version, &envelope, &by));
    let new = state.store.write(work).await??;
    state.reload_keysets().await?;
    Ok(new)
}

/// A refusal has written nothing; a failure of the store must be rolled back.
fn all_or_nothing<T>(done: Result<T, UploadError>) -> Result<Result<T, UploadError>, StoreError> {
    match done {
        Err(UploadError::Store(error)) => Err(error),
        done => Ok(done),
    }
}

/// Queues a signed operation for a box. The same bytes again are the same operation, wherever it stands.
pub fn upload(
    sql: &Connection,
    host_id: HostId,
    envelope: &[u8],
    by: &Uploader,
) -> Result<Uploaded, UploadError> {
    let blob = text_of(envelope)?;
    let op_id = OpId::of(envelope);
    if hosts::get(sql, host_id)?.is_none() {
        return Err(UploadError::NoHost);
    }
    if let Some(op) = signed_ops::get(sql, host_id, &op_id)? {
        return Ok(Uploaded { op_id, state: op.state, new: false });
    }
    let has_room = signed_ops::queued_count(sql, host_id)? < QUEUED_PER_HOST_MAX
        && signed_ops::make_room(sql, host_id, KEPT_PER_HOST_MAX)?;
    if !has_room {
        return Err(UploadError::QueueFull);
    }
    audit::append(sql, &by.name, "op_uploaded", Some(host_id), (op_id.as_str(), by.now_ms))?;
    let op = QueuedOp { op_id, blob };
    signed_ops::insert(sql, host_id, &op, (&by.name, by.now_ms))?;
    Ok(Uploaded { op_id: op.op_id, state: QueueState::Queued, new: true })
}

/// Stores a keyset under its number; `false` if it is there already. The numbers have no gap, because a box
/// that meets one would wait behind it for ever.
pub fn put_keyset(
    sql: &Connection,
    version: u64,
    envelope: &[u8],
    by: &Uploader,
) -> Result<bool, UploadError> {
    let blob = text_of(envelope)?;
    if !(1..=KEYSET_VERSION_MAX).contains(&version) {
        return Err(UploadError::Version);
    }
    if let Some(stored) = keysets::get(sql, version)? {
        return if stored.blob == blob { Ok(false) } else { Err(UploadError::OtherBytes(version)) };
    }
    let newest = keysets::newest(sql)?;
    if version != newest + 1 {
        return Err(UploadError::Gap { newest });
    }
    let detail = format!("version {version}, {}", OpId::of(envelope));
    audit::append(sql, &by.name, "keyset_uploaded", None, (&detail, by.now_ms))?;
    let keyset = StoredKeyset { version, blob, uploaded_by: by.name.clone(), uploaded_at_ms: by.now_ms };
    keysets::insert(sql, &keyset)?;
    Ok(true)
}

/// An envelope as the text that travels. Not a look inside: only what a JSON string and the store can hold.
fn text_of(envelope: &[u8]) -> Result<String, UploadError> {
    if envelope.len() > ENVELOPE_BYTES_MAX {
        return Err(UploadError::TooLarge(envelope.len()));
    }
    let text = std::str::from_utf8(envelope).map_err(|_| UploadError::NotText)?;
    let is_text = !text.trim().is_empty() && !text.chars().any(|c| c.is_control() && !c.is_whitespace());
    if is_text { Ok(text.to_owned()) } else { Err(UploadError::NotText) }
}

/// An envelope that went through a form: browsers send every line end as two characters, and people lose the
/// last one. Undone here, so that what is queued are the bytes that were signed.
#[must_use]
pub fn from_form(pasted: &str) -> String {
    let text = pasted.replace("\r\n", "\n");
    format!("{}\n", text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_gives_back_the_bytes_that_were_signed() {
        let file =
            "{\"op\":\"guest.destroy\"}\n-----BEGIN SSH SIGNATURE-----\nAA==\n-----END SSH SIGNATURE-----\n";
        assert_eq!(from_form(&file.replace('\n', "\r\n")), file);
        assert_eq!(from_form(&format!("\r\n {}", file.trim_end())), file);
    }

    #[test]
    fn what_is_no_text_or_too_much_of_it_is_no_envelope() {
        for bytes in [&b""[..], b" \n", b"\xff\xfe", b"{}\n\0", b"{}\x1b[2J\n"] {
            assert_eq!(text_of(bytes).unwrap_err().code(), "envelope_not_text", "{bytes:?}");
        }
        assert!(text_of(&vec![b'x'; ENVELOPE_BYTES_MAX]).is_ok());
        assert_eq!(text_of(&vec![b'x'; ENVELOPE_BYTES_MAX + 1]).unwrap_err().code(), "envelope_too_large");
        assert_eq!(text_of("{\"name\":\"tükör\"}\n".as_bytes()).unwrap(), "{\"name\":\"tükör\"}\n");
    }
}
