//! What can go wrong with one call, named by what the caller must do next.
//!
//! PVE says nearly everything with status 500 and a sentence, so sentences are classified here, in one place.
//! Nothing here decides whether something *exists*: a sentence saying "does not exist" is a reason to list,
//! not a reading.

use std::collections::BTreeMap;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PveError {
    /// 401: the token is not accepted.
    #[error("pve does not accept the agent's token: {reason}")]
    Unauthorized {
        /// The reason phrase; the body is empty.
        reason: String,
    },
    /// 403: the token lacks a privilege.
    #[error("pve forbids this to the agent's token: {message}")]
    Forbidden {
        /// PVE's text; mostly names path and privilege.
        message: String,
    },
    /// 400: a parameter is wrong, or (rarely) what it names is.
    #[error("pve refuses the parameters: {}", describe(errors, message))]
    BadParameter {
        /// Text for each parameter.
        errors: BTreeMap<String, String>,
        /// PVE's summary.
        message: String,
    },
    /// 500, 501 and the rest: PVE answered no. A refused configuration change may have been applied in part.
    #[error("pve refuses ({status}): {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// PVE's text.
        message: String,
        /// What the text means.
        cause: RefusedCause,
    },
    /// A changing call of which nobody can say whether it took effect. Never repeat it before looking.
    #[error("it is unknown whether pve did this: {what}")]
    OutcomeUnknown {
        /// The call and what became of it.
        what: String,
    },
    /// The call did not reach PVE, or asked for a reading that did not arrive. Nothing was changed.
    #[error("pve cannot be reached: {what}")]
    Unreachable {
        /// The call and what became of it.
        what: String,
    },
    /// A reading arrived that cannot be understood.
    #[error("pve's answer cannot be understood: {what}")]
    Malformed {
        /// The call and what is wrong with its answer.
        what: String,
    },
}

/// What a refusal's text means.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum RefusedCause {
    /// Something that the call names is not there; not necessarily the guest.
    NotFound,
    AlreadyExists,
    /// A persistent lock in the guest's configuration. No token can clear it.
    Locked {
        lock: String,
    },
    /// Another task held the file lock for as long as PVE was willing to wait.
    LockTimeout,
    /// The configuration changed after the digest was read.
    DigestMismatch,
    AlreadyRunning,
    NotRunning,
    /// Refused because the guest runs and this needs it stopped.
    StillRunning,
    Protected,
    NoQuorum,
    /// The disk already has the wanted size.
    AlreadySized,
    Other,
}

impl PveError {
    /// Whether the call may have taken effect in a way that only reading again can tell.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }

    /// Whether a changing call that failed so may have left something behind: all of it
    /// ([`Self::OutcomeUnknown`]) or part (a refusal whose cause does not show it came before any work; a
    /// failed hotplug arrives as a wrong parameter).
    #[must_use]
    pub fn may_have_applied(&self) -> bool {
        matches!(
            self,
            Self::OutcomeUnknown { .. }
                | Self::Refused { cause: RefusedCause::Other | RefusedCause::NotFound, .. }
                | Self::BadParameter { .. }
        )
    }

    /// Whether PVE says that something the call names is not there. A hint to list, not a reading.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Refused { cause, .. } => *cause == RefusedCause::NotFound,
            Self::BadParameter { errors, .. } => errors.values().any(|text| text_says_not_found(text)),
            _ => false,
        }
    }

    /// Whether the same reading may succeed a moment later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Refused { cause: RefusedCause::LockTimeout, .. })
    }

    /// A stable code for reports.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "pve_unauthorized",
            Self::Forbidden { .. } => "pve_forbidden",
            Self::BadParameter { .. } => "pve_bad_parameter",
            Self::Refused { cause, .. } => cause.code(),
            Self::OutcomeUnknown { .. } => "pve_outcome_unknown",
            Self::Unreachable { .. } => "pve_unreachable",
            Self::Malformed { .. } => "pve_malformed",
        }
    }

    /// One sentence for a person.
    #[must_use]
    pub fn what_to_do(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => {
                "Check that the agent's API token exists, is enabled and has not expired."
            }
            Self::Forbidden { .. } => "Grant the named privilege to the agent's role on the named path.",
            Self::BadParameter { .. } => "Correct the named value in the desired state.",
            Self::Refused { cause, .. } => cause.what_to_do(),
            Self::OutcomeUnknown { .. } => {
                "Nothing: the agent reads the state again before it does anything else."
            }
            Self::Unreachable { .. } => {
                "Check that pveproxy and pvedaemon run on the host; the agent tries again."
            }
            Self::Malformed { .. } => "Report this: the PVE version may be newer than the agent understands.",
        }
    }

    /// Builds the error for an answer that is not a success.
    pub(super) fn from_answer(answer: &Refusal<'_>) -> Self {
        let message = answer.text();
        match answer.status {
            401 => Self::Unauthorized { reason: message },
            403 => Self::Forbidden { message },
            400 => Self::BadParameter { errors: answer.errors.clone(), message },
            595..=599 => {
                let what = format!("{}: pveproxy answered {} {message}", answer.call, answer.status);
                if answer.changing { Self::OutcomeUnknown { what } } else { Self::Unreachable { what } }
            }
            status => Self::Refused { status, cause: RefusedCause::of(&message), message },
        }
    }
}

/// An answer that is not a success, as the transport read it.
pub(super) struct Refusal<'a> {
    pub(super) call: &'a str,
    pub(super) changing: bool,
    pub(super) status: u16,
    /// From the status line; the only text there is with 401, 595 and PVE before 2025.
    pub(super) reason: String,
    /// From the body; may have more lines than the status line can carry.
    pub(super) message: Option<String>,
    pub(super) errors: BTreeMap<String, String>,
}

impl Refusal<'_> {
    fn text(&self) -> String {
        let message = self.message.as_deref().map_or("", str::trim);
        let text = if message.is_empty() { self.reason.trim() } else { message };
        if text.is_empty() { "no reason given".to_owned() } else { text.to_owned() }
    }
}

impl RefusedCause {
    /// Classifies PVE's sentence. Order matters where one sentence contains another's words.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if has(&["detected modified configuration", "file change by other user"]) {
            Self::DigestMismatch
        } else if let Some(lock) = lock_in(text) {
            Self::Locked { lock }
        } else if has(&["can't lock file", "got timeout", "got lock request timeout", "lock file timeout"]) {
            Self::LockTimeout
        } else if has(&["no quorum", "cluster not ready"]) {
            Self::NoQuorum
        } else if has(&["protection mode enabled"]) {
            Self::Protected
        } else if has(&["already at specified size"]) {
            Self::AlreadySized
        } else if has(&["already exists", "already defined"]) {
            Self::AlreadyExists
        } else if has(&["already running"]) {
            Self::AlreadyRunning
        } else if has(&["container is running", "is running - destroy failed", "overwrite running"]) {
            Self::StillRunning
        } else if says_guest_not_running(text) {
            Self::NotRunning
        } else if text_says_not_found(text) {
            Self::NotFound
        } else {
            Self::Other
        }
    }

    /// A stable code for reports.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "pve_not_found",
            Self::AlreadyExists => "pve_already_exists",
            Self::Locked { .. } => "pve_locked",
            Self::LockTimeout => "pve_lock_timeout",
            Self::DigestMismatch => "pve_digest_mismatch",
            Self::AlreadyRunning => "pve_already_running",
            Self::NotRunning => "pve_not_running",
            Self::StillRunning => "pve_still_running",
            Self::Protected => "pve_protected",
            Self::NoQuorum => "pve_no_quorum",
            Self::AlreadySized => "pve_already_sized",
            Self::Other => "pve_refused",
        }
    }

    fn what_to_do(&self) -> &'static str {
        match self {
            Self::NotFound => "Check that the named guest, storage or volume exists on the node.",
            Self::AlreadyExists => "Choose another id, or remove what holds this one.",
            Self::Locked { .. } => {
                "Make sure no task runs for the guest, then clear the lock on the host: `pct unlock` or `qm unlock`."
            }
            Self::LockTimeout => "Nothing: another task held the guest; the agent tries again.",
            Self::DigestMismatch => {
                "Nothing: somebody changed the configuration meanwhile; the agent reads it again."
            }
            Self::AlreadyRunning | Self::NotRunning | Self::AlreadySized => "Nothing: it is so already.",
            Self::StillRunning => "Shut the guest down first.",
            Self::Protected => "Take the guest's protection away on PVE if it is really meant to go.",
            Self::NoQuorum => "Bring the cluster's other nodes back; without quorum PVE changes nothing.",
            Self::Other => "Read PVE's text; the task log on the host may say more.",
        }
    }
}

/// `CT is locked (backup)`, `VM 110 is locked (snapshot-delete)`.
fn lock_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("is locked (")?;
    rest.split_once(')').map(|(lock, _)| lock.to_owned())
}

/// `CT 101 not running`, `VM 110 is not running`; but not "QEMU guest agent is not running".
fn says_guest_not_running(text: &str) -> bool {
    text.lines().any(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("CT" | "VM"))
            && words.next().is_some_and(|id| id.bytes().all(|b| b.is_ascii_digit()))
            && matches!(words.collect::<Vec<_>>()[..], ["not", "running"] | ["is", "not", "running"])
    })
}

/// "No such file or directory" is a broken host, not an absent object.
fn text_says_not_found(text: &str) -> bool {
    let says = |words: &str| text.contains(words);
    says("does not exist") || says("No such storage") || says("no such task") || says("No such job")
}

fn describe(errors: &BTreeMap<String, String>, message: &str) -> String {
    if errors.is_empty() {
        return message.to_owned();
    }
    errors.iter().map(|(name, text)| format!("{name}: {}", text.trim())).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(lock: &str) -> RefusedCause {
        RefusedCause::Locked { lock: lock.to_owned() }
    }

    #[test]
    fn recorded_sentences_have_their_cause() {
        use RefusedCause as C;
        let table = [
            ("Configuration file 'nodes/vm/lxc/107.conf' does not exist", C::NotFound),
            ("storage 'nosuch' does not exist", C::NotFound),
            ("400 Parameter verification failed.\nid: No such job 'nightly'", C::NotFound),
            ("CT 107 already exists on node 'vm'", C::AlreadyExists),
            ("create storage failed: storage ID 'd1' already defined", C::AlreadyExists),
            ("create pool failed: pool 'felhom' already exists", C::AlreadyExists),
            ("CT is locked (backup)", locked("backup")),
            ("VM is locked (snapshot-delete)", locked("snapshot-delete")),
            ("can't lock file '/run/lock/lxc/pve-config-107.lock' - got timeout", C::LockTimeout),
            ("detected modified configuration - file changed by other user? Try again.", C::DigestMismatch),
            (
                "update storage failed: detected modified configuration - file changed by other user? Try again.",
                C::DigestMismatch,
            ),
            ("checksum mismatch (file change by other user?)", C::DigestMismatch),
            ("CT 101 already running", C::AlreadyRunning),
            ("CT 101 not running", C::NotRunning),
            ("VM 110 is not running", C::NotRunning),
            ("unable to destroy CT 101 - container is running", C::StillRunning),
            ("can't overwrite running container", C::StillRunning),
            ("can't remove CT 107 - protection mode enabled", C::Protected),
            ("cluster not ready - no quorum?", C::NoQuorum),
            ("disk is already at specified size", C::AlreadySized),
            ("QEMU guest agent is not running", C::Other),
            ("bridge 'vmbr0' does not exist", C::NotFound),
            ("unable to shrink disk size", C::Other),
            ("no options specified", C::Other),
            ("RRD error: realpath(/var/lib/rrdcached/db): No such file or directory", C::Other),
            ("hostname lookup 'otherhost' failed - failed to get address info for: otherhost", C::Other),
            ("Method 'GET /nosuch' not implemented", C::Other),
        ];
        for (text, cause) in table {
            assert_eq!(RefusedCause::of(text), cause, "{text}");
        }
    }

    fn refusal(status: u16, changing: bool, reason: &str, message: Option<&str>) -> PveError {
        PveError::from_answer(&Refusal {
            call: "POST /nodes/pve1/lxc/101/status/start",
            changing,
            status,
            reason: reason.to_owned(),
            message: message.map(str::to_owned),
            errors: BTreeMap::new(),
        })
    }

    #[test]
    fn reason_phrase_is_the_text_when_the_body_is_empty() {
        let error = refusal(401, false, "permission denied - invalid PVE ticket", None);
        assert!(matches!(&error, PveError::Unauthorized { reason } if reason.contains("invalid PVE ticket")));
        assert_eq!(error.code(), "pve_unauthorized");
    }

    #[test]
    fn pseudo_status_leaves_only_a_changing_call_in_doubt() {
        for status in 595..=599 {
            assert!(refusal(status, true, "Connection refused", None).is_outcome_unknown());
            assert!(matches!(refusal(status, false, "No route to host", None), PveError::Unreachable { .. }));
        }
    }

    #[test]
    fn message_of_the_body_outranks_the_reason_phrase() {
        let error = refusal(500, true, "400 Parameter verification failed.", Some("CT is locked (backup)\n"));
        assert_eq!(error.code(), "pve_locked");
        assert_eq!(error.to_string(), "pve refuses (500): CT is locked (backup)");
    }

    #[test]
    fn a_half_applied_change_is_not_excluded_by_a_refusal() {
        assert!(refusal(500, true, "bridge 'vmbr0' does not exist", None).may_have_applied());
        assert!(!refusal(500, true, "CT is locked (backup)", None).may_have_applied());
        assert!(!refusal(403, true, "Permission check failed", None).may_have_applied());
    }

    #[test]
    fn missing_objects_named_by_a_parameter_are_found_in_its_text() {
        let errors = BTreeMap::from([("storage".to_owned(), "No such storage.".to_owned())]);
        let error = PveError::BadParameter { errors, message: "Parameter verification failed.".to_owned() };
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), "pve refuses the parameters: storage: No such storage.");
    }
}
