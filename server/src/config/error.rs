//! What is wrong with the configuration.

use std::fmt;
use std::io;

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
    /// Members are missing or have values that cannot be used; all of them, not only the first.
    #[error("{}", listed(.0))]
    Wrong(Vec<Mistake>),
}

/// One member of a configuration file that is missing or cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mistake {
    /// Which file.
    pub file: String,
    /// The path of the member, for example `development.connector[0].clientPort`; empty if it is
    /// the whole file.
    pub field: String,
    /// What is expected there.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            field,
            problem,
        } = self;
        if field.is_empty() {
            write!(f, "{file}: {problem}")
        } else {
            write!(f, "{file}: {field}: {problem}")
        }
    }
}

fn listed(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    lines.join("\n")
}
