//! What each package contains. Everything that dpkg will own is on this page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::program::Programs;
use super::tree::Tree;
use super::{Materials, changelog, copyright};
use crate::process::must;
use crate::{Failed, root};

/// Who answers for the packages. The address is one that cannot exist until there is one.
pub(super) const MAINTAINER: &str = "felhom maintainers <maintainers@felhom.example>";

/// How a package knows which data it can read.
enum DataFormat {
    /// It has none.
    None,
    /// A number kept by hand in `packaging/<name>/data-format`, raised when an older program would misread the state.
    File,
    /// What the program itself writes into an empty folder: its schema's version.
    OfHub,
}

/// One package.
pub(super) struct Package {
    pub(super) name: &'static str,
    section: &'static str,
    /// What it needs beside the libraries of its program.
    depends: &'static [&'static str],
    suggests: Option<&'static str>,
    summary: &'static str,
    description: &'static str,
    man_section: u8,
    unit: bool,
    /// Programs beside its own that nobody calls by hand.
    helpers: &'static [&'static str],
    data_format: DataFormat,
    conffiles: &'static [&'static str],
    /// From the repository, to the machine, with which mode.
    files: &'static [(&'static str, &'static str, u32)],
}

/// All that are built.
pub(super) const PACKAGES: [Package; 3] = [
    Package {
        name: "felhom-agent",
        section: "admin",
        // Maintenance windows have time zones; felhom-host makes partitions and file systems.
        depends: &["tzdata", "gdisk", "e2fsprogs", "xfsprogs"],
        suggests: Some("cloudflared, prometheus-node-exporter"),
        summary: "keeps a Proxmox host as its operator wants it",
        description: " Fetches what a Proxmox VE host should be from a felhom hub, makes it so through\n \
                      the Proxmox API, and reports. It opens every connection itself, goes on without\n \
                      the hub, and does nothing that destroys without a signature.",
        man_section: 8,
        unit: true,
        helpers: &["felhom-host"],
        data_format: DataFormat::File,
        conffiles: &[],
        files: &[
            ("packaging/pve-role-setup", "usr/sbin/felhom-pve-role", 0o755),
            ("packaging/felhom-agent/clear-unfinished", "usr/lib/felhom/clear-unfinished", 0o755),
            ("systemd/felhom-host.path", "usr/lib/systemd/system/felhom-host.path", 0o644),
            ("systemd/felhom-host.service", "usr/lib/systemd/system/felhom-host.service", 0o644),
            ("systemd/felhom-unfinished.path", "usr/lib/systemd/system/felhom-unfinished.path", 0o644),
            ("systemd/felhom-unfinished.service", "usr/lib/systemd/system/felhom-unfinished.service", 0o644),
            (
                "packaging/felhom-agent/textfile.conf",
                "usr/share/doc/felhom-agent/examples/textfile.conf",
                0o644,
            ),
            ("packaging/felhom-pve-role.8", "usr/share/man/man8/felhom-pve-role.8", 0o644),
            ("packaging/felhom-agent/agent.toml", "usr/share/doc/felhom-agent/examples/agent.toml", 0o644),
            ("docs/install.md", "usr/share/doc/felhom-agent/install.md", 0o644),
        ],
    },
    Package {
        name: "felhom-hub",
        section: "admin",
        depends: &["tzdata", "systemd | systemd-standalone-sysusers | systemd-sysusers"],
        suggests: Some("felhom-sign"),
        summary: "stores what Proxmox hosts should be and shows what they are",
        description: " The hub of felhom: agents on Proxmox VE hosts fetch from it what their host\n \
                      should be and report what it is. It can order no destruction: such steps wait\n \
                      for a signature that it cannot make.",
        man_section: 8,
        unit: true,
        helpers: &[],
        data_format: DataFormat::OfHub,
        conffiles: &["/etc/felhom/hub.toml"],
        files: &[
            ("packaging/felhom-hub/hub.toml", "etc/felhom/hub.toml", 0o644),
            ("packaging/felhom-hub/sysusers.conf", "usr/lib/sysusers.d/felhom-hub.conf", 0o644),
            ("packaging/felhom-hub/low-port.conf", "usr/share/doc/felhom-hub/examples/low-port.conf", 0o644),
            (
                "packaging/felhom-hub/own-certificate.conf",
                "usr/share/doc/felhom-hub/examples/own-certificate.conf",
                0o644,
            ),
            (
                "packaging/felhom-hub/felhom-hub-backup.service",
                "usr/share/doc/felhom-hub/examples/felhom-hub-backup.service",
                0o644,
            ),
            (
                "packaging/felhom-hub/felhom-hub-backup.timer",
                "usr/share/doc/felhom-hub/examples/felhom-hub-backup.timer",
                0o644,
            ),
            ("docs/examples/desired.json", "usr/share/doc/felhom-hub/examples/desired.json", 0o644),
            ("docs/install.md", "usr/share/doc/felhom-hub/install.md", 0o644),
            ("docs/operator.md", "usr/share/doc/felhom-hub/operator.md", 0o644),
            ("docs/signing.md", "usr/share/doc/felhom-hub/signing.md", 0o644),
        ],
    },
    Package {
        name: "felhom-sign",
        section: "utils",
        depends: &[],
        suggests: Some("openssh-client, age"),
        summary: "signs what a felhom hub cannot order",
        description: " For the operator's workstation: makes keys and keysets, shows which steps wait\n \
                      for a signature on Proxmox VE hosts, and signs them, also without a network.\n \
                      Everything that it makes can be checked with ssh-keygen.",
        man_section: 1,
        unit: false,
        helpers: &[],
        data_format: DataFormat::None,
        conffiles: &[],
        files: &[("docs/signing.md", "usr/share/doc/felhom-sign/signing.md", 0o644)],
    },
];

const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];

impl Package {
    /// Lays the package out below `folder`.
    pub(super) fn lay_out(&self, materials: &Materials, folder: &Path) -> Result<Tree, Failed> {
        let mut tree = Tree::begin(folder)?;
        let name = self.name;
        tree.put(&format!("usr/bin/{name}"), 0o755, &read(&materials.programs.path(name))?)?;
        if self.unit {
            let unit = format!("{name}.service");
            let path = format!("usr/lib/systemd/system/{unit}");
            tree.put(&path, 0o644, &read(&root().join("systemd").join(&unit))?)?;
        }
        for helper in self.helpers {
            tree.put(&format!("usr/lib/felhom/{helper}"), 0o755, &read(&materials.programs.path(helper))?)?;
        }
        self.put_files(&mut tree)?;
        self.put_pages(&mut tree, &materials.pages)?;
        let doc = format!("usr/share/doc/{name}");
        tree.put_gz(&format!("{doc}/changelog"), changelog::debian(name, &materials.stamp)?.as_bytes())?;
        tree.put(&format!("{doc}/copyright"), 0o644, copyright::text(self)?.as_bytes())?;
        let overrides = root().join("packaging").join(name).join("lintian-overrides");
        if overrides.exists() {
            tree.put(&format!("usr/share/lintian/overrides/{name}"), 0o644, &read(&overrides)?)?;
        }
        self.put_control(&tree, materials)?;
        Ok(tree)
    }

    fn put_files(&self, tree: &mut Tree) -> Result<(), Failed> {
        for (source, path, mode) in self.files {
            let bytes = read(&root().join(source))?;
            if path.contains("/man/") {
                tree.put_gz(path, &bytes)?;
            } else {
                tree.put(path, *mode, &bytes)?;
            }
        }
        Ok(())
    }

    /// The pages and completions that are this program's.
    fn put_pages(&self, tree: &mut Tree, pages: &Path) -> Result<(), Failed> {
        let (name, section) = (self.name, self.man_section);
        for page in list(&pages.join("man"))? {
            let file = page.file_name().and_then(|file| file.to_str()).unwrap_or_default().to_owned();
            let ours = file.strip_prefix(name).is_some_and(|rest| rest.starts_with(['-', '.']));
            if ours {
                tree.put_gz(&format!("usr/share/man/man{section}/{file}"), &read(&page)?)?;
            }
        }
        for (from, to) in [
            (format!("bash/{name}"), format!("usr/share/bash-completion/completions/{name}")),
            (format!("zsh/_{name}"), format!("usr/share/zsh/vendor-completions/_{name}")),
            (format!("fish/{name}.fish"), format!("usr/share/fish/vendor_completions.d/{name}.fish")),
        ] {
            tree.put(&to, 0o644, &read(&pages.join("completions").join(from))?)?;
        }
        Ok(())
    }

    fn put_control(&self, tree: &Tree, materials: &Materials) -> Result<(), Failed> {
        let version = &materials.stamp.version;
        let mut depends = materials.programs.depends(self.name)?;
        depends.extend(self.depends.iter().map(|&package| package.to_owned()));
        let mut control = format!(
            "Package: {}\nVersion: {version}\nArchitecture: amd64\nMaintainer: {MAINTAINER}\nInstalled-Size: {}\n\
             Depends: {}\n",
            self.name,
            tree.installed_kib()?,
            depends.join(", ")
        );
        control.extend(self.suggests.map(|value| format!("Suggests: {value}\n")));
        control.push_str(&format!(
            "Section: {}\nPriority: optional\nDescription: {}\n{}\n",
            self.section, self.summary, self.description
        ));
        tree.control("control", 0o644, control.as_bytes())?;
        if !self.conffiles.is_empty() {
            tree.control("conffiles", 0o644, format!("{}\n", self.conffiles.join("\n")).as_bytes())?;
        }
        let format =
            self.data_format(&materials.programs)?.map_or_else(String::new, |format| format.to_string());
        for script in SCRIPTS {
            let path = root().join("packaging").join(self.name).join(script);
            if path.exists() {
                let text = String::from_utf8_lossy(&read(&path)?)
                    .replace("@DATA_FORMAT@", &format)
                    .replace("@VERSION@", version);
                tree.control(script, 0o755, text.as_bytes())?;
            }
        }
        Ok(())
    }

    fn data_format(&self, programs: &Programs) -> Result<Option<u32>, Failed> {
        match self.data_format {
            DataFormat::None => Ok(None),
            DataFormat::File => {
                let path = root().join("packaging").join(self.name).join("data-format");
                let number = String::from_utf8_lossy(&read(&path)?).trim().parse();
                number.map(Some).map_err(|_| Failed::said(format!("{} holds no number", path.display())))
            }
            DataFormat::OfHub => schema_of_hub(&programs.path(self.name)).map(Some),
        }
    }
}

/// Begins a hub in an empty folder and reads the schema's version where SQLite keeps it: four bytes of the file's head.
fn schema_of_hub(hub: &Path) -> Result<u32, Failed> {
    let folder = tempfile::tempdir().map_err(|source| Failed::File { path: std::env::temp_dir(), source })?;
    let mut begin = Command::new(hub);
    begin.args(["host", "add", "probe", "--data"]).arg(folder.path()).stdout(Stdio::null());
    must(&mut begin)?;
    let head = read(&folder.path().join("hub.db"))?;
    let version = head.get(60..64).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
    if version == 0 {
        return Err(Failed::said("the hub's database does not say which schema it has"));
    }
    Ok(version)
}

fn read(path: &Path) -> Result<Vec<u8>, Failed> {
    fs::read(path).map_err(|source| Failed::File { path: path.to_owned(), source })
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let failed = |source| Failed::File { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut paths =
        entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect::<Result<Vec<_>, Failed>>()?;
    paths.sort();
    Ok(paths)
}
