//! A drop-in for `libxl-save-helper`.

fn main() {}
