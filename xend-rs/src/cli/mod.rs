//! The commands of the `xend` program, one file each.

mod stream;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Live migration of Xen guests.
#[derive(Debug, Parser)]
#[command(name = "xend", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at saved guests and captured migrations.
    #[command(subcommand)]
    Stream(stream::Command),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Of `xend stream`.
    #[error(transparent)]
    Stream(#[from] stream::Failure),
}

impl Failure {
    /// What the program exits with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Stream(failure) => failure.exit_code(),
        }
    }
}

impl Cli {
    /// Carries the command out.
    pub fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Stream(command) => command.run()?,
        }
        Ok(())
    }
}
