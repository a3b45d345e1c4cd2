//! Benches and load: `cargo bench -p pomelo-benches`, one file for each question;
//! `allocations.rs`, which counts instead of timing and so is a test; and `cargo xtask load`,
//! which puts load on a running server.

use pomelo_server::{Json, Msg};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The message of [`echo`].
#[derive(Debug, Deserialize)]
pub struct Echo {
    /// Any JSON.
    pub msg: Value,
}

/// The answer of [`echo`].
#[derive(Debug, Serialize)]
pub struct Echoed {
    code: u16,
    msg: Value,
}

impl From<Echo> for Echoed {
    fn from(Echo { msg }: Echo) -> Self {
        Self { code: 200, msg }
    }
}

/// The handler that all loads on a whole server call most: typed JSON in, typed JSON out.
#[expect(clippy::unused_async, reason = "a handler")]
pub async fn echo(Msg(message): Msg<Echo>) -> Json<Echoed> {
    Json(message.into())
}
