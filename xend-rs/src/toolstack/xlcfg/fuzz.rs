//! Entry point for the fuzz targets.

use super::{Content, MAX_DEPTH, Settings, Value};

/// Reads `data` as an xl.cfg, and panics if the reader breaks a promise: an error is one line and
/// points into the text, and what was read is no larger than the text.
pub fn xlcfg(data: &[u8]) {
    let settings = match Settings::parse("fuzz", data) {
        Ok(settings) => settings,
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "{error:?}: more than one line");
            let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
            assert!(error.place.line as usize <= lines, "{error}: beyond the text");
            assert!(error.place.column as usize <= data.len() + 1, "{error}: beyond its line");
            return;
        }
    };
    let size = settings.iter().map(|setting| setting.key.len() + size(&setting.value, 0)).sum();
    assert!(data.len() >= size, "{size} bytes from {}", data.len());
    for setting in settings.iter() {
        let (text, number, list) = (setting.text(), setting.number(), setting.texts());
        assert!(text.is_ok() || number.is_err(), "a number that is no value");
        assert!(text.is_ok() != setting.list().is_ok(), "both value and list, or neither");
        assert!(text.is_err() || list.is_err(), "a value that is a list of texts");
    }
}

/// At least so many bytes of text are needed to write `value`.
fn size(value: &Value, depth: usize) -> usize {
    assert!(depth <= MAX_DEPTH, "deeper than allowed");
    match &value.content {
        Content::Text(text) => text.len().max(1),
        Content::List(items) => 2 + items.iter().map(|item| size(item, depth + 1)).sum::<usize>(),
    }
}
