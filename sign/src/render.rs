//! What a person reads before signing, made from our own reading of the draft and the operator's own inventory.

use felhom_shared::signed::{Draft, ExpectStorage, Quorum, Request, Role, authority_of, content_words};
use felhom_shared::text::clean;
use jiff::Timestamp;
use serde::Serialize;

use crate::inventory::Inventory;
use crate::pending::HubSays;
use crate::show::{Tone, escape, paint};

/// A draft in words.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Rendered {
    /// The word on the wire.
    pub op: &'static str,
    /// Whether something is lost for good.
    pub destroys: bool,
    /// The host: name by the inventory, and id.
    pub host: String,
    /// The guest: name on the node, number, name by the inventory, id; none for an operation on the host.
    pub guest: Option<String>,
    /// Where names disagree or are not known: look twice.
    pub warnings: Vec<String>,
    /// What it does, what is lost.
    pub consequence: String,
    /// What must still be true when it runs.
    pub expects: Vec<String>,
    /// Whose signature it needs, and for how long it may live.
    pub needs: String,
}

/// Puts a draft into words.
#[must_use]
pub fn render(draft: &Draft, inventory: &Inventory, hub: Option<&HubSays>) -> Rendered {
    let mut warnings = Vec::new();
    let host_id = draft.target.host_id;
    let host = match (inventory.hosts.get(&host_id), hub) {
        (Some(name), _) => format!("{} ({host_id})", clean(name)),
        (None, Some(hub)) if !hub.host_name.is_empty() => {
            warnings.push("the host is not in your inventory".to_owned());
            format!("{host_id}, unverified name from the hub: \"{}\"", escape(&hub.host_name))
        }
        (None, _) => {
            warnings.push("the host is not in your inventory".to_owned());
            host_id.to_string()
        }
    };
    let authority = authority_of(&draft.request);
    Rendered {
        op: draft.request.word(),
        destroys: authority.destroys(),
        host,
        guest: guest(draft, inventory, hub.is_some(), &mut warnings),
        warnings,
        consequence: draft.request.consequence(),
        expects: expects(&draft.request),
        needs: format!(
            "signed by {} (threshold `{}` of the keyset), valid for at most {} h",
            role_word(authority.role),
            quorum_word(authority.quorum),
            authority.life_ms_max / 3_600_000
        ),
    }
}

fn guest(draft: &Draft, inventory: &Inventory, from_hub: bool, warnings: &mut Vec<String>) -> Option<String> {
    let (guest_id, expect) = (draft.target.guest_id?, draft.request.expect()?);
    let known = inventory.guests.get(&guest_id);
    match known {
        Some(name) if name != expect.name.as_str() => warnings.push(format!(
            "your inventory calls this guest {:?}, and the operation is for {:?}",
            clean(name),
            expect.name.as_str()
        )),
        Some(_) => {}
        None => warnings.push("the guest is not in your inventory: its name is unverified".to_owned()),
    }
    let mark = match (known, from_hub) {
        (Some(_), _) => "",
        (None, true) => ", unverified name from the hub",
        (None, false) => ", unverified name",
    };
    Some(format!("{} (vmid {}{mark}) {guest_id}", expect.name, expect.vmid))
}

fn expects(request: &Request) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(expect) = request.expect() {
        lines.push(match &expect.config_digest {
            Some(digest) => format!("configuration {}", digest.as_str()),
            None => format!("no guest at vmid {}", expect.vmid),
        });
    }
    match request {
        Request::FormatDrive(format) => {
            lines.push(format!("drive {}", format.expect.words()));
            lines.push(format!("known as {}", format.expect.durable_id));
            lines.push(format!("on it: {}", format.expect.held_words().trim_start_matches("lost is ")));
            lines.push(format!("first and last MiB {}", format.expect.head_sha256.as_str()));
        }
        Request::AssignStorage(assign) => lines.extend(expects_storage(&assign.expect)),
        Request::DetachStorage(detach) => lines.extend(expects_storage(&detach.expect)),
        Request::ReplaceDrive(replace) => lines.extend(expects_storage(&replace.expect)),
        _ => {}
    }
    if let Request::RollbackGuest(rollback) = request {
        let taken = i64::try_from(rollback.snaptime).ok().and_then(|s| Timestamp::from_second(s).ok());
        let taken = taken.map_or_else(|| rollback.snaptime.to_string(), |taken| taken.to_string());
        lines.push(format!("snapshot {} taken {taken}", rollback.snapshot.as_str()));
    }
    lines
}

fn expects_storage(expect: &ExpectStorage) -> Vec<String> {
    let drive = format!("its drive is {}", expect.durable_id);
    let marker = expect.drive_id.map_or("it is away".to_owned(), |id| format!("marked {id}"));
    vec![drive, marker, format!("it holds {}", content_words(&expect.content))]
}

/// The role in words.
#[must_use]
pub fn role_word(role: Role) -> &'static str {
    match role {
        Role::Root => "root",
        Role::Ops => "ops",
        Role::Release => "release",
    }
}

/// The threshold's name in the keyset.
#[must_use]
pub fn quorum_word(quorum: Quorum) -> &'static str {
    match quorum {
        Quorum::Ops => "ops",
        Quorum::Destroy => "destroy",
        Quorum::Root => "root",
    }
}

/// A time of an operation in words.
#[must_use]
pub fn time(ms: u64) -> String {
    let moment = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(|| format!("{ms} ms since 1970"), |moment| moment.to_string())
}

impl Rendered {
    /// The lines for a terminal.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let class = if self.destroys {
            paint(Tone::Bad, "DESTROYS, needs a signature")
        } else {
            paint(Tone::Warn, "guarded, needs a signature")
        };
        let mut lines =
            vec![format!("{}  {class}", paint(Tone::Bold, self.op)), format!("  host     {}", self.host)];
        lines.extend(self.guest.iter().map(|guest| format!("  guest    {guest}")));
        lines.push(format!("  effect   {}", self.consequence));
        lines.extend(self.expects.iter().map(|text| format!("  only if  {text}")));
        lines.push(format!("  needs    {}", self.needs));
        lines.extend(self.warnings.iter().map(|text| paint(Tone::Warn, &format!("  CAREFUL  {text}"))));
        lines
    }
}

/// The hub's words, marked as such.
#[must_use]
pub fn hub_says(hub: &HubSays) -> String {
    let trusts = match hub.keyset_version {
        Some(version) => format!("the box trusts keyset {version}"),
        None => "the box trusts no keyset and will take no signature".to_owned(),
    };
    let said = format!(
        "  the hub says (not verified): {trusts}; op \"{}\", [{}] \"{}\"",
        escape(&hub.op),
        escape(&hub.code),
        escape(&hub.text)
    );
    paint(Tone::Quiet, &said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::read_draft;

    fn destroy() -> Draft {
        let text = format!(
            r#"{{"op":"guest.destroy","target":{{"host_id":"018f3c1e-5d3a-7c2b-9e4f-a1b2c3d4e5f6","guest_id":"018f3c1e-5d3a-7c2b-9e4f-0a0b0c0d0e0f"}},
            "params":{{"expect":{{"vmid":101,"name":"web","config_digest":"{}"}}}}}}"#,
            "ab".repeat(20)
        );
        read_draft(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_come_from_the_inventory_and_others_are_marked() {
        let draft = destroy();
        let hub = HubSays {
            op: "guest.start".to_owned(),
            host_name: "safe\r\x1b[2J\u{202e}".to_owned(),
            code: "x".to_owned(),
            text: "restarts \x1b[31mit".to_owned(),
            keyset_version: None,
        };
        let unknown = render(&draft, &Inventory::default(), Some(&hub)).lines().join("\n");
        assert!(
            unknown.contains("unverified name from the hub: \"safe\\u{d}\\u{1b}[2J\\u{202e}\""),
            "{unknown}"
        );
        assert!(unknown.contains("CAREFUL  the guest is not in your inventory"));
        assert!(unknown.contains("DESTROYS") && unknown.contains("guest.destroy"));
        assert!(!hub_says(&hub).contains('\x1b'));

        let mut inventory = Inventory::default();
        inventory.hosts.insert(draft.target.host_id, "kovács-ház".to_owned());
        inventory.guests.insert(draft.target.guest_id.unwrap(), "web".to_owned());
        let known = render(&draft, &inventory, Some(&hub));
        assert!(known.host.starts_with("kovács-ház (") && known.warnings.is_empty());
        inventory.guests.insert(draft.target.guest_id.unwrap(), "mail".to_owned());
        assert_eq!(render(&draft, &inventory, None).warnings.len(), 1, "names that disagree are pointed out");
    }
}
