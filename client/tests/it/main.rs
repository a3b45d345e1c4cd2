//! The client against a scripted server: every byte the server says is written out here.

mod answers;
mod close;
mod handshake;
mod peer;
mod push;
