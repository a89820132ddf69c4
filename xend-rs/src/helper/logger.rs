//! Our log, in libxl's: what `log` is told goes to `xl`'s standard error through libxl.

use std::sync::Arc;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::ipc::{Message, message};
use super::link::Link;

/// Levels of xentoollog.h.
const XTL_DEBUG: u32 = 1;
const XTL_VERBOSE: u32 = 2;
const XTL_INFO: u32 = 5;
const XTL_WARN: u32 = 7;
const XTL_ERROR: u32 = 8;

/// Sends each line to libxl.
struct LibxlLogger(Arc<Link>);

impl Log for LibxlLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Debug
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => XTL_ERROR,
            Level::Warn => XTL_WARN,
            Level::Info => XTL_INFO,
            Level::Debug => XTL_VERBOSE,
            Level::Trace => XTL_DEBUG,
        };
        // -1 is xentoollog's "no errno": the line says what it has to say by itself.
        let line = Message::new(message::LOG)
            .u32(level)
            .u32(u32::MAX)
            .text("xend")
            .text(&record.args().to_string());
        // With libxl gone there is nobody to tell, and the link has cancelled the transfer.
        let _ = self.0.tell(line);
    }

    fn flush(&self) {}
}

/// Makes libxl the place where this process logs to.
pub(super) fn install(link: Arc<Link>) {
    if log::set_boxed_logger(Box::new(LibxlLogger(link))).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}
