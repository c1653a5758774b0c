//! The calls the double answers, one line each. What is not here is 501, as on a real
//! node for an unknown path: no call is half there.

use std::collections::BTreeMap;

use crate::call::{Answer, Call};
use crate::state::World;

mod access;
mod appliance;
mod backup;
mod clone;
mod cluster;
mod config;
mod content;
mod create_lxc;
mod create_qemu;
mod destroy;
mod disks;
mod guests;
mod node;
mod power;
mod resize;
mod restore;
mod snapshot;
mod storage;
mod tasks;

pub(crate) use self::guests::refresh_broadcast;

/// A function from the state and a checked call to an answer.
pub(crate) type Handler = fn(&mut World, &Call) -> Answer;

/// One method of one path.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) template: &'static str,
    /// Waits for the guest's configuration lock before it begins.
    pub(crate) locks: bool,
    pub(crate) handler: Handler,
}

const fn route(method: &'static str, template: &'static str, handler: Handler) -> Route {
    Route { method, template, locks: false, handler }
}

const fn locked(method: &'static str, template: &'static str, handler: Handler) -> Route {
    Route { method, template, locks: true, handler }
}

/// All of them.
pub(crate) static ROUTES: &[Route] = &[
    route("GET", "/version", cluster::version),
    route("GET", "/cluster/resources", cluster::resources),
    route("GET", "/cluster/nextid", cluster::nextid),
    route("GET", "/cluster/status", cluster::status),
    route("GET", "/cluster/tasks", tasks::cluster),
    route("GET", "/access/permissions", access::permissions),
    route("GET", "/nodes", node::list),
    route("GET", "/nodes/{node}/status", node::status),
    route("GET", "/nodes/{node}/network", node::network),
    route("GET", "/nodes/{node}/time", node::time),
    route("GET", "/nodes/{node}/disks/list", disks::list),
    route("GET", "/nodes/{node}/disks/smart", disks::smart),
    route("GET", "/nodes/{node}/lxc", guests::list),
    route("POST", "/nodes/{node}/lxc", create_lxc::create),
    locked("DELETE", "/nodes/{node}/lxc/{vmid}", destroy::destroy),
    route("GET", "/nodes/{node}/lxc/{vmid}/config", config::get),
    locked("PUT", "/nodes/{node}/lxc/{vmid}/config", config::put_lxc),
    route("GET", "/nodes/{node}/lxc/{vmid}/pending", config::pending),
    route("GET", "/nodes/{node}/lxc/{vmid}/status/current", guests::current),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/start", power::start),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/stop", power::stop),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/shutdown", power::shutdown),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/reboot", power::reboot),
    route("GET", "/nodes/{node}/lxc/{vmid}/interfaces", guests::interfaces),
    route("GET", "/nodes/{node}/lxc/{vmid}/feature", snapshot::feature),
    locked("PUT", "/nodes/{node}/lxc/{vmid}/resize", resize::lxc),
    locked("POST", "/nodes/{node}/lxc/{vmid}/clone", clone::clone),
    route("GET", "/nodes/{node}/lxc/{vmid}/snapshot", snapshot::list),
    route("POST", "/nodes/{node}/lxc/{vmid}/snapshot", snapshot::create),
    route("DELETE", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}", snapshot::delete),
    route("GET", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config", snapshot::config),
    route("POST", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback", snapshot::rollback),
    route("GET", "/nodes/{node}/qemu", guests::list),
    route("POST", "/nodes/{node}/qemu", create_qemu::create),
    locked("DELETE", "/nodes/{node}/qemu/{vmid}", destroy::destroy),
    route("GET", "/nodes/{node}/qemu/{vmid}/config", config::get),
    locked("PUT", "/nodes/{node}/qemu/{vmid}/config", config::put_qemu),
    locked("POST", "/nodes/{node}/qemu/{vmid}/config", config::post_qemu),
    route("GET", "/nodes/{node}/qemu/{vmid}/pending", config::pending),
    route("GET", "/nodes/{node}/qemu/{vmid}/status/current", guests::current),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/start", power::start),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/stop", power::stop),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/shutdown", power::shutdown),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/reboot", power::reboot),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/ping", guests::agent_ping),
    route("GET", "/nodes/{node}/qemu/{vmid}/feature", snapshot::feature),
    locked("PUT", "/nodes/{node}/qemu/{vmid}/resize", resize::qemu),
    locked("POST", "/nodes/{node}/qemu/{vmid}/clone", clone::clone),
    route("GET", "/nodes/{node}/qemu/{vmid}/snapshot", snapshot::list),
    route("POST", "/nodes/{node}/qemu/{vmid}/snapshot", snapshot::create),
    route("DELETE", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}", snapshot::delete),
    route("GET", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config", snapshot::config),
    route("POST", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback", snapshot::rollback),
    route("GET", "/storage", storage::list),
    route("POST", "/storage", storage::create),
    route("GET", "/storage/{storage}", storage::get),
    route("PUT", "/storage/{storage}", storage::update),
    route("DELETE", "/storage/{storage}", storage::delete),
    route("GET", "/nodes/{node}/storage", storage::node_list),
    route("GET", "/nodes/{node}/storage/{storage}/status", storage::node_status),
    route("GET", "/nodes/{node}/storage/{storage}/content", content::list),
    route("GET", "/nodes/{node}/storage/{storage}/content/{volume}", content::get),
    route("PUT", "/nodes/{node}/storage/{storage}/content/{volume}", content::update),
    route("DELETE", "/nodes/{node}/storage/{storage}/content/{volume}", content::delete),
    route("POST", "/nodes/{node}/storage/{storage}/download-url", appliance::download_url),
    route("GET", "/nodes/{node}/aplinfo", appliance::list),
    route("POST", "/nodes/{node}/aplinfo", appliance::download),
    route("POST", "/nodes/{node}/vzdump", backup::vzdump),
    route("GET", "/nodes/{node}/vzdump/extractconfig", backup::extract_config),
    route("GET", "/nodes/{node}/tasks", tasks::list),
    route("GET", "/nodes/{node}/tasks/{upid}", tasks::index),
    route("DELETE", "/nodes/{node}/tasks/{upid}", tasks::stop),
    route("GET", "/nodes/{node}/tasks/{upid}/status", tasks::status),
    route("GET", "/nodes/{node}/tasks/{upid}/log", tasks::log),
];

/// The route of a path given as decoded segments, with its path parameters.
pub(crate) fn find(method: &str, segments: &[String]) -> Option<(&'static Route, BTreeMap<String, String>)> {
    ROUTES.iter().filter(|r| r.method == method).find_map(|r| Some((r, bind(r.template, segments)?)))
}

fn bind(template: &str, segments: &[String]) -> Option<BTreeMap<String, String>> {
    let parts: Vec<&str> = template.split('/').skip(1).collect();
    if parts.len() != segments.len() {
        return None;
    }
    let mut bound = BTreeMap::new();
    for (part, segment) in parts.into_iter().zip(segments) {
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) => {
                bound.insert(name.to_owned(), segment.clone());
            }
            None if part == segment => {}
            None => return None,
        }
    }
    Some(bound)
}

#[cfg(test)]
mod tests {
    use super::{ROUTES, find};
    use crate::schema::{Schema, distilled};

    #[test]
    fn every_route_has_a_schema() {
        let distilled = distilled();
        for route in ROUTES {
            let key = (route.method.to_owned(), route.template.to_owned());
            assert!(distilled.contains_key(&key), "{} {} is not built in", route.method, route.template);
            assert!(
                Schema::shared().call(route.method, route.template).is_some(),
                "{} {}",
                route.method,
                route.template
            );
        }
    }

    #[test]
    fn a_path_binds_its_parameters() {
        let path: Vec<String> = ["nodes", "pve1", "lxc", "101", "config"].map(str::to_owned).into();
        let (route, params) = find("GET", &path).unwrap();
        assert_eq!(route.template, "/nodes/{node}/lxc/{vmid}/config");
        assert_eq!((params["node"].as_str(), params["vmid"].as_str()), ("pve1", "101"));
        assert!(find("PATCH", &path).is_none());
    }
}
