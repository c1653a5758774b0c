//! The named formats that matter to an agent, with PVE's words for a bad value. A
//! format not listed here accepts anything: it is not pretended to be checked.

const CONTENT: &[&str] = &["images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import", "none"];

/// Checks `value`; the text is what follows `invalid format - `.
pub(super) fn check(format: &str, value: &str) -> Result<(), String> {
    if let Some(item) = format.strip_suffix("-list") {
        return value.split([',', ';', ' ', '\0']).filter(|v| !v.is_empty()).try_for_each(|v| check(item, v));
    }
    let refuse = |ok: bool, text: &str| if ok { Ok(()) } else { Err(format!("{text}\n")) };
    let looks = |ok: bool, what: &str| refuse(ok, &format!("value does not look like a valid {what}"));
    match format {
        "pve-vmid" => looks(value.parse::<u32>().is_ok_and(|n| (100..=999_999_999).contains(&n)), "VM ID"),
        "pve-node" => looks(is_name(value, "-"), "node name"),
        "dns-name" => {
            looks(value.split('.').all(|label| is_name(label, "-") && label.len() <= 63), "DNS name")
        }
        "pve-configid" => refuse(is_config_id(value), &format!("invalid configuration ID '{value}'")),
        "pve-storage-id" => {
            refuse(is_config_id(value), &format!("storage ID '{value}' contains illegal characters"))
        }
        "pve-storage-content" => refuse(CONTENT.contains(&value), &format!("invalid content type '{value}'")),
        "pve-storage-path" => looks(value.starts_with('/'), "absolute path"),
        "mac-addr" => looks(is_mac(value), "unicast MAC address"),
        "pve-tag" => looks(is_tag(value), "tag"),
        "ipv4" => looks(value.parse::<std::net::Ipv4Addr>().is_ok(), "IPv4 address"),
        "ipv6" => looks(value.parse::<std::net::Ipv6Addr>().is_ok(), "IPv6 address"),
        "pve-ipv4-config" => looks(is_ipv4_config(value), "ipv4 network configuration"),
        "pve-volume-id" => {
            looks(value.split_once(':').is_some_and(|(s, v)| is_config_id(s) && !v.is_empty()), "volume ID")
        }
        "disk-size" => refuse(
            crate::size::parse(value, 1).is_some(),
            &format!("value does not look like a valid disk size: {value}"),
        ),
        _ => Ok(()),
    }
}

fn is_name(text: &str, inner: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().last())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || inner.contains(c))
}

fn is_config_id(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_tag(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-+.".contains(c))
}

fn is_mac(text: &str) -> bool {
    let bytes: Vec<_> =
        text.split(':').map(|b| (b.len() == 2).then(|| u8::from_str_radix(b, 16).ok()).flatten()).collect();
    bytes.len() == 6 && bytes.iter().all(Option::is_some) && bytes[0].is_some_and(|b| b & 1 == 0)
}

fn is_ipv4_config(text: &str) -> bool {
    let cidr = text.split_once('/').is_some_and(|(ip, bits)| {
        ip.parse::<std::net::Ipv4Addr>().is_ok() && bits.parse::<u8>().is_ok_and(|b| b <= 32)
    });
    matches!(text, "dhcp" | "manual") || cidr
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn refusals_use_the_recorded_words() {
        let text = |f, v| check(f, v).unwrap_err();
        assert_eq!(text("pve-vmid", "99"), "value does not look like a valid VM ID\n");
        assert_eq!(text("dns-name", "bad_host!"), "value does not look like a valid DNS name\n");
        assert_eq!(
            text("pve-storage-id", "9bad name"),
            "storage ID '9bad name' contains illegal characters\n"
        );
        assert_eq!(text("pve-storage-content-list", "backup,nosuch"), "invalid content type 'nosuch'\n");
        assert_eq!(text("pve-configid", "1 x"), "invalid configuration ID '1 x'\n");
    }

    #[test]
    fn ordinary_values_pass() {
        for (format, value) in [
            ("pve-node", "pve1"),
            ("dns-name", "a.example.org"),
            ("mac-addr", "BC:24:11:2E:DB:F8"),
            ("pve-tag-list", "Zeta;felhom"),
            ("pve-ipv4-config", "10.0.0.2/24"),
            ("pve-node-list", ""),
        ] {
            assert_eq!(check(format, value), Ok(()), "{format}");
        }
    }
}
