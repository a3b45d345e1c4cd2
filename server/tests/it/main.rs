//! The server over loopback sockets, spoken to in raw bytes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "helpers of tests may fail the test"
)]

mod bad_input;
mod bounds;
mod exchanges;
mod filters;
mod http;
mod lifecycle;
mod logs;
mod peer;
mod rpc;
mod sessions;
