//! `xend stream`: looking at saved guests and captured migrations.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use super::args::Args;
use super::failure::Failure as CommandFailure;
use crate::error_line::error_line;
use crate::stream::inspect::{Format, InspectError, Options, inspect};

/// Buffer between the file and the decoder: page contents are skipped through it.
const BUFFER_BYTES: usize = 1 << 20;

/// Look at saved guests and captured migrations.
#[derive(Debug, Parser)]
#[command(name = "xend stream")]
struct Stream {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a stream record by record.
    ///
    /// Exits with 0 if the stream could be read to its end (with --verify: if it is sound), with
    /// 1 if it is broken, with 2 if it cannot be opened or read.
    Inspect(Inspect),
}

#[derive(Debug, clap::Args)]
struct Inspect {
    /// Check everything the formats promise: order, completeness, zero padding.
    #[arg(long)]
    verify: bool,
    /// What the file is, instead of finding out from its first bytes.
    #[arg(long, value_name = "FORMAT")]
    from: Option<From>,
    /// Print the summary only.
    #[arg(long)]
    summary: bool,
    /// The file; - is standard input.
    file: PathBuf,
}

/// The outermost layer of a file.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum From {
    /// A file of xl save.
    Xl,
    /// A libxl stream.
    Libxl,
    /// A libxc image.
    Libxc,
}

/// Why `xend stream` failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The file cannot be opened.
    #[error("cannot open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The stream is broken.
    #[error("{file} is not sound")]
    Unsound {
        /// The file.
        file: String,
        /// What is wrong.
        #[source]
        source: InspectError,
    },
    /// The stream cannot be read, or nothing can be written about it.
    #[error("cannot inspect {file}")]
    Inspect {
        /// The file.
        file: String,
        /// Why not.
        #[source]
        source: InspectError,
    },
}

impl Failure {
    /// What the program exits with.
    fn exit_status(&self) -> u8 {
        match self {
            Failure::Unsound { .. } => 1,
            Failure::Open { .. } | Failure::Inspect { .. } => 2,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandFailure> {
    let words = ["xend stream"].into_iter().chain(args.words.iter().map(String::as_str));
    let Command::Inspect(inspect) = Stream::parse_from(words).command;
    match inspect.run() {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(failure) => {
            let status = failure.exit_status();
            Err(CommandFailure::line(error_line(&failure)).with_status(status))
        }
    }
}

impl Inspect {
    fn run(&self) -> Result<(), Failure> {
        let options = Options {
            format: self.from.map(|from| match from {
                From::Xl => Format::Xl,
                From::Libxl => Format::Libxl,
                From::Libxc => Format::Libxc,
            }),
            verify: self.verify,
            summary_only: self.summary,
        };
        let input = BufReader::with_capacity(BUFFER_BYTES, self.open()?);
        let out = BufWriter::new(io::stdout().lock());
        match inspect(input, out, &options) {
            Ok(_) => Ok(()),
            Err(source) => {
                let file = self.file.display().to_string();
                Err(if source.is_unsound() {
                    Failure::Unsound { file, source }
                } else {
                    Failure::Inspect { file, source }
                })
            }
        }
    }

    fn open(&self) -> Result<Box<dyn Read>, Failure> {
        if self.file == Path::new("-") {
            return Ok(Box::new(io::stdin().lock()));
        }
        let opened = File::open(&self.file);
        let file = opened.map_err(|source| Failure::Open { path: self.file.clone(), source })?;
        Ok(Box::new(file))
    }
}
