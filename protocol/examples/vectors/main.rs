//! Checks files of golden vectors: `cargo run -p pomelo-protocol --example vectors -- FILE...`
//!
//! Prints every vector that fails, and the totals in the last line; exits with 1 if any failed.

#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    let files: Vec<_> = std::env::args_os().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: vectors FILE...");
        return ExitCode::from(2);
    }
    let (mut passed, mut failed) = (0, 0);
    for file in files {
        let file = std::path::PathBuf::from(file);
        let shown = file.display();
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let report = support::check_file(&text);
                for failure in &report.failed {
                    println!("{shown}: {failure}");
                }
                for unused in &report.unused {
                    println!("{shown}: a known difference without a vector: {unused}");
                }
                println!(
                    "{shown}: {} passed, {} failed",
                    report.passed,
                    report.failed.len()
                );
                passed += report.passed;
                failed += report.failed.len();
            }
            Err(error) => {
                println!("{shown}: {error}");
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}
