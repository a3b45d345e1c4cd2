//! A tour of the framework: a small arena game that uses everything, and a walk through it.
//!
//! ```text
//! cargo run -p framework-tour             starts the game, shows each feature, checks it, stops
//! cargo run -p framework-tour -- --serve  only runs the game, on the ports of config/servers.json
//! ```
//!
//! The game is one gate, two connectors, a tournament and an edge server for clients, and behind
//! them two areas and three ranks. Read it in this order; each file says which feature it shows:
//! `game.rs`, `lifecycle.rs`, `handlers.rs`, `rooms.rs`, `filters.rs`, `rank.rs`, `connectors.rs`,
//! `pushes.rs`, `jobs.rs`. The walk is in `tour/`, one file for each of them.

mod connectors;
mod filters;
mod game;
mod handlers;
mod jobs;
mod journal;
mod lifecycle;
mod log;
mod pushes;
mod rank;
mod rooms;
mod tour;

use std::process::ExitCode;

use game::{Game, Ports};
use jobs::Calendar;

/// Any error: nobody here decides by its kind.
type Problem = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let outcome = match (args.next().as_deref(), args.next()) {
        (None, _) => walk(),
        (Some("--serve"), None) => serve(),
        _ => Err("usage: framework-tour [--serve]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            let mut cause = problem.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// One thread, so that the tour can show what happens when it is kept busy.
fn walk() -> Result<(), Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let broken = runtime.block_on(tour::run(tour::Out::Lines))?.broken();
    if broken.is_empty() {
        println!("everything is as promised");
        return Ok(());
    }
    Err(format!("not as promised: {}", broken.join(", ")).into())
}

#[tokio::main]
async fn serve() -> Result<(), Problem> {
    let game = Game::new(Calendar::of_the_system())?;
    let running = game.app(Ports::OfFile)?.admin_port(9100).start().await?;
    let mut addresses: Vec<_> = running.addresses().iter().collect();
    addresses.sort();
    for (server, address) in addresses {
        println!("{server:<28} listens on {address}");
    }
    println!("http://127.0.0.1:9100/metrics shows what it does; Ctrl-C stops it");
    running.until_signal().await;
    Ok(())
}
