//! `cargo xtask load`: load on a server of pomelo's wire protocol, and what it costs there.
//!
//! One thread drives all connections as real clients, with handshake and heartbeats. The server
//! answers four routes: `entry` (binds a fresh uid), `echo`, `join` (`{"room": R}`) and
//! `broadcast` (pushes `onMessage` to the members of the caller's channel).
//!
//! # Reading the figures
//!
//! - *Work per server CPU second* is what a server can do on one core, whatever the tool or the
//!   network do meanwhile; it is the figure to compare. Kernels without `schedstat` count CPU time
//!   in steps of 10 ms, and a run should use some seconds of it.
//! - *Per second* and the latencies of a closed loop (`requests` without `--rate`) are those of
//!   tool and server together. A closed loop waits for a slow server, so its percentiles hide
//!   pauses: they are for comparing servers, not for promising anything to users.
//! - The latencies of an open loop (`--rate`) count from the time on the schedule, so that a pause
//!   is paid by every request it delays. The line "tool's own delay" says how late the tool
//!   itself sent; what is left is the server's and the kernel's.
//! - *Bytes per connection* is the growth of the processes' resident memory, user space only, and
//!   means something from some thousand connections on. The kernel's objects and buffers come on
//!   top, which only root is told.
//!
//! # What not to conclude
//!
//! A shared or virtual machine changes its speed between two runs, easily by half. Compare two
//! servers by alternating runs of both and taking medians; only ratios count. Where the tool
//! used more CPU than the server, or both share a core, latencies say nothing about the server.
//! On loopback there is no network: throughput over a real one is lower, for everybody, and part
//! of the receiver's work in the kernel is done, and counted, in the sender's system call; of a
//! storm's connects the tool pays for most.

#[cfg(target_os = "linux")]
mod run;

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    return run::main();
    #[cfg(not(target_os = "linux"))]
    {
        eprintln!("error: the load tool needs Linux, for epoll and /proc");
        std::process::ExitCode::FAILURE
    }
}
