//! The files of `config/`, with every mistake named by file and member.

use std::collections::HashSet;
use std::path::Path;
use std::{fs, io};

use serde_json::{Map, Value};

use crate::topology::ServerInfo;

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file that must be there is not, or cannot be read.
    #[error("{file}: cannot be read")]
    Read {
        /// Which file.
        file: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A file is not JSON.
    #[error("{file}: not JSON")]
    Json {
        /// Which file.
        file: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A member is missing or has a value that cannot be used.
    #[error("{file}: {field}: {problem}")]
    Field {
        /// Which file.
        file: String,
        /// The path of the member, for example `development.connector[0].clientPort`.
        field: String,
        /// What is expected there.
        problem: String,
    },
}

/// The configuration of one environment.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// servers.json of the environment, in the order of the file.
    pub servers: Vec<ServerInfo>,
    /// dictionary.json: routes (normally of pushes) that get a code besides the handlers' own.
    pub dictionary: Vec<String>,
    /// clientProtos.json: schemas of bodies from clients.
    pub client_protos: Option<Value>,
    /// serverProtos.json: schemas of bodies to clients.
    pub server_protos: Option<Value>,
}

impl Config {
    /// Reads `dir/NAME.json`, else `dir/<env>/NAME.json`, for each known name.
    ///
    /// servers.json must be there, the others need not.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the file and the member.
    pub fn load(dir: impl AsRef<Path>, env: &str) -> Result<Self, ConfigError> {
        let dir = dir.as_ref();
        let Some((file, servers)) = read(dir, env, "servers")? else {
            return Err(ConfigError::Read {
                file: dir.join("servers.json").display().to_string(),
                source: io::ErrorKind::NotFound.into(),
            });
        };
        let mut config = Self {
            servers: servers_of(&servers, env, &file)?,
            ..Self::default()
        };
        if let Some((file, value)) = read(dir, env, "dictionary")? {
            let value = cut_to_env(value, env);
            config.dictionary = strings(&value).ok_or_else(|| ConfigError::Field {
                file,
                field: "dictionary".to_owned(),
                problem: "must be a list of routes".to_owned(),
            })?;
        }
        config.client_protos = read(dir, env, "clientProtos")?.map(|(_, v)| cut_to_env(v, env));
        config.server_protos = read(dir, env, "serverProtos")?.map(|(_, v)| cut_to_env(v, env));
        Ok(config)
    }

    /// The servers of `env` out of a document shaped like servers.json; the rest is empty.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Field`].
    pub fn from_servers(servers: &Value, env: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            servers: servers_of(servers, env, "servers.json")?,
            ..Self::default()
        })
    }
}

fn read(dir: &Path, env: &str, name: &str) -> Result<Option<(String, Value)>, ConfigError> {
    let name = format!("{name}.json");
    for path in [dir.join(&name), dir.join(env).join(&name)] {
        let file = path.display().to_string();
        return match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => Ok(Some((file, value))),
                Err(source) => Err(ConfigError::Json { file, source }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => Err(ConfigError::Read { file, source }),
        };
    }
    Ok(None)
}

/// A file with a member named like the environment is cut down to that member.
fn cut_to_env(mut value: Value, env: &str) -> Value {
    match value.get_mut(env) {
        Some(member) => member.take(),
        None => value,
    }
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value
        .as_array()?
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn servers_of(document: &Value, env: &str, file: &str) -> Result<Vec<ServerInfo>, ConfigError> {
    let wrong = |field: String, problem: &str| ConfigError::Field {
        file: file.to_owned(),
        field,
        problem: problem.to_owned(),
    };
    let types = match document.get(env) {
        Some(types) => types,
        None => {
            let environments = names_of_objects(document);
            if !environments.is_empty() {
                let problem = format!("is no environment of this file, which has {environments}");
                return Err(wrong(env.to_owned(), &problem));
            }
            // A file under config/<env>/ has the types at the top.
            document
        }
    };
    let types = types
        .as_object()
        .ok_or_else(|| wrong(env.to_owned(), "must be an object of server types"))?;
    let mut servers = Vec::new();
    let mut ids = HashSet::new();
    for (server_type, entries) in types {
        let path = format!("{env}.{server_type}");
        let entries = entries
            .as_array()
            .ok_or_else(|| wrong(path.clone(), "must be a list of servers"))?;
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let entry = entry
                .as_object()
                .ok_or_else(|| wrong(path.clone(), "must be an object"))?;
            let server = server_of(server_type, entry)
                .map_err(|(member, problem)| wrong(format!("{path}.{member}"), problem))?;
            if !ids.insert(server.id.clone()) {
                return Err(wrong(
                    format!("{path}.id"),
                    "is the id of another server, too",
                ));
            }
            servers.push(server);
        }
    }
    Ok(servers)
}

/// Environments are objects of server types; server types are lists.
fn names_of_objects(document: &Value) -> String {
    let members = document.as_object().into_iter().flatten();
    let objects = members.filter(|(_, value)| value.is_object());
    let names: Vec<_> = objects.map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}

type Wrong = (&'static str, &'static str);

fn server_of(server_type: &str, entry: &Map<String, Value>) -> Result<ServerInfo, Wrong> {
    let id = match entry.get("id").and_then(Value::as_str) {
        Some(id) if !id.is_empty() => id,
        _ => return Err(("id", "must be a text that is not empty")),
    };
    // Start arguments of the original make it the text "true".
    let frontend = match entry.get("frontend") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) if text == "true" || text == "false" => text == "true",
        Some(_) => return Err(("frontend", "must be true or false")),
    };
    let client_port = port(entry, "clientPort")?;
    if frontend && client_port.is_none() {
        return Err(("clientPort", "is missing at a frontend"));
    }
    Ok(ServerInfo {
        id: id.into(),
        server_type: server_type.into(),
        host: text(entry, "host")?.unwrap_or_else(|| "127.0.0.1".to_owned()),
        port: port(entry, "port")?,
        client_host: text(entry, "clientHost")?,
        client_port,
        frontend,
        max_connections: match entry.get("max-connections") {
            None => None,
            Some(value) => Some(
                number(value)
                    .and_then(|n| usize::try_from(n).ok())
                    .ok_or(("max-connections", "must be a whole number"))?,
            ),
        },
        extra: entry.clone(),
    })
}

fn text(entry: &Map<String, Value>, name: &'static str) -> Result<Option<String>, Wrong> {
    match entry.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err((name, "must be a text")),
    }
}

fn port(entry: &Map<String, Value>, name: &'static str) -> Result<Option<u16>, Wrong> {
    match entry.get(name) {
        None => Ok(None),
        Some(value) => match number(value).and_then(|n| u16::try_from(n).ok()) {
            Some(port) => Ok(Some(port)),
            None => Err((name, "must be a port, 0 to 65535")),
        },
    }
}

/// Numbers may be written as text, as start arguments are.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mistakes_are_named_by_file_and_member() {
        let cases = [
            (
                json!({"e": {"connector": [{"id": "c", "frontend": true}]}}),
                "servers.json: e.connector[0].clientPort: is missing at a frontend",
            ),
            (
                json!({"e": {"chat": [{"id": "a"}, {"id": "b", "port": 70000}]}}),
                "servers.json: e.chat[1].port: must be a port, 0 to 65535",
            ),
            (
                json!({"e": {"chat": [{"id": "a"}, {"id": "a"}]}}),
                "servers.json: e.chat[1].id: is the id of another server, too",
            ),
            (
                json!({"e": {"chat": {}}}),
                "servers.json: e.chat: must be a list of servers",
            ),
            (
                json!({"e": {"chat": [{}]}}),
                "servers.json: e.chat[0].id: must be a text that is not empty",
            ),
            (
                json!({"development": {}, "production": {"chat": []}}),
                "servers.json: e: is no environment of this file, which has development, production",
            ),
        ];
        for (document, message) in cases {
            let error = Config::from_servers(&document, "e").unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn entries_keep_members_nobody_knows() {
        let document = json!({"e": {"gate": [
            {"id": "g", "frontend": "true", "clientPort": "3014", "region": "cn"}]}});
        let config = Config::from_servers(&document, "e").unwrap();
        let gate = &config.servers[0];
        assert!(gate.frontend);
        assert_eq!(gate.client_port, Some(3014));
        assert_eq!(gate.extra["region"], "cn");
    }
}
