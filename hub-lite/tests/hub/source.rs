//! What the hub's own source may not contain.

use std::path::Path;

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// `outbound_only`: the agent opens every connection, and the hub has nothing to open one with.
#[test]
fn outbound_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = std::fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    assert!(dependencies.contains_key("hyper"), "the test reads the right table");
    for client in ["reqwest", "ureq", "hyper-rustls", "hyper-tls", "curl", "isahc", "lettre"] {
        assert!(!dependencies.contains_key(client), "{client} is a client");
    }
    for (name, dependency) in dependencies {
        let features = dependency.get("features").and_then(toml::Value::as_array);
        let named: Vec<&str> = features.into_iter().flatten().filter_map(toml::Value::as_str).collect();
        assert!(!named.iter().any(|feature| feature.contains("client")), "{name} with {named:?}");
    }
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    assert!(files.len() > 30, "only {} files were read", files.len());
    // The poke goes to a UNIX socket in the hub's own folder.
    let dials = [
        "TcpStream::connect",
        "TcpSocket",
        "UdpSocket",
        "hyper::client",
        "hyper_util::client",
        "TlsConnector",
    ];
    for (path, text) in files {
        for dial in dials {
            assert!(!text.contains(dial), "{path} contains {dial}");
        }
    }
}
