//! Benches and load: `cargo bench -p pomelo-benches`, one file for each question;
//! `allocations.rs`, which counts instead of timing and so is a test; and `cargo xtask load`,
//! which puts load on a running server.
