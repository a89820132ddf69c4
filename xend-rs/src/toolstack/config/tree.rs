//! Looking into a JSON object, where a value of another type counts as not there.
//!
//! Documents are checked when they come in, so this only ever hides what libxl would not read.

use serde_json::{Map, Value};

/// A JSON object.
pub(super) type Object = Map<String, Value>;

pub(super) fn object<'a>(map: &'a Object, key: &str) -> Option<&'a Object> {
    map.get(key).and_then(Value::as_object)
}

pub(super) fn text(map: &Object, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).map(str::to_owned)
}

pub(super) fn u64(map: &Object, key: &str) -> Option<u64> {
    map.get(key).and_then(Value::as_u64)
}

pub(super) fn u32(map: &Object, key: &str) -> Option<u32> {
    u64(map, key).and_then(|value| u32::try_from(value).ok())
}

/// libxl's three-valued boolean: `"True"`, `"False"`, or not said.
pub(super) fn defbool(map: &Object, key: &str) -> Option<bool> {
    match map.get(key).and_then(Value::as_str) {
        Some("True") => Some(true),
        Some("False") => Some(false),
        _ => None,
    }
}

/// A boolean, or an integer used as one.
pub(super) fn flag(map: &Object, key: &str) -> bool {
    match map.get(key) {
        Some(Value::Bool(value)) => *value,
        Some(value) => value.as_i64().is_some_and(|value| value != 0),
        None => false,
    }
}

pub(super) fn items<'a>(map: &'a Object, key: &str) -> &'a [Value] {
    map.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn objects<'a>(map: &'a Object, key: &str) -> impl Iterator<Item = &'a Object> {
    items(map, key).iter().filter_map(Value::as_object)
}

pub(super) fn texts(map: &Object, key: &str) -> Vec<String> {
    items(map, key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A bitmap, as libxl writes it: the numbers of the bits that are set.
pub(super) fn bits(value: &Value) -> Vec<u32> {
    let numbers = value.as_array().map_or(&[][..], Vec::as_slice);
    numbers.iter().filter_map(Value::as_u64).filter_map(|n| u32::try_from(n).ok()).collect()
}
