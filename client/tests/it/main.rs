//! The client against a scripted server: every byte the server says is written out here.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests are tests"
)]

mod answers;
mod close;
mod handshake;
mod peer;
mod push;
