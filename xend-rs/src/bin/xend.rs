//! The `xend` program.

fn main() {}
