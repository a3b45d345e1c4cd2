//! The original's configuration files, for one environment.

mod admin;
mod crons;
mod error;
mod fields;
mod files;
mod servers;

use std::path::Path;
use std::sync::Arc;

use pomelo_protocol::protobuf::Protos;
use serde_json::{Map, Value};

pub use self::admin::{AdminServer, AdminUser, MasterInfo};
pub use self::error::{ConfigError, Mistake};
pub(crate) use self::files::{document, missing, place};
pub(crate) use self::servers::one as server_of;

use self::fields::{Mistakes, strings};
use self::files::Document;
use crate::cron::CronEntry;
use crate::topology::ServerInfo;

/// The configuration of one environment.
///
/// A file is `config/NAME.json`, cut down to the member named like the environment if it has one,
/// or else `config/<env>/NAME.json`. Only servers.json must be there.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// servers.json, in the order of the file; entries with `clusterCount` stand as the servers
    /// that they are.
    pub servers: Vec<ServerInfo>,
    /// master.json: where administration is reached.
    pub master: Option<MasterInfo>,
    /// masterha.json: masters that stand by.
    pub standby_masters: Vec<MasterInfo>,
    /// adminUser.json: who may log in to the console; nobody if there is no file.
    pub admin_users: Vec<AdminUser>,
    /// adminServer.json: what servers must show to register; nothing if there is no file.
    pub admin_servers: Option<Vec<AdminServer>>,
    /// crons.json: jobs by server type.
    pub crons: Vec<(Arc<str>, CronEntry)>,
    /// dictionary.json: routes (normally of pushes) that get a code besides the handlers' own.
    pub dictionary: Vec<String>,
    /// clientProtos.json: schemas of bodies from clients.
    pub client_protos: Option<Value>,
    /// serverProtos.json: schemas of bodies to clients.
    pub server_protos: Option<Value>,
}

impl Config {
    /// Reads every known file of `dir`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the file, and every member of it that is wrong.
    pub fn load(dir: impl AsRef<Path>, env: &str) -> Result<Self, ConfigError> {
        let dir = dir.as_ref();
        let Some(document) = document(dir, env, "servers")? else {
            return Err(missing(&dir.join("servers.json")));
        };
        let mut config = Self {
            servers: servers::servers(&document, env)?,
            ..Self::default()
        };
        let read = |name: &str| files::document(dir, env, name);
        if let Some(document) = read("master")? {
            config.master = admin::master(&document)?;
        }
        if let Some(document) = read("masterha")? {
            config.standby_masters = admin::standby_masters(&document)?;
        }
        if let Some(document) = read("adminUser")? {
            config.admin_users = admin::users(&document)?;
        }
        if let Some(document) = read("adminServer")? {
            config.admin_servers = Some(admin::server_tokens(&document)?);
        }
        if let Some(document) = read("crons")? {
            config.crons = crons::crons(&document)?;
        }
        config.load_tables(dir, env)?;
        Ok(config)
    }

    /// Reads dictionary.json, clientProtos.json and serverProtos.json of `dir` again, and leaves
    /// the rest as it is.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); then nothing has changed.
    pub fn load_tables(&mut self, dir: impl AsRef<Path>, env: &str) -> Result<(), ConfigError> {
        let dir = dir.as_ref();
        let dictionary = match document(dir, env, "dictionary")? {
            Some(document) => routes(&document)?,
            None => Vec::new(),
        };
        let protos = |name| {
            let document = document(dir, env, name)?;
            document.map(schemas).transpose()
        };
        let (client, server) = (protos("clientProtos")?, protos("serverProtos")?);
        self.dictionary = dictionary;
        self.client_protos = client;
        self.server_protos = server;
        Ok(())
    }

    /// The servers of `env` out of a document shaped like servers.json; the rest is empty.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Wrong`].
    pub fn from_servers(document: &Value, env: &str) -> Result<Self, ConfigError> {
        let document = Document::shared("servers.json", env, document.clone());
        Ok(Self {
            servers: servers::servers(&document, env)?,
            ..Self::default()
        })
    }

    /// The jobs out of a document shaped like crons.json, into this configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Wrong`].
    pub fn with_crons(mut self, document: &Value, env: &str) -> Result<Self, ConfigError> {
        self.crons = crons::crons(&Document::shared("crons.json", env, document.clone()))?;
        Ok(self)
    }
}

fn routes(document: &Document) -> Result<Vec<String>, ConfigError> {
    // What `pomelo init` writes: an object that has no routes.
    if document.value.as_object().is_some_and(Map::is_empty) {
        return Ok(Vec::new());
    }
    let mut mistakes = Mistakes::in_file(&document.file);
    let routes = strings(&document.value);
    if routes.is_none() {
        mistakes.add(document.root.as_str(), "must be a list of routes");
    }
    mistakes.or(routes.unwrap_or_default())
}

/// The document, unless it is no file of schemas.
fn schemas(document: Document) -> Result<Value, ConfigError> {
    if let Err(error) = Protos::parse(&document.value) {
        let mut mistakes = Mistakes::in_file(&document.file);
        let mut path = fields::join(&document.root, error.route());
        if !error.path().is_empty() {
            path = fields::join(&path, error.path());
        }
        mistakes.add(path, error.kind().to_string());
        return mistakes.or(Value::Null);
    }
    Ok(document.value)
}

#[cfg(test)]
mod tests;
