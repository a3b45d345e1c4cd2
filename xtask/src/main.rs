//! Everything a newcomer or CI runs: `cargo xtask demo | test | ...`.

fn main() {
    eprintln!("usage: cargo xtask demo | test | protos | fuzz | bench");
}
