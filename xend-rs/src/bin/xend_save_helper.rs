//! A drop-in for Xen's `libxl-save-helper`: see [`xend_rs::helper`].

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    xend_rs::helper::run(&args)
}
