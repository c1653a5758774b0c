//! Task names as PVE prints them. A name that does not parse is refused, never guessed.

use std::fmt;

/// `UPID:node:PID:PSTART:START:type:id:user:` with its trailing colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upid {
    pub(crate) node: String,
    pub(crate) pid: u32,
    pub(crate) pstart: u64,
    pub(crate) starttime: u64,
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) user: String,
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, pid, pstart, starttime, kind, id, user } = self;
        write!(f, "UPID:{node}:{pid:08X}:{pstart:08X}:{starttime:08X}:{kind}:{id}:{user}:")
    }
}

impl Upid {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let [tag, node, pid, pstart, start, kind, id, user, end] = parts.as_slice() else { return None };
        let hex = |s: &str, lens: std::ops::RangeInclusive<usize>| {
            (lens.contains(&s.len())).then(|| u64::from_str_radix(s, 16).ok()).flatten()
        };
        if *tag != "UPID" || !end.is_empty() || node.is_empty() || kind.is_empty() || user.is_empty() {
            return None;
        }
        Some(Self {
            node: (*node).to_owned(),
            pid: u32::try_from(hex(pid, 8..=8)?).ok()?,
            pstart: hex(pstart, 8..=9)?,
            starttime: hex(start, 8..=8)?,
            kind: (*kind).to_owned(),
            id: (*id).to_owned(),
            user: (*user).to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Upid;

    #[test]
    fn a_recorded_upid_survives_parsing_and_printing() {
        let text = "UPID:pve1:00000352:000DF623:6B056D61:vzcreate:101:root@pam!full:";
        let upid = Upid::parse(text).unwrap();
        assert_eq!((upid.pid, upid.starttime), (850, 1_795_517_793));
        assert_eq!(upid.to_string(), text);
    }

    #[test]
    fn an_empty_id_is_a_upid_and_a_missing_end_colon_is_not() {
        assert!(Upid::parse("UPID:pve1:00000134:000D0C32:6B056B0A:aptupdate::root@pam:").is_some());
        assert!(Upid::parse("UPID:pve1:00000134:000D0C32:6B056B0A:aptupdate::root@pam").is_none());
        assert!(Upid::parse("UPID:bogus").is_none());
    }
}
