//! Which servers of the configuration run in this process, and the command line that says so.

use serde_json::{Map, Value};

use super::AppBuilder;
use crate::config::{self, Config};
use crate::error::StartError;
use crate::topology::ServerInfo;

/// What pomelo calls the process that starts the others, and what it calls every type.
const MASTER: &str = "master";
const ALL: &str = "all";

/// Which servers run here; an empty list leaves the choice to the other.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) ids: Vec<String>,
    pub(super) types: Vec<String>,
    /// Members of the one server's entry that the command line gives.
    overlay: Map<String, Value>,
}

impl Selection {
    pub(super) fn runs_here(&self, server: &ServerInfo) -> bool {
        let named =
            |names: &[String], name: &str| names.is_empty() || names.iter().any(|one| one == name);
        named(&self.ids, &server.id) && named(&self.types, &server.server_type)
    }

    /// Completes the configuration by what the command line says about the one server, and looks
    /// whether everything that shall run is there.
    pub(super) fn apply(&self, config: &mut Config) -> Result<(), StartError> {
        if let Some((member, _)) = self.overlay.iter().next() {
            // Without one server it belongs to nobody, or an `id` is misspelt.
            let [id] = self.ids.as_slice() else {
                return Err(StartError::Argument(format!("{member}=")));
            };
            let place = config.servers.iter_mut().find(|one| *one.id == **id);
            let known = place.as_ref().map(|info| (**info).clone());
            let (mut members, server_type) = match (known, self.types.as_slice()) {
                (Some(info), _) => (info.extra, info.server_type.to_string()),
                // `pomelo add` starts servers that no file has.
                (None, [server_type]) => (Map::new(), server_type.clone()),
                (None, _) => return Err(StartError::UnknownServer(id.clone())),
            };
            members.extend(self.overlay.clone());
            members.insert("id".to_owned(), id.as_str().into());
            let info = config::server_of(&server_type, members, "command line")?;
            match place {
                Some(place) => *place = info,
                None => config.servers.push(info),
            }
        }
        for id in &self.ids {
            if !config.servers.iter().any(|server| *server.id == **id) {
                return Err(StartError::UnknownServer(id.clone()));
            }
        }
        for server_type in &self.types {
            let mut types = config.servers.iter().map(|server| &server.server_type);
            if !types.any(|one| **one == **server_type) {
                return Err(StartError::UnknownType(server_type.clone()));
            }
        }
        Ok(())
    }
}

impl AppBuilder {
    /// Runs only these servers in this process. The others stay in the topology, but nothing
    /// leads to them: calls fail with [`RpcError::NotHere`](crate::RpcError::NotHere).
    ///
    /// Default: all servers of the environment.
    pub fn servers<I: Into<String>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        self.selection.ids.extend(ids.into_iter().map(Into::into));
        self
    }

    /// Runs only the servers of this type, or of these types if called several times; together
    /// with [`servers`](Self::servers), those that both name.
    pub fn server_type(mut self, server_type: &str) -> Self {
        self.selection.types.push(server_type.to_owned());
        self
    }

    /// Takes what the command line says: `std::env::args()`, whose first item is the program.
    ///
    /// | argument | effect |
    /// |---|---|
    /// | `--env NAME`, `env=NAME` | [`env`](Self::env) |
    /// | `--server-id ID`, `id=ID`, `startId=ID` | [`servers`](Self::servers); several with commas |
    /// | `--server-type TYPE`, `serverType=TYPE`, `type=TYPE` | [`server_type`](Self::server_type); `all` and `master` run everything |
    /// | `mode=`, `masterha=` | nothing: there is no separate master |
    /// | any other `key=value` | a member of the entry of the one server that runs, as pomelo's master gives them to a child; one that no file has is made |
    ///
    /// Anything else is an error of [`start`](Self::start): a misspelt option would run the
    /// wrong servers.
    pub fn args<I: Into<String>>(mut self, args: impl IntoIterator<Item = I>) -> Self {
        let mut args = args.into_iter().map(Into::into).skip(1);
        while let Some(arg) = args.next() {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg.clone(), None),
            };
            let value = match name.strip_prefix("--") {
                Some("env" | "server-id" | "server-type") => value.or_else(|| args.next()),
                Some(_) => None,
                None => value,
            };
            let Some(value) = value.filter(|_| !name.is_empty()) else {
                self.problem = self.problem.or(Some(StartError::Argument(arg)));
                return self;
            };
            self = self.argument(&name, value);
        }
        self
    }

    fn argument(mut self, name: &str, value: String) -> Self {
        let names = || {
            let names = value.split(',').map(str::trim);
            names.filter(|name| !name.is_empty()).map(str::to_owned)
        };
        let selection = &mut self.selection;
        match name {
            "--env" | "env" => self.env = value,
            "--server-id" | "id" | "startId" => selection.ids.extend(names()),
            "--server-type" | "serverType" | "type" => {
                selection.types.extend(names().filter(|name| name != ALL));
            }
            "mode" | "masterha" | "main" => {}
            _ => {
                let value = number(&value).unwrap_or(Value::String(value));
                selection.overlay.insert(name.to_owned(), value);
            }
        }
        // `node app.js` of the original is the master, which runs everybody.
        if selection.types.iter().any(|one| one == MASTER) {
            *selection = Selection::default();
        }
        self
    }
}

/// `parseArgs` of the original: numbers without a point are numbers.
fn number(value: &str) -> Option<Value> {
    let number = value.parse::<i64>().ok()?;
    // Not what has another text as a number: `007` and `+7` stay as they are.
    (number.to_string() == value).then(|| number.into())
}
