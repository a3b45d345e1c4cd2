//! Settings: what an application keeps under names, for each server.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::App;
use crate::config::{self, ConfigError};

/// The settings of one server.
#[derive(Debug, Default)]
pub(super) struct Settings(RwLock<HashMap<String, Arc<Value>>>);

impl Settings {
    pub(super) fn new(values: Map<String, Value>) -> Self {
        let values = values.into_iter();
        let values = values.map(|(key, value)| (key, Arc::new(value)));
        Self(RwLock::new(values.collect()))
    }

    fn set(&self, key: &str, value: Value) {
        let mut values = self.0.write().unwrap_or_else(PoisonError::into_inner);
        values.insert(key.to_owned(), Arc::new(value));
    }

    fn get(&self, key: &str) -> Option<Arc<Value>> {
        let values = self.0.read().unwrap_or_else(PoisonError::into_inner);
        values.get(key).cloned()
    }
}

impl App {
    /// Keeps a value under a name, for this server. A value that serde refuses is kept as null.
    pub fn set(&self, key: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.0.settings.set(key, value);
    }

    /// The value of this name; `None` if there is none, or one of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        // Read outside the lock: how a `T` is made is the caller's own code.
        T::deserialize(&*self.0.settings.get(key)?).ok()
    }

    /// Sets the name to `true`.
    pub fn enable(&self, key: &str) {
        self.0.settings.set(key, Value::Bool(true));
    }

    /// Sets the name to `false`.
    pub fn disable(&self, key: &str) {
        self.0.settings.set(key, Value::Bool(false));
    }

    /// Whether the name has a value that JavaScript takes for true.
    pub fn enabled(&self, key: &str) -> bool {
        let value = self.0.settings.get(key);
        value.is_some_and(|value| !crate::error::is_falsy(&value))
    }

    /// The opposite of [`enabled`](Self::enabled).
    pub fn disabled(&self, key: &str) -> bool {
        !self.enabled(key)
    }

    /// All settings of this server.
    pub fn settings(&self) -> Map<String, Value> {
        let values = self.0.settings.0.read();
        let values = values.unwrap_or_else(PoisonError::into_inner);
        values
            .iter()
            .map(|(key, value)| (key.clone(), Value::clone(value)))
            .collect()
    }

    /// Reads a file of the application's own into a setting of this server: `NAME.json` of the
    /// configuration's directory, cut down to the environment if it has a member named like it,
    /// else `<env>/NAME.json`. An absolute path is taken as it is.
    ///
    /// [`AppBuilder::load_config`](crate::AppBuilder::load_config) does so for all servers at
    /// the start, and [`watch_config`](crate::AppBuilder::watch_config) again on every change.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`], also when there is no such file, and [`ConfigError::Json`].
    pub fn load_config(&self, key: &str, name: &str) -> Result<(), ConfigError> {
        let place = &self.0.shared.place;
        let value = read(&place.dir, &place.env, name)?;
        self.0.settings.set(key, value);
        Ok(())
    }
}

/// The user's file of this name; `.json` may be left out.
pub(super) fn read(dir: &Path, env: &str, name: &str) -> Result<Value, ConfigError> {
    let name = name.strip_suffix(".json").unwrap_or(name);
    match config::document(dir, env, name)? {
        Some(document) => Ok(document.value),
        None => Err(config::missing(&dir.join(format!("{name}.json")))),
    }
}
