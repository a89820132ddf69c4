//! What the libraries of Xen and the engine have to say, on standard error.

use std::io::{self, Write};
use std::process;
use std::sync::OnceLock;

use log::{LevelFilter, Log, Metadata, Record};

use super::args::Global;

static LOGGER: OnceLock<StderrLogger> = OnceLock::new();

/// Sends log messages to standard error: errors only, and more with each `-v`.
pub(super) fn install(global: &Global) {
    let logger = LOGGER.get_or_init(|| StderrLogger { timestamps: global.timestamps });
    // A second logger cannot be meant for this program.
    if log::set_logger(logger).is_ok() {
        log::set_max_level(level(global.verbosity));
    }
}

fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::Error,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        3.. => LevelFilter::Trace,
    }
}

struct StderrLogger {
    timestamps: bool,
}

impl Log for StderrLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let stamp = if self.timestamps { stamp() } else { String::new() };
        let level = record.level().as_str().to_lowercase();
        let line = format!("{stamp}{}: {level}: {}\n", record.target(), record.args());
        // Nobody left to tell: nothing to be done about it.
        let _ = io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// The time in UTC, and the process.
fn stamp() -> String {
    let now = std::time::SystemTime::now();
    let seconds = now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let [hour, minute, second] = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60];
    format!("{hour:02}:{minute:02}:{second:02} UTC [{}] ", process::id())
}
