//! Templates and other downloads. The world outside is a table of known URLs; anything
//! else fails in the task, as it does without a network.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::call::{Answer, Call, Refusal, Reply};
use crate::state::storage::{Content, Volume};
use crate::state::task::{TaskLog, Worker};
use crate::state::{Download, World};

pub(super) fn list(world: &mut World, _: &Call) -> Answer {
    let entries = world.appliances.iter().map(|(template, download)| {
        let mut parts = template.splitn(3, ['-', '_']);
        let os = parts.next().unwrap_or_default();
        json!({"template": template, "package": template.split('_').next(), "os": os, "section": "system",
            "type": "lxc", "version": template.split('_').nth(1), "architecture": "amd64",
            "source": "https://templates.test", "location": template,
            "sha512sum": download.checksums.get("sha512")})
    });
    Ok(Reply::data(entries.collect::<Vec<Value>>()))
}

pub(super) fn download(world: &mut World, call: &Call) -> Answer {
    let (template, storage) = (call.must("template").to_owned(), call.must("storage").to_owned());
    let known = world.appliances.get(&template).cloned();
    let known = known.ok_or_else(|| Refusal::param("template", "no such template"))?;
    accepts(world, &storage, Content::Vztmpl)?;
    let worker = Worker::fork(world, "download", "", &call.caller.id).finish(move |world, log| {
        let volid = format!("{storage}:vztmpl/{template}");
        store(world, &volid, Content::Vztmpl, &known, log);
        Ok(())
    });
    Ok(worker.start(world))
}

fn accepts(world: &World, storage: &str, content: Content) -> Result<(), Refusal> {
    match world.usable_storage(storage).map_err(Refusal::die)?.holds(content.name()) {
        true => Ok(()),
        false => Err(Refusal::die(format!(
            "storage '{storage}' is not configured for content-type '{}'",
            content.name()
        ))),
    }
}

pub(super) fn download_url(world: &mut World, call: &Call) -> Answer {
    let storage = call.must("storage").to_owned();
    let content =
        Content::parse(call.must("content")).ok_or_else(|| Refusal::param("content", "bad content"))?;
    accepts(world, &storage, content)?;
    let filename = normalise(call.must("filename"));
    let known = match content {
        Content::Vztmpl => [".tar.gz", ".tar.xz", ".tar.zst"].as_slice(),
        Content::Iso => [".iso", ".img"].as_slice(),
        _ => [".qcow2", ".raw", ".vmdk", ".img", ".ova"].as_slice(),
    };
    if !known.iter().any(|extension| filename.ends_with(extension)) {
        return Err(Refusal::param("filename", "wrong file extension"));
    }
    let checksum = match (call.get("checksum"), call.get("checksum-algorithm")) {
        (Some(sum), Some(algorithm)) => Some((algorithm.to_owned(), sum.to_lowercase())),
        (None, None) => None,
        (Some(_), None) => {
            return Err(Refusal::param("checksum", "missing dependency - 'checksum-algorithm'"));
        }
        (None, Some(_)) => {
            return Err(Refusal::param("checksum-algorithm", "missing dependency - 'checksum'"));
        }
    };
    let (url, volid) = (call.must("url").to_owned(), format!("{storage}:{}/{filename}", content.name()));
    let worker = Worker::fork(world, "download", &filename, &call.caller.id)
        .finish(move |world, log| fetch(world, &url, (&volid, content), checksum.as_ref(), log));
    Ok(worker.start(world))
}

fn normalise(filename: &str) -> String {
    let name = filename.rsplit('/').next().unwrap_or_default();
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

fn fetch(
    world: &mut World,
    url: &str,
    (volid, content): (&str, Content),
    checksum: Option<&(String, String)>,
    log: &mut TaskLog,
) -> Result<(), String> {
    let mismatch = |got: &BTreeMap<String, String>| {
        let (algorithm, expected) = checksum?;
        let got = got.get(algorithm).map_or("unknown", String::as_str);
        (got != expected).then(|| format!("checksum mismatch: got '{got}' != expect '{expected}'"))
    };
    let path = world.volume_path(volid);
    if let Some(existing) = world.volumes.get(volid) {
        if checksum.is_none() {
            return Err(format!("refusing to override existing file '{path}'"));
        }
        log.line(format!("calculating checksum of existing file '{path}'"));
        return match mismatch(&existing.checksums) {
            None => {
                log.line("OK, got correct file already, no need to download");
                Ok(())
            }
            Some(_) => {
                Err(format!("mismatch - file '{path}' already exists with another checksum, aborting"))
            }
        };
    }
    log.line(format!("downloading {url} to {path}"));
    let Some(found) = world.downloads.get(url).cloned() else {
        log.line("wget: unable to resolve host address or 404 Not Found");
        return Err(format!(
            "download failed: command '/usr/bin/wget --progress=dot:giga -O {path}.tmp {url}' failed: exit code 8"
        ));
    };
    if let Some(text) = mismatch(&found.checksums) {
        return Err(text);
    }
    store(world, volid, content, &found, log);
    Ok(())
}

fn store(world: &mut World, volid: &str, content: Content, found: &Download, log: &mut TaskLog) {
    let format = match volid.rsplit('.').next().unwrap_or_default() {
        "zst" => "tzst",
        "xz" => "txz",
        "gz" => "tgz",
        other => other,
    };
    let volume = Volume { checksums: found.checksums.clone(), ..Volume::new(content, found.size, format) };
    world.volumes.insert(volid.to_owned(), volume);
    log.line(format!(
        "download of '{}' to '{}' finished",
        volid.rsplit('/').next().unwrap_or_default(),
        world.volume_path(volid)
    ));
}
