//! Which servers exist, by id and by type, and how one is chosen.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

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
    /// The entry as it stands in the file, unknown members included.
    pub extra: Map<String, Value>,
}

/// All servers, in the order of servers.json.
#[derive(Debug, Default)]
pub struct Topology {
    servers: Vec<ServerInfo>,
    by_type: HashMap<Arc<str>, Vec<ServerInfo>>,
}

impl Topology {
    pub(crate) fn new(servers: Vec<ServerInfo>) -> Self {
        let mut by_type: HashMap<Arc<str>, Vec<ServerInfo>> = HashMap::new();
        for server in &servers {
            by_type
                .entry(Arc::clone(&server.server_type))
                .or_default()
                .push(server.clone());
        }
        Self { servers, by_type }
    }

    /// All servers.
    pub fn servers(&self) -> &[ServerInfo] {
        &self.servers
    }

    /// The servers of a type in the order of servers.json; empty if there are none.
    pub fn by_type(&self, server_type: &str) -> &[ServerInfo] {
        self.by_type.get(server_type).map_or(&[], Vec::as_slice)
    }

    /// The server with this id.
    pub fn by_id(&self, id: &str) -> Option<&ServerInfo> {
        self.servers.iter().find(|server| &*server.id == id)
    }
}

/// pomelo's default choice: the server at `|crc32(key)| mod n`.
///
/// The gate idiom uses the same sum to send a user to a frontend. `None` only if
/// `servers` is empty.
pub fn pick_crc32<'a>(key: &str, servers: &'a [ServerInfo]) -> Option<&'a ServerInfo> {
    // crc 0.2.0 answers a signed 32-bit number, and `Math.abs` follows.
    let magnitude = usize::try_from(crc32(key).cast_signed().unsigned_abs()).ok()?;
    servers.get(magnitude.checked_rem(servers.len())?)
}

/// CRC-32 (IEEE) over the low byte of each UTF-16 unit, as crc 0.2.0 reads a JavaScript string.
fn crc32(text: &str) -> u32 {
    let mut crc = u32::MAX;
    for unit in text.encode_utf16() {
        crc ^= u32::from(unit & 0xff);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
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
            assert_eq!(
                i64::from(crc32(text).cast_signed()),
                vector["int32"].as_i64().unwrap(),
                "{text:?}"
            );
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
        ServerInfo {
            id: index.to_string().into(),
            server_type: "chat".into(),
            host: String::new(),
            port: None,
            client_host: None,
            client_port: None,
            frontend: false,
            max_connections: None,
            extra: Map::new(),
        }
    }
}
