//! The server over loopback sockets, spoken to in raw bytes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "helpers of tests may fail the test"
)]

mod admin;
mod backend_sessions;
mod bad_input;
mod bounds;
mod channels;
mod coders;
mod crons;
mod drain;
mod events;
mod exchanges;
mod filters;
mod hosts;
mod http;
mod lifecycle;
mod limits;
mod logs;
mod peer;
mod property;
mod proxy;
mod rpc;
mod schedulers;
mod sessions;
mod sockets;
mod startup;
mod store;
mod tables;
mod tls;
mod topology;
mod tracing_spans;
mod two_frontends;
