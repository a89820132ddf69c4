//! What Xen's libraries have to say goes to the `log` crate, under the target `libxc`.

use std::ffi::{CStr, c_char, c_int};

use libxc_sys as sys;
use log::Level;
use nix::errno::Errno;

/// libxc itself cuts its messages at this length.
const MAX_MESSAGE_BYTES: usize = 1024;

static LOGGER: sys::xentoollog_logger =
    sys::xentoollog_logger { vmessage: Some(vmessage), progress: None, destroy: Some(destroy) };

/// The logger to open Xen's libraries with. It lives forever, and they only read it.
pub(super) fn logger() -> *mut sys::xentoollog_logger {
    (&raw const LOGGER).cast_mut()
}

/// What a failed call logs is not an error of ours yet: the caller may expect it. It returns the
/// errno in any case.
fn level(level: sys::xentoollog_level) -> Level {
    match level {
        sys::XTL_ERROR | sys::XTL_CRITICAL | sys::XTL_WARN => Level::Warn,
        sys::XTL_NOTICE | sys::XTL_INFO => Level::Info,
        sys::XTL_DETAIL => Level::Debug,
        _ => Level::Trace,
    }
}

unsafe extern "C" fn vmessage(
    _logger: *mut sys::xentoollog_logger,
    message_level: sys::xentoollog_level,
    errnoval: c_int,
    _context: *const c_char,
    format: *const c_char,
    args: *mut sys::__va_list_tag,
) {
    let level = level(message_level);
    if !log::log_enabled!(target: "libxc", level) {
        return;
    }
    // Some callers read errno only after they have logged.
    let saved_errno = Errno::last_raw();
    let mut text = [0u8; MAX_MESSAGE_BYTES];
    // SAFETY: the library passes a format and the arguments that go with it, and vsnprintf writes
    // no more than the length it is given.
    let written =
        unsafe { sys::vsnprintf(text.as_mut_ptr().cast(), text.len() as u64, format, args) };
    if written >= 0 {
        let message = CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy();
        match errnoval {
            ..=0 => log::log!(target: "libxc", level, "{message}"),
            code => log::log!(target: "libxc", level, "{message}: {}", Errno::from_raw(code)),
        }
    }
    Errno::set_raw(saved_errno);
}

/// There is nothing to free, and nobody to call this: the logger is never handed over.
unsafe extern "C" fn destroy(_logger: *mut sys::xentoollog_logger) {}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

    struct Collector;

    impl log::Log for Collector {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            if record.target() == "libxc" {
                let line = format!("{} {}", record.level(), record.args());
                SEEN.lock().expect("no test panics while it logs").push(line);
            }
        }

        fn flush(&self) {}
    }

    #[test]
    fn messages_arrive_formatted_and_leave_errno_alone() {
        log::set_logger(&Collector).expect("no other test sets a logger");
        log::set_max_level(log::LevelFilter::Trace);
        Errno::set_raw(77);
        // SAFETY: the arguments fit the format.
        unsafe {
            sys::xtl_log(
                logger(),
                sys::XTL_ERROR,
                22,
                c"xc".as_ptr(),
                c"page %d of %s".as_ptr(),
                7 as c_int,
                c"a guest".as_ptr(),
            );
        }
        assert_eq!(Errno::last_raw(), 77);
        let seen = SEEN.lock().expect("no test panics while it logs").clone();
        assert_eq!(seen, ["WARN page 7 of a guest: EINVAL: Invalid argument"]);
    }
}
