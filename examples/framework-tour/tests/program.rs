//! The program as it is run from a shell.

use std::io;
use std::process::{Command, Output};

fn run(args: &[&str]) -> io::Result<Output> {
    let program = env!("CARGO_BIN_EXE_framework-tour");
    Command::new(program).args(args).output()
}

#[test]
fn a_tour_ends_well_and_has_shown_nine_themes() {
    let output = run(&[]).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(output.stderr.is_empty(), "{:?}", output.stderr);
    let themes = text
        .lines()
        .filter(|line| line.starts_with(char::is_numeric));
    assert_eq!(themes.count(), 9);
    let things = text.lines().filter(|line| line.starts_with("    "));
    assert!(things.count() > 80, "{text}");
}

#[test]
fn an_argument_that_nobody_knows_is_refused() {
    let output = run(&["--bogus"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}
