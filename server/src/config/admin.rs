//! master.json, masterha.json, adminUser.json, adminServer.json: who administers, and how.

use std::fmt;

use serde_json::{Map, Value};

use super::error::ConfigError;
use super::fields::{Entry, Mistakes, join};
use super::files::Document;

/// The master's port when master.json has none.
const MASTER_PORT: u16 = 3005;

/// The place of a master: master.json, and each entry of masterha.json.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MasterInfo {
    /// Its name, for example `master-server-1`.
    pub id: String,
    /// Its address; `127.0.0.1` if the file has none.
    pub host: String,
    /// Where administration is reached; 3005 if the file has none.
    pub port: u16,
    /// The entry as it stands in the file, unknown members included.
    pub extra: Map<String, Value>,
}

/// An entry of adminUser.json: who may log in to the console.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdminUser {
    /// The entry's id.
    pub id: String,
    /// The name to log in with.
    pub username: String,
    /// The password; never logged.
    pub password: String,
    /// 1 may stop, add and kill servers; higher levels only look.
    pub level: u32,
}

impl fmt::Debug for AdminUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminUser")
            .field("username", &self.username)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// An entry of adminServer.json: what a server of a type must show when it registers.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdminServer {
    /// The server type.
    pub server_type: String,
    /// The token; never logged.
    pub token: String,
}

impl fmt::Debug for AdminServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminServer")
            .field("server_type", &self.server_type)
            .finish_non_exhaustive()
    }
}

pub(super) fn master(document: &Document) -> Result<Option<MasterInfo>, ConfigError> {
    let mut mistakes = Mistakes::in_file(&document.file);
    let info = master_of(document.root.clone(), &document.value, &mut mistakes);
    mistakes.or(info)
}

/// masterha.json: `{"masterha": [...]}`, with environments around it or not.
pub(super) fn standby_masters(document: &Document) -> Result<Vec<MasterInfo>, ConfigError> {
    let mut mistakes = Mistakes::in_file(&document.file);
    let path = join(&document.root, "masterha");
    let list = document.value.get("masterha").unwrap_or(&Value::Null);
    let masters = each(list, &path, &mut mistakes, |path, value, mistakes| {
        master_of(path, value, mistakes)
    });
    mistakes.or(masters)
}

fn master_of(path: String, value: &Value, mistakes: &mut Mistakes) -> Option<MasterInfo> {
    let entry = Entry::of(path, value, mistakes)?;
    Some(MasterInfo {
        id: entry.required("id", mistakes),
        host: entry
            .text("host", mistakes)
            .unwrap_or_else(|| "127.0.0.1".to_owned()),
        port: entry.port("port", mistakes).unwrap_or(MASTER_PORT),
        extra: value.as_object().cloned().unwrap_or_default(),
    })
}

pub(super) fn users(document: &Document) -> Result<Vec<AdminUser>, ConfigError> {
    let mut mistakes = Mistakes::in_file(&document.file);
    let users = each(
        &document.value,
        &document.root,
        &mut mistakes,
        |path, value, mistakes| {
            let entry = Entry::of(path, value, mistakes)?;
            let expected = "must be a whole number, 1 for everything";
            if entry.get("level").is_none() {
                entry.wrong("level", &format!("is missing: {expected}"), mistakes);
            }
            Some(AdminUser {
                id: entry.name("id", mistakes).unwrap_or_default(),
                username: entry.required("username", mistakes),
                password: entry.required("password", mistakes),
                level: entry.whole("level", expected, mistakes).unwrap_or(u32::MAX),
            })
        },
    );
    mistakes.or(users)
}

pub(super) fn server_tokens(document: &Document) -> Result<Vec<AdminServer>, ConfigError> {
    let mut mistakes = Mistakes::in_file(&document.file);
    let tokens = each(
        &document.value,
        &document.root,
        &mut mistakes,
        |path, value, mistakes| {
            let entry = Entry::of(path, value, mistakes)?;
            Some(AdminServer {
                server_type: entry.required("type", mistakes),
                token: entry.required("token", mistakes),
            })
        },
    );
    mistakes.or(tokens)
}

/// Every item of a list; that it is none is noted.
fn each<T>(
    list: &Value,
    path: &str,
    mistakes: &mut Mistakes,
    mut read: impl FnMut(String, &Value, &mut Mistakes) -> Option<T>,
) -> Vec<T> {
    let Some(items) = list.as_array() else {
        mistakes.add(path, "must be a list");
        return Vec::new();
    };
    let items = items.iter().enumerate();
    items
        .filter_map(|(index, item)| read(format!("{path}[{index}]"), item, mistakes))
        .collect()
}
