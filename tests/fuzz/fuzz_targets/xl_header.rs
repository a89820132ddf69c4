//! Any bytes into the reader of xl save-file headers.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xend_rs::stream::fuzz::xl_header(data));
