//! Replays what was recorded of a real node against the double and compares status,
//! error texts and the shape of the JSON. It keeps the double honest: a disagreement is
//! printed by name, and the share that agrees may not fall.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fake_pve::{Download, FakePve, Options, Token};
use serde_json::{Value, json};
use support::{Answer, Client};

/// Share of the applicable samples that agree; raise it when more do.
const FLOOR_PERCENT: usize = 98;

fn samples_dir() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/pve/samples");
    dir.is_dir().then_some(dir)
}

#[test]
fn the_double_answers_as_the_recorded_node_did() {
    let Some(dir) = samples_dir() else {
        println!("conformance: skipped, the recorded samples are not here");
        return;
    };
    let mut replay = Replay::new(dir);
    let script = include_str!("conformance/script.txt");
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', '-'])) {
        match line.strip_prefix('@') {
            Some(step) => replay.lab(step),
            None => replay.sample(line),
        }
    }
    let total =
        std::fs::read_dir(&replay.dir).unwrap().filter(|e| is_sample(&e.as_ref().unwrap().path())).count();
    let (applied, agreed) = (replay.applied, replay.applied - replay.disagreements.len());
    println!(
        "conformance: {agreed} of {applied} applicable samples agree ({} not applicable)",
        total - applied
    );
    for text in &replay.disagreements {
        println!("  {text}");
    }
    assert!(agreed * 100 >= applied * FLOOR_PERCENT, "fewer than {FLOOR_PERCENT} % agree");
}

fn is_sample(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "json")
}

/// The double set up like the lab, and what in the recording stands for what in the double.
struct Replay {
    dir: PathBuf,
    fake: FakePve,
    clients: BTreeMap<&'static str, Client>,
    /// Recorded digests, UPIDs and volume ids, and what they are here.
    names: BTreeMap<String, String>,
    applied: usize,
    disagreements: Vec<String>,
    /// The present sample looks at a task just started.
    running: bool,
}

impl Replay {
    fn new(dir: PathBuf) -> Self {
        let mut expired = Token::full("root@pam!exp", "11111111-0000-4000-8000-000000000000");
        expired.expired = true;
        let low = Token::poor("agent@pve!low", "22222222-0000-4000-8000-000000000000");
        let options = Options {
            token_id: "root@pam!full".to_owned(),
            tokens: vec![expired, low],
            task_time: Duration::from_millis(60),
            auth_delay: Duration::from_millis(5),
            lock_timeout: Duration::from_millis(200),
            ..Options::default()
        };
        let fake = FakePve::start(options).unwrap();
        let control = fake.control();
        control.destroy_guest(9000).unwrap();
        control.add_storage("local", "dir", "snippets,iso,images,vztmpl,rootdir,backup", 250);
        let full = Client::new(&fake);
        full.call("DELETE", "/storage/local-lvm", "");
        full.call("PUT", "/storage/local", "prune-backups=keep-all%3D1");
        for (url, file) in
            [("http://a/1", "debian-13-standard_13.0-1_amd64.tar.zst"), ("http://a/2", "tiny.tar.xz")]
        {
            control.add_download(url, Download { size: 33_959_178, checksums: BTreeMap::new() });
            let body = format!("url={url}&content=vztmpl&filename={file}");
            full.call("POST", "/nodes/pve1/storage/local/download-url", &body).data();
        }
        assert!(control.wait_idle(Duration::from_secs(5)));
        let poor = |id: &str, n: u8| {
            format!("PVEAPIToken={id}={n}{n}{n}{n}{n}{n}{n}{n}-0000-4000-8000-000000000000")
        };
        let clients = BTreeMap::from([
            ("none", full.with_authorization(None)),
            ("low", full.with_authorization(Some(&poor("agent@pve!low", 2)))),
            ("exp", full.with_authorization(Some(&poor("root@pam!exp", 1)))),
            ("full", full),
        ]);
        Self {
            dir,
            fake,
            clients,
            names: BTreeMap::new(),
            applied: 0,
            disagreements: Vec::new(),
            running: false,
        }
    }

    /// Something the lab did that no sample shows.
    fn lab(&mut self, step: &str) {
        let control = self.fake.control();
        match step.split(' ').collect::<Vec<_>>().as_slice() {
            ["wait"] => assert!(control.wait_idle(Duration::from_secs(10)), "tasks do not end"),
            ["wait-lock", vmid] => {
                let vmid = vmid.parse().unwrap();
                let until = Instant::now() + Duration::from_secs(5);
                while control.snapshot().guests[&vmid].lock().is_none() && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            ["task-ms", ms] => control.set_task_time(Duration::from_millis(ms.parse().unwrap())),
            ["one-disk"] => control.set_disks(vec![json!({"devpath": "/dev/vda", "size": 1_u64 << 38, "type": "unknown",
                "model": "unknown", "serial": "unknown", "wwn": "unknown", "vendor": "0x1af4", "rpm": -1, "gpt": 0,
                "health": "UNKNOWN", "wearout": "N/A", "used": "mounted", "mounted": 1, "osdid": -1, "osdid-list": null})]),
            ["broadcast"] => control.broadcast(),
            ["mount", path] => control.set_mounted(path, true),
            ["lock", vmid] => control.set_lock(vmid.parse().unwrap(), Some("backup")).unwrap(),
            ["unlock", vmid] => control.set_lock(vmid.parse().unwrap(), None).unwrap(),
            ["flock", vmid] => control.hold_flock(vmid.parse().unwrap()),
            ["unflock", vmid] => control.release_flock(vmid.parse().unwrap()),
            ["daemon", state] => control.set_daemon(*state == "on"),
            ["unreachable"] => {
                control.set_unreachable("refusenode", Some("Connection refused"));
                control.set_unreachable("deadnode", Some("No route to host"));
            }
            ["parent-vzdump"] => control.edit_config(103, "parent", Some("vzdump")).unwrap(),
            ["grant"] => {
                let privileges = ["Datastore.Audit", "VM.Audit", "VM.PowerMgmt"];
                let token = Token::poor("agent@pve!low", "22222222-0000-4000-8000-000000000000");
                control.add_token(token.grant("/pool/felhom", &privileges).grant("/vms/103", &privileges));
            }
            ["qemu-create-first"] => {
                let body = "vmid=110&name=vm110&memory=256&cores=1&scsihw=virtio-scsi-single&agent=enabled%3D1&ostype=l26\
                    &scsi0=local%3A1%2Cdiscard%3Don%2Ciothread%3D1&net0=virtio%2Cbridge%3Dvmbr0&kvm=0&cpu=qemu64";
                let upid = self.clients["full"].call("POST", "/nodes/pve1/qemu", body).data();
                let recorded = "UPID:pve1:000006FB:000E40F7:6B056E20:qmcreate:110:root@pam!full:";
                self.names.insert(recorded.to_owned(), upid.as_str().unwrap().to_owned());
            }
            _ => panic!("unknown step @{step}"),
        }
    }

    fn sample(&mut self, name: &str) {
        let path = self.dir.join(format!("{name}.json"));
        let Ok(text) = std::fs::read_to_string(&path) else { panic!("no sample {name}") };
        let mut recorded: Value = serde_json::from_str(&text).unwrap();
        self.running = name.ends_with("-status-running");
        if let Some(data) =
            recorded.pointer_mut("/body/data").and_then(Value::as_object_mut).filter(|_| self.running)
        {
            // Whether a quick task still runs when first looked at is chance.
            data.remove("exitstatus");
        }
        self.applied += 1;
        let answer = self.ask(&recorded);
        if let Err(text) = self.compare(&recorded, answer.as_ref()) {
            self.disagreements.push(format!("{name}: {text}"));
        }
    }

    fn ask(&mut self, recorded: &Value) -> Option<Answer> {
        let text = |key: &str| recorded[key].as_str().unwrap_or_default().to_owned();
        let path = self.translate(text("path").strip_prefix("/api2/json").unwrap());
        let body = if recorded.get("error").is_some() {
            "x=".to_owned() + &"a".repeat(600 << 10)
        } else {
            self.translate(&text("request_body"))
        };
        let literal;
        let client = match recorded["auth"].as_str() {
            None => &self.clients["none"],
            Some(known) if self.clients.contains_key(known) => &self.clients[known],
            Some(header) => {
                literal = self.clients["full"].with_authorization(Some(header));
                &literal
            }
        };
        client.try_call(&text("method"), &path, &body)
    }

    /// Recorded names in a path or body, plain or percent-encoded, become the double's.
    fn translate(&self, text: &str) -> String {
        let encode = |s: &str| {
            percent_encoding::utf8_percent_encode(s, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let loose = |s: &str| encode(s).replace("%2D", "-").replace("%2E", ".").replace("%5F", "_");
        self.names.iter().fold(text.to_owned(), |text, (recorded, ours)| {
            let text = text
                .replace(recorded, &if recorded.starts_with("UPID") { encode(ours) } else { ours.clone() });
            text.replace(&loose(recorded), &encode(ours))
        })
    }

    /// As `translate`, where only part of a name may show.
    fn rename(&self, text: &str) -> String {
        let tail = |s: &str| s.split_once(':').map_or(s, |(_, t)| t).to_owned();
        let files = self.names.iter().filter(|(k, _)| k.contains(":backup/"));
        files.fold(text.to_owned(), |text, (a, b)| text.replace(&tail(a), &tail(b)))
    }

    fn compare(&mut self, recorded: &Value, answer: Option<&Answer>) -> Result<(), String> {
        let Some(answer) = answer else {
            return if recorded.get("error").is_some() { Ok(()) } else { Err("no answer".to_owned()) };
        };
        let status = recorded["http_status"].as_u64().ok_or("answered where the node cut the connection")?;
        if status != u64::from(answer.status) {
            return Err(format!("status {} instead of {status}: {}", answer.status, answer.body));
        }
        let reason = recorded["reason"].as_str().unwrap_or_default();
        if reason != answer.reason {
            return Err(format!("reason '{}' instead of '{reason}'", answer.reason));
        }
        for header in ["Connection", "Content-Type"] {
            let theirs = recorded["headers"][header].as_str();
            if theirs != answer.header(header) {
                return Err(format!("{header} {:?} instead of {theirs:?}", answer.header(header)));
            }
        }
        let theirs = &recorded["body"];
        if theirs.is_null() {
            return if answer.body.is_empty() { Ok(()) } else { Err(format!("body {}", answer.body)) };
        }
        let mut ours = answer.json();
        if let Some(data) = ours.pointer_mut("/data").and_then(Value::as_object_mut).filter(|_| self.running)
        {
            data.remove("exitstatus");
        }
        for key in ["message", "errors"] {
            if theirs.get(key) != ours.get(key) {
                return Err(format!("{key} {:?} instead of {:?}", ours.get(key), theirs.get(key)));
            }
        }
        self.learn(&theirs["data"], &ours["data"]);
        same_exit(theirs, &ours, |text| self.rename(text))?;
        same_shape("", theirs, &ours)
    }

    /// Remembers which of our digests, UPIDs and volumes stands for which recorded one.
    fn learn(&mut self, theirs: &Value, ours: &Value) {
        match (theirs, ours) {
            (Value::String(a), Value::String(b)) if a.starts_with("UPID:") => {
                self.names.insert(a.clone(), b.clone());
            }
            (Value::Object(a), Value::Object(b)) => {
                if let (Some(Value::String(a)), Some(Value::String(b))) = (a.get("digest"), b.get("digest")) {
                    self.names.insert(a.clone(), b.clone());
                }
            }
            (Value::Array(a), Value::Array(b)) => {
                let backups = |list: &[Value]| -> BTreeSet<String> {
                    let ids = list.iter().filter_map(|v| v.get("volid")?.as_str());
                    ids.filter(|v| v.contains(":backup/")).map(str::to_owned).collect()
                };
                // Names carry their time, so both sides sort by age.
                self.names.extend(backups(a).into_iter().zip(backups(b)));
            }
            _ => {}
        }
    }
}

/// A task that went well there goes well here, and one that failed fails with the same words.
fn same_exit(theirs: &Value, ours: &Value, rename: impl Fn(&str) -> String) -> Result<(), String> {
    let exit = |v: &Value| v["data"].get("exitstatus").and_then(Value::as_str).map(str::to_owned);
    match (exit(theirs), exit(ours)) {
        (Some(a), Some(b))
            if rename(&a) != b && (!a.starts_with("WARNINGS") || !b.starts_with("WARNINGS")) =>
        {
            Err(format!("exit status '{b}' instead of '{a}'"))
        }
        _ => Ok(()),
    }
}

/// The same keys and types. Of a list every recorded kind of entry must occur.
fn same_shape(at: &str, theirs: &Value, ours: &Value) -> Result<(), String> {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = |m: &serde_json::Map<String, Value>| m.keys().cloned().collect::<BTreeSet<_>>();
            let (a_keys, b_keys) = (keys(a), keys(b));
            // Paths of permissions depend on what the lab had; one path's privileges do not.
            if a_keys != b_keys && !at.ends_with("/vms") {
                let missing: Vec<_> = a_keys.difference(&b_keys).collect();
                let extra: Vec<_> = b_keys.difference(&a_keys).collect();
                return Err(format!("{at}: missing {missing:?}, extra {extra:?}"));
            }
            a.iter()
                .filter_map(|(k, v)| Some((k, v, b.get(k)?)))
                .try_for_each(|(k, v, w)| same_shape(&format!("{at}/{k}"), v, w))
        }
        (Value::Array(a), Value::Array(b)) if a.is_empty() || b.is_empty() => {
            if a.is_empty() == b.is_empty() {
                Ok(())
            } else {
                Err(format!("{at}: {} entries instead of {}", b.len(), a.len()))
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            let unlike = a.iter().find(|entry| !b.iter().any(|ours| same_shape(at, entry, ours).is_ok()));
            match unlike {
                None => Ok(()),
                Some(entry) => Err(format!("{at}: no entry like {entry}, ours are like {}", b[0])),
            }
        }
        (a, b) if kind(a) == kind(b) => Ok(()),
        (a, b) => Err(format!("{at}: {b} instead of {a}")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
