//! What the caller may do. Users and tokens are made through the control handle.

use serde_json::{Map, Value};

use crate::call::{Answer, Call, Reply};
use crate::state::World;

pub(super) fn permissions(_: &mut World, call: &Call) -> Answer {
    let mut out = Map::new();
    for (path, privileges) in call.caller.acl() {
        let set: Map<String, Value> = privileges.iter().map(|p| (p.clone(), 1.into())).collect();
        if path == "/" {
            // What is granted at the root shows on every top-level path.
            for top in ["/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"] {
                out.insert(top.to_owned(), set.clone().into());
            }
        } else {
            out.insert(path.clone(), set.into());
        }
    }
    Ok(Reply::data(out))
}
