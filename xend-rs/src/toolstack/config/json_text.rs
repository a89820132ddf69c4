//! JSON laid out as libyajl's generator does when it beautifies, which libxl uses everywhere.
//!
//! Four spaces to a level, and two newlines inside of anything empty.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The document with a newline at its end.
pub fn print(document: &Map<String, Value>) -> String {
    let mut text = String::new();
    print_map(&mut text, document, 0);
    text.push('\n');
    text
}

/// One value inside of `depth` others, without a newline at its end.
pub fn print_value(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::String(string) => print_string(text, string),
        Value::Array(items) => {
            print_items(text, ['[', ']'], depth, items, |text, item| {
                print_value(text, item, depth + 1);
            });
        }
        Value::Object(map) => print_map(text, map, depth),
    }
}

fn print_map(text: &mut String, map: &Map<String, Value>, depth: usize) {
    print_items(text, ['{', '}'], depth, map, |text, (key, value)| {
        print_string(text, key);
        text.push_str(": ");
        print_value(text, value, depth + 1);
    });
}

fn print_items<T>(
    text: &mut String,
    [open, close]: [char; 2],
    depth: usize,
    items: impl IntoIterator<Item = T>,
    mut print_item: impl FnMut(&mut String, T),
) {
    text.push(open);
    text.push('\n');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            text.push_str(",\n");
        }
        indent(text, depth + 1);
        print_item(text, item);
    }
    text.push('\n');
    indent(text, depth);
    text.push(close);
}

fn indent(text: &mut String, depth: usize) {
    for _ in 0..depth {
        text.push_str("    ");
    }
}

fn print_string(text: &mut String, string: &str) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            c if c < ' ' => write!(text, "\\u{:04X}", u32::from(c)).expect("a String has room"),
            c => text.push(c),
        }
    }
    text.push('"');
}
