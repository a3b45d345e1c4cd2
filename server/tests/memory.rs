//! What hostile peers cost in memory, measured alone in its process.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    dead_code,
    unreachable_pub,
    reason = "helpers of tests may fail the test, and serve others, too"
)]

#[path = "it/peer.rs"]
mod peer;

use peer::{Tcp, golden_app, request, response, start};

/// A length that is announced and never sent must not cost memory, and neither must waiting.
#[tokio::test]
async fn announced_lengths_reserve_nothing() {
    let (running, address) = start(golden_app()).await;
    let mut neighbour = Tcp::ready(address).await;
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let mut peer = Tcp::ready(address).await;
        // The longest one that is let through.
        peer.send(&[4, 0x10, 0x00, 0x00]).await;
        waiting.push(peer);
    }
    neighbour
        .send(&request(9, "connector.entryHandler.nothing", "{}"))
        .await;
    assert_eq!(neighbour.package().await, response(9, "{}"));
    let grown = resident();
    assert!(grown < 100 << 20, "{} MiB resident", grown >> 20);
    drop(waiting);
    running.stop().await;
}

#[cfg(target_os = "linux")]
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[cfg(not(target_os = "linux"))]
fn resident() -> usize {
    0
}
