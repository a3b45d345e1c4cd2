//! Which servers exist, by id and by type, and how one is chosen.

use std::collections::HashMap;
use std::sync::Arc;

use pomelo_protocol::crc32;
use serde_json::{Map, Value};

use crate::config::{self, ConfigError};

/// One entry of servers.json.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// Unique name, for example `connector-server-1`.
    pub id: Arc<str>,
    /// The type that routes begin with.
    pub server_type: Arc<str>,
    /// The address for other servers; `127.0.0.1` if the entry has none.
    pub host: String,
    /// The port for other servers.
    pub port: Option<u16>,
    /// The address that clients are told.
    pub client_host: Option<String>,
    /// The port that clients connect to; frontends only. 0 lets the system choose.
    pub client_port: Option<u16>,
    /// Whether clients connect to this server.
    pub frontend: bool,
    /// `max-connections`; connections above it are closed at once.
    pub max_connections: Option<usize>,
    /// The share of calls that weighted routing gives it.
    pub weight: Option<u32>,
    /// `cpu`: the cores that whoever starts the process should pin it to.
    pub cpu: Option<String>,
    /// `args`: arguments for whoever starts the process.
    pub args: Vec<String>,
    /// `auto-restart`: whoever supervises the process should start it again.
    pub auto_restart: bool,
    /// `restart-force`: the same, even if what holds the port must be ended first.
    pub restart_force: bool,
    /// The entry as it stands in the file, unknown members included.
    pub extra: Map<String, Value>,
}

impl ServerInfo {
    /// A backend of this id and type, on `127.0.0.1`; for what comes at run time and not from a
    /// file.
    pub fn new(id: &str, server_type: &str) -> Self {
        Self {
            id: id.into(),
            server_type: server_type.into(),
            host: "127.0.0.1".to_owned(),
            port: None,
            client_host: None,
            client_port: None,
            frontend: false,
            max_connections: None,
            weight: None,
            cpu: None,
            args: Vec::new(),
            auto_restart: false,
            restart_force: false,
            extra: Map::new(),
        }
    }

    /// A server out of an entry as servers.json has it.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Wrong`] with every member that cannot be used.
    pub fn from_entry(server_type: &str, entry: Map<String, Value>) -> Result<Self, ConfigError> {
        config::server_of(server_type, entry, "entry")
    }
}

/// All servers at one moment, in the order in which they came: first servers.json, then what was
/// added at run time.
///
/// It never changes; [`App::topology`](crate::App::topology) answers the present one each time.
#[derive(Debug, Default)]
pub struct Topology {
    servers: Vec<ServerInfo>,
    by_type: HashMap<Arc<str>, Vec<ServerInfo>>,
    types: Vec<Arc<str>>,
}

impl Topology {
    pub(crate) fn new(servers: Vec<ServerInfo>) -> Self {
        let mut by_type: HashMap<Arc<str>, Vec<ServerInfo>> = HashMap::new();
        let mut types = Vec::new();
        for server in &servers {
            let list = by_type.entry(Arc::clone(&server.server_type)).or_default();
            if list.is_empty() {
                types.push(Arc::clone(&server.server_type));
            }
            list.push(server.clone());
        }
        Self {
            servers,
            by_type,
            types,
        }
    }

    /// All servers.
    pub fn servers(&self) -> &[ServerInfo] {
        &self.servers
    }

    /// The servers of a type in the order in which they came; empty if there are none.
    pub fn by_type(&self, server_type: &str) -> &[ServerInfo] {
        self.by_type.get(server_type).map_or(&[], Vec::as_slice)
    }

    /// The server with this id.
    pub fn by_id(&self, id: &str) -> Option<&ServerInfo> {
        self.servers.iter().find(|server| &*server.id == id)
    }

    /// Whether servers of this type have clients.
    pub(crate) fn is_frontend(&self, server_type: &str) -> bool {
        self.by_type(server_type)
            .iter()
            .any(|server| server.frontend)
    }

    /// The types that have servers, in the order in which they came.
    pub fn types(&self) -> &[Arc<str>] {
        &self.types
    }

    /// With more servers; one whose id is there already takes that one's place.
    pub(crate) fn with(&self, more: &[ServerInfo]) -> Self {
        let mut servers = self.servers.clone();
        for server in more {
            match servers.iter_mut().find(|old| old.id == server.id) {
                Some(old) => *old = server.clone(),
                None => servers.push(server.clone()),
            }
        }
        Self::new(servers)
    }

    /// Without the servers that have one of these ids.
    pub(crate) fn without(&self, ids: &[Arc<str>]) -> Self {
        let rest = self.servers.iter().filter(|old| !ids.contains(&old.id));
        Self::new(rest.cloned().collect())
    }
}

/// pomelo's default choice: the server at `|crc32(key)| mod n`.
///
/// The gate idiom uses the same sum to send a user to a frontend. `None` only if
/// `servers` is empty.
pub fn pick_crc32<'a>(key: &str, servers: &'a [ServerInfo]) -> Option<&'a ServerInfo> {
    servers.get(crc32::index(key, servers.len())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_pomelos() {
        let golden = include_str!("../../protocol/tests/golden/crc32.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let vectors = golden["vectors"].as_array().unwrap();
        assert!(!vectors.is_empty());
        for vector in vectors {
            let text = vector["input"].as_str().unwrap();
            for (count, index) in vector["index"].as_object().unwrap() {
                let count: usize = count.parse().unwrap();
                let servers: Vec<ServerInfo> = (0..count).map(server).collect();
                let picked = pick_crc32(text, &servers).unwrap();
                assert_eq!(
                    *picked.id,
                    index.as_u64().unwrap().to_string(),
                    "{text:?} of {count}"
                );
            }
        }
        assert_eq!(pick_crc32("x", &[]), None);
    }

    fn server(index: usize) -> ServerInfo {
        ServerInfo::new(&index.to_string(), "chat")
    }

    #[test]
    fn what_is_added_comes_last_or_takes_its_place() {
        let ids = |servers: &[ServerInfo]| {
            servers
                .iter()
                .map(|server| server.id.to_string())
                .collect::<Vec<_>>()
        };
        let first = Topology::new(vec![
            ServerInfo::new("chat-1", "chat"),
            ServerInfo::new("gate-1", "gate"),
            ServerInfo::new("chat-2", "chat"),
        ]);
        assert_eq!(first.types(), ["chat", "gate"].map(Arc::from));
        let mut moved = ServerInfo::new("chat-1", "chat");
        moved.host = "10.0.0.1".to_owned();
        let more = first.with(&[ServerInfo::new("chat-3", "chat"), moved]);
        assert_eq!(ids(more.by_type("chat")), ["chat-1", "chat-2", "chat-3"]);
        assert_eq!(more.by_id("chat-1").unwrap().host, "10.0.0.1");
        let less = more.without(&["gate-1".into(), "nobody".into(), "chat-2".into()]);
        assert_eq!(ids(less.servers()), ["chat-1", "chat-3"]);
        assert_eq!(less.types(), ["chat"].map(Arc::from));
        assert!(less.by_type("gate").is_empty());
    }
}
