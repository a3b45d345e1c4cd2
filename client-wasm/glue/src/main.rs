//! `wasm-glue IN.wasm OUT_DIR`: the module and its glue, as `wasm-bindgen --target bundler` makes
//! them, without names and other sections that nobody reads.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [input, out] = &arguments[..] else {
        eprintln!("usage: wasm-glue IN.wasm OUT_DIR");
        return ExitCode::from(2);
    };
    let mut bindgen = Bindgen::new();
    let generated = bindgen.bundler(true).and_then(|bindgen| {
        bindgen
            .input_path(input)
            .out_name("pomelo")
            .typescript(false)
            .remove_name_section(true)
            .remove_producers_section(true)
            .generate(out)
    });
    match generated {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
