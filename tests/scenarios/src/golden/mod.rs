//! `xend` beside stock `xl`: the same command line with both in one Dom0, and how the answers
//! differ.

mod both;
mod normal;

pub use both::{Answers, run};
pub use normal::Normal;

/// A command line for the shell, where `xl` is the one or the other, and what of its output is not
/// the same in any two runs.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The command line.
    pub command: &'static str,
    /// What is taken out of its output.
    pub normal: Normal,
}
