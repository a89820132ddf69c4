//! The `xend` program: see [`xend_rs::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    xend_rs::cli::run(std::env::args_os())
}
