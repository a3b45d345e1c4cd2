//! servers.json: entries, and entries that stand for several servers.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::error::ConfigError;
use super::fields::{Entry, Mistakes, join, number};
use super::files::Document;
use crate::topology::ServerInfo;

/// What stands after the first number of a range: `"3010++"`.
const RANGE: &str = "++";

/// No cluster on one host is larger; the number is a mistake.
const MAX_CLUSTER: u64 = 10_000;

pub(super) fn servers(document: &Document, env: &str) -> Result<Vec<ServerInfo>, ConfigError> {
    let mut mistakes = Mistakes::in_file(&document.file);
    let root = &document.root;
    let Some(types) = document.value.as_object() else {
        mistakes.add(root.as_str(), "must be an object of server types");
        return mistakes.or(Vec::new());
    };
    // Environments are objects of server types; server types are lists.
    if root.is_empty() && !types.is_empty() && types.values().all(Value::is_object) {
        let names: Vec<&str> = types.keys().map(String::as_str).collect();
        let problem = format!(
            "is no environment of this file, which has {}",
            names.join(", ")
        );
        mistakes.add(env, problem);
        return mistakes.or(Vec::new());
    }
    let mut servers = Vec::new();
    for (server_type, entries) in types {
        let path = join(root, server_type);
        if server_type.is_empty() || server_type.contains('.') {
            mistakes.add(
                path,
                "must be a name without dots, since routes begin with it",
            );
            continue;
        }
        let Some(entries) = entries.as_array() else {
            mistakes.add(path, "must be a list of servers");
            continue;
        };
        let mut counted = 0;
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(members) = entry.as_object() else {
                mistakes.add(path, "must be an object");
                continue;
            };
            for members in expanded(server_type, members, &path, &mut counted, &mut mistakes) {
                let server = server(server_type, members, &path, &mut mistakes);
                servers.push((path.clone(), server));
            }
        }
    }
    let mut ids = HashMap::new();
    for (path, server) in &servers {
        if server.id.is_empty() {
            continue;
        }
        if let Some(first) = ids.insert(&server.id, path) {
            let problem = format!("is the id of another server, too: {first}");
            mistakes.add(join(path, "id"), problem);
        }
    }
    mistakes.or(servers.into_iter().map(|(_, server)| server).collect())
}

/// One server out of its members; `file` is what mistakes are said to be in.
pub(crate) fn one(
    server_type: &str,
    members: Map<String, Value>,
    file: &str,
) -> Result<ServerInfo, ConfigError> {
    let mut mistakes = Mistakes::in_file(file);
    let server = server(server_type, members, "", &mut mistakes);
    mistakes.or(server)
}

/// The entry itself, or as many as its `clusterCount` says (`utils.loadCluster` of pomelo).
fn expanded(
    server_type: &str,
    members: &Map<String, Value>,
    path: &str,
    counted: &mut u64,
    mistakes: &mut Mistakes,
) -> Vec<Map<String, Value>> {
    let count = match members.get("clusterCount") {
        None | Some(Value::Null) => return vec![members.clone()],
        Some(count) => number(count).filter(|count| (1..=MAX_CLUSTER).contains(count)),
    };
    let Some(count) = count else {
        let problem = format!("must be a whole number, 1 to {MAX_CLUSTER}");
        mistakes.add(join(path, "clusterCount"), problem);
        return Vec::new();
    };
    let first = *counted;
    *counted += count;
    let ranges: Vec<(&String, u64)> = members
        .iter()
        .filter_map(|(name, value)| {
            let start = value.as_str()?.strip_suffix(RANGE)?;
            Some((name, start.parse().ok()?))
        })
        .collect();
    (0..count)
        .map(|index| {
            let mut one = members.clone();
            let id = format!("cluster-server-{server_type}-{}", first + index);
            one.insert("id".to_owned(), id.into());
            for (name, start) in &ranges {
                one.insert((*name).clone(), start.saturating_add(index).into());
            }
            one
        })
        .collect()
}

fn server(
    server_type: &str,
    members: Map<String, Value>,
    path: &str,
    mistakes: &mut Mistakes,
) -> ServerInfo {
    let entry = Entry::new(path.to_owned(), &members);
    let frontend = entry.flag("frontend", mistakes);
    let client_port = entry.port("clientPort", mistakes);
    if frontend && entry.get("clientPort").is_none() {
        entry.wrong(
            "clientPort",
            "is missing at a frontend: must be a port",
            mistakes,
        );
    }
    let mut info = ServerInfo::new(&entry.required("id", mistakes), server_type);
    if let Some(host) = entry.text("host", mistakes) {
        info.host = host;
    }
    info.port = entry.port("port", mistakes);
    info.client_host = entry.text("clientHost", mistakes);
    info.client_port = client_port;
    info.frontend = frontend;
    info.max_connections = entry.whole("max-connections", "must be a whole number", mistakes);
    info.weight = entry.whole("weight", "must be a whole number", mistakes);
    info.cpu = entry.name("cpu", mistakes);
    info.args = entry.texts("args", mistakes);
    info.auto_restart = entry.flag("auto-restart", mistakes);
    info.restart_force = entry.flag("restart-force", mistakes);
    info.extra = members;
    info
}
