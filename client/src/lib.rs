//! A native client for the servers of NetEase's pomelo family: pomelo, pinus, nano, pitaya.
//!
//! ```no_run
//! use pomelo_client::Client;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize)]
//! struct Enter<'a> {
//!     username: &'a str,
//!     rid: &'a str,
//! }
//!
//! #[derive(Deserialize)]
//! struct Entered {
//!     users: Vec<String>,
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("ws://127.0.0.1:3010").await?;
//! client.on("onChat", |push| match push.decode::<serde_json::Value>() {
//!     Ok(chat) => println!("{chat}"),
//!     Err(error) => eprintln!("a chat message that cannot be read: {error}"),
//! });
//!
//! let enter = Enter { username: "bob", rid: "lobby" };
//! let Entered { users } = client.request("connector.entryHandler.enter", &enter).await?;
//! println!("{} users are here", users.len());
//! client.notify("chat.chatHandler.leave", &())?;
//! client.disconnect().await;
//! # Ok(())
//! # }
//! ```
//!
//! The route dictionary and the protobuf schemas are the server's business: what it announces in the
//! handshake is used, so the same typed bodies travel as JSON or as protobuf. Keep [`Client::tables`] and
//! give them to the next connection to spare the server sending them again.
//!
//! # One connection, one task
//!
//! [`Client::connect`] spawns one Tokio task that owns the socket and the timer; the protocol itself is
//! `pomelo_protocol::ClientConnection`, which knows neither. [`Client`] is a cheap handle, and the last one
//! dropped closes the connection. Nothing waits for ever: when the connection ends, every request fails with
//! the [`CloseReason`], every [`Subscription`] ends, and [`Client::closed`] says why.
//!
//! # Bounds
//!
//! | what | bound | when it is reached |
//! |---|---|---|
//! | requests in flight | `Config::max_pending` | [`RequestError::Send`] |
//! | bytes and frames to send | `Config::outbox_bytes`, `Config::outbox_frames` | [`RequestError::Send`], [`NotifyError::Send`] |
//! | pushes a subscription holds | [`ClientConfig::subscription_capacity`] | the oldest is lost and counted |
//! | size of a package | `Config::max_package`, `Config::max_handshake` | the connection ends with [`CloseReason::Protocol`] |
//! | silence of the server | twice its heartbeat interval | the connection ends with [`CloseReason::HeartbeatTimeout`] |
//!
//! # What is not here
//!
//! TLS (bring your own stream to [`ClientConfig::connect_over`]) and automatic reconnection: wait for
//! [`Client::closed`], then connect again with the [`Client::tables`] of the old connection.

mod client;
mod config;
mod driver;
mod error;
mod listeners;
mod transport;

pub use client::{Client, Stats};
pub use config::ClientConfig;
pub use error::{ConnectError, NotifyError, RequestError};
pub use listeners::{Event, Events, Listener, Push, Subscription};
pub use pomelo_protocol::{Body, BodyError, CloseReason, Config, Dropped, Tables};
