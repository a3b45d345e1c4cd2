//! Where a file is, and what of it belongs to the environment.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::ConfigError;

/// A file of the configuration.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) file: String,
    /// The environment if the file was cut down to it, else empty: where paths of fields begin.
    pub(crate) root: String,
    pub(crate) value: Value,
}

impl Document {
    /// A document that stands in `config/` itself.
    pub(super) fn shared(file: &str, env: &str, value: Value) -> Self {
        let mut this = Self {
            file: file.to_owned(),
            root: String::new(),
            value,
        };
        this.cut(env);
        this
    }

    /// A file with a member named like the environment is cut down to that member.
    fn cut(&mut self, env: &str) {
        if let Some(member) = self.value.get_mut(env).filter(|member| is_truthy(member)) {
            self.value = member.take();
            self.root = env.to_owned();
        }
    }
}

/// `if (file[env])` of the original's `loadConfigBaseApp`.
fn is_truthy(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// `dir/NAME.json` cut down to the environment, else `dir/<env>/NAME.json` as it is.
pub(crate) fn document(dir: &Path, env: &str, name: &str) -> Result<Option<Document>, ConfigError> {
    let Some(path) = place(dir, env, name) else {
        return Ok(None);
    };
    let file = path.display().to_string();
    let value = parse(&path, &file)?;
    let in_environment = path.parent() == Some(&dir.join(env));
    let mut document = Document {
        file,
        root: String::new(),
        value,
    };
    if !in_environment {
        document.cut(env);
    }
    Ok(Some(document))
}

/// The path of the file in the first of both layouts that has it.
pub(crate) fn place(dir: &Path, env: &str, name: &str) -> Option<PathBuf> {
    let file = format!("{name}.json");
    [dir.join(&file), dir.join(env).join(&file)]
        .into_iter()
        .find(|path| path.exists())
}

fn parse(path: &Path, file: &str) -> Result<Value, ConfigError> {
    let bytes = fs::read(path).map_err(|source| ConfigError::Read {
        file: file.to_owned(),
        source,
    })?;
    // Node's `require` takes the mark that some editors put first off, too.
    let json = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(json).map_err(|source| ConfigError::Json {
        file: file.to_owned(),
        source,
    })
}

pub(crate) fn missing(path: &Path) -> ConfigError {
    ConfigError::Read {
        file: path.display().to_string(),
        source: io::ErrorKind::NotFound.into(),
    }
}
