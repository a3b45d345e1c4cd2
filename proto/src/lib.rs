//! The messages of the pomelo workspace as Rust types, and the converter that makes pomelo's
//! schema files from `.proto` files.
//!
//! - [`chat`]: requests, responses and pushes of the chat example. One type travels as JSON or as
//!   pomelo's protobuf dialect (through serde), or as standard protobuf (through [`prost`]).
//! - [`cluster`]: the envelope servers of one cluster exchange over a message broker.
//! - `convert` (feature `convert`): `.proto` to `clientProtos.json` and `serverProtos.json`.
//!
//! ```
//! use pomelo_proto::{Message, chat::OnChat};
//!
//! let said = OnChat { msg: "hi".into(), from: "ann".into(), target: "*".into() };
//! assert_eq!(said.encode_to_vec(), b"\x0a\x02hi\x12\x03ann\x1a\x01*");
//! ```
//!
//! The types are built by `build.rs` from `proto/*.proto`; no `protoc` is needed.
//!
//! # Features
//!
//! - `convert`: the converter. Off by default, since it brings a compiler for `.proto` files.

#[cfg(feature = "convert")]
pub mod convert;

pub use prost::Message;

/// Messages of the chat example (`proto/chat.proto`).
///
/// In JSON, members have the names of the `.proto` file; absent optional fields and empty lists are
/// left out, as they are in protobuf, and a member that is missing on input has its default value.
pub mod chat {
    include!(concat!(env!("OUT_DIR"), "/pomelo.chat.rs"));
}

/// Messages between the servers of a cluster (`proto/cluster.proto`).
pub mod cluster {
    include!(concat!(env!("OUT_DIR"), "/pomelo.cluster.rs"));

    /// The [`Envelope::version`] this crate writes and understands.
    pub const VERSION: u32 = 1;
}
