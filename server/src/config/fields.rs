//! Members of JSON objects, taken out one by one; what is wrong with them is collected.

use serde_json::{Map, Value};

use super::error::{ConfigError, Mistake};

/// What was found wrong in one file so far.
#[derive(Debug)]
pub(super) struct Mistakes {
    file: String,
    list: Vec<Mistake>,
}

impl Mistakes {
    pub(super) fn in_file(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            list: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.list.push(Mistake {
            file: self.file.clone(),
            field: field.into(),
            problem: problem.into(),
        });
    }

    /// `value`, unless something was wrong on the way to it.
    pub(super) fn or<T>(self, value: T) -> Result<T, ConfigError> {
        if self.list.is_empty() {
            Ok(value)
        } else {
            Err(ConfigError::Wrong(self.list))
        }
    }
}

/// An object of a file.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    path: String,
    members: &'a Map<String, Value>,
}

impl<'a> Entry<'a> {
    /// `None`, noted, if `value` is no object.
    pub(super) fn of(path: String, value: &'a Value, mistakes: &mut Mistakes) -> Option<Self> {
        match value.as_object() {
            Some(members) => Some(Self { path, members }),
            None => {
                mistakes.add(path, "must be an object");
                None
            }
        }
    }

    pub(super) fn new(path: String, members: &'a Map<String, Value>) -> Self {
        Self { path, members }
    }

    /// A member; `null` is as good as none.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn wrong(&self, name: &str, problem: &str, mistakes: &mut Mistakes) {
        mistakes.add(join(&self.path, name), problem);
    }

    fn read<T>(
        &self,
        name: &str,
        expected: &str,
        mistakes: &mut Mistakes,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(name)?;
        let read = read(value);
        if read.is_none() {
            self.wrong(name, expected, mistakes);
        }
        read
    }

    pub(super) fn text(&self, name: &str, mistakes: &mut Mistakes) -> Option<String> {
        let expected = "must be a text that is not empty";
        self.read(name, expected, mistakes, |value| {
            value
                .as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        })
    }

    /// A text that must be there; if it is not, an empty one, and that is noted.
    pub(super) fn required(&self, name: &str, mistakes: &mut Mistakes) -> String {
        if self.get(name).is_none() {
            self.wrong(name, "is missing: must be a text", mistakes);
        }
        self.text(name, mistakes).unwrap_or_default()
    }

    /// A name that may be written as a number, too.
    pub(super) fn name(&self, name: &str, mistakes: &mut Mistakes) -> Option<String> {
        let expected = "must be a text that is not empty, or a number";
        self.read(name, expected, mistakes, |value| match value {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    }

    pub(super) fn port(&self, name: &str, mistakes: &mut Mistakes) -> Option<u16> {
        self.whole(name, "must be a port, 0 to 65535", mistakes)
    }

    /// A whole number, which may be written as text, as start arguments are.
    pub(super) fn whole<T: TryFrom<u64>>(
        &self,
        name: &str,
        expected: &str,
        mistakes: &mut Mistakes,
    ) -> Option<T> {
        self.read(name, expected, mistakes, |value| {
            T::try_from(number(value)?).ok()
        })
    }

    /// Start arguments of the original make `true` the text "true".
    pub(super) fn flag(&self, name: &str, mistakes: &mut Mistakes) -> bool {
        let expected = "must be true or false";
        let flag = self.read(name, expected, mistakes, |value| match value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => text.parse().ok(),
            _ => None,
        });
        flag.unwrap_or(false)
    }

    /// A text or a list of texts.
    pub(super) fn texts(&self, name: &str, mistakes: &mut Mistakes) -> Vec<String> {
        let expected = "must be a text or a list of texts";
        let texts = self.read(name, expected, mistakes, |value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            other => strings(other),
        });
        texts.unwrap_or_default()
    }
}

/// `path.name`; at the top of a file the path is empty.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Numbers may be written as text, as start arguments are.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

pub(super) fn strings(value: &Value) -> Option<Vec<String>> {
    value
        .as_array()?
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect()
}
