use proptest::prelude::*;

use super::{Content, MAX_DEPTH, MAX_TEXT_BYTES, Settings, Value};

/// A value without places, to compare with.
#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Text(String),
    List(Vec<Plain>),
}

fn plain(value: &Value) -> Plain {
    match &value.content {
        Content::Text(text) => Plain::Text(text.clone()),
        Content::List(items) => Plain::List(items.iter().map(plain).collect()),
    }
}

fn text(text: &str) -> Plain {
    Plain::Text(text.to_owned())
}

fn list<const N: usize>(items: [Plain; N]) -> Plain {
    Plain::List(items.into())
}

fn parsed(source: &str) -> Vec<(String, Plain)> {
    let settings = Settings::parse("f", source.as_bytes());
    let settings = settings.unwrap_or_else(|error| panic!("{source:?}: {error}"));
    settings.iter().map(|setting| (setting.key.clone(), plain(&setting.value))).collect()
}

#[test]
fn good_texts() {
    let nested = list([text("a"), list([text("b"), list([])])]);
    for (source, expected) in [
        ("", vec![]),
        ("\n\n ;;\t; # no settings\n", vec![]),
        ("# a comment that ends the file", vec![]),
        ("a=1", vec![("a", text("1"))]),
        (
            "a = 'x'; b = \"y\" ;c=0x1f\n",
            vec![("a", text("x")), ("b", text("y")), ("c", text("0x1f"))],
        ),
        ("vif.default.script = '' # why not\n", vec![("vif.default.script", text(""))]),
        ("a = '#' # '\nb_1 = \"[;]\"", vec![("a", text("#")), ("b_1", text("[;]"))]),
        (
            "a = \"\\a\\b\\f\\n\\r\\t\\v\\\"\\'\\\\\"",
            vec![("a", text("\x07\x08\x0c\n\r\t\x0b\"'\\"))],
        ),
        ("a = 'ü €'\r\nb = 1\r\n", vec![("a", text("ü €")), ("b", text("1"))]),
        ("a = []", vec![("a", list([]))]),
        ("a = [ 'x', 1, ]", vec![("a", list([text("x"), text("1")]))]),
        ("a = [\n\n'x' # x\n\n,\n#y\n'y'\n,\n]\n", vec![("a", list([text("x"), text("y")]))]),
        ("a = [ 'a', [ 'b', [] ] ]", vec![("a", nested)]),
        ("a = 1\na = 2\nb = 3\na = 4", vec![("a", text("4")), ("b", text("3"))]),
        ("a += 'x'\na += 'y'\n", vec![("a", text("xy"))]),
        ("a = 'x'\na += 'y'\na = 'z'\na += 1", vec![("a", text("z1"))]),
        ("a = ['x']\na += []\na += ['y']", vec![("a", list([text("x"), text("y")]))]),
    ] {
        let expected: Vec<_> =
            expected.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        assert_eq!(parsed(source), expected, "{source:?}");
    }
}

#[test]
fn bad_texts() {
    let value = "a string in quotes, a number or '['";
    for (source, message) in [
        ("vcpus = two\n", format!("f:1:9: unexpected 'two', expecting {value}")),
        ("a =\nb = 1", format!("f:1:4: unexpected end of line, expecting {value}")),
        ("a =", format!("f:1:4: unexpected end of file, expecting {value}")),
        ("a = ]", format!("f:1:5: unexpected ']', expecting {value}")),
        ("a = [ , 'b' ]", format!("f:1:7: unexpected ',', expecting {value}")),
        ("import os", "f:1:8: unexpected 'os', expecting '=' or '+='".into()),
        ("a\n", "f:1:2: unexpected end of line, expecting '=' or '+='".into()),
        ("\n  = 1", "f:2:3: unexpected '=', expecting a key such as 'name'".into()),
        ("12 = 1", "f:1:1: unexpected number '12', expecting a key such as 'name'".into()),
        ("a = 1 2", "f:1:7: unexpected number '2', expecting end of line or ';'".into()),
        ("a = 'it''s'", "f:1:9: unexpected string \"s\", expecting end of line or ';'".into()),
        ("a = ['x'; 'y']", "f:1:9: unexpected ';', expecting ',' or ']'".into()),
        ("a = ['x'\nb = 1", "f:2:1: unexpected 'b', expecting ',' or ']'".into()),
        ("a = ['x',\n", "f:2:1: unexpected end of file, expecting ".to_owned() + value),
        ("a = ['x'", "f:1:9: unexpected end of file, expecting ',' or ']'".into()),
        ("Vcpus = 1", "f:1:1: unexpected character 'V'".into()),
        ("a = 1\n\tä = 2", "f:2:2: unexpected character 'ä'".into()),
        ("a = 1\rb = 2", "f:1:6: unexpected character '\\r'".into()),
        (
            "a = 1 + 2",
            "f:1:7: unexpected character '+'; \
             Python code in configurations is no longer supported"
                .into(),
        ),
        (
            "a = -1",
            "f:1:5: unexpected character '-'; \
             Python code in configurations is no longer supported"
                .into(),
        ),
        ("\na = \"x\n\"", "f:2:5: the string that starts here has no closing \"".into()),
        ("a = 'x", "f:1:5: the string that starts here has no closing '".into()),
        ("a = 'x\\'", "f:1:5: the string that starts here has no closing '".into()),
        (
            "a = 'x\\q'",
            "f:1:7: '\\q' is no escape; there are \\a \\b \\f \\n \\r \\t \\v \\\" \\' and \\\\"
                .into(),
        ),
        (
            "a = '\\x41'",
            "f:1:6: '\\x' is no escape; there are \\a \\b \\f \\n \\r \\t \\v \\\" \\' and \\\\"
                .into(),
        ),
        (
            "a = '\\101'",
            "f:1:6: '\\1' is no escape; there are \\a \\b \\f \\n \\r \\t \\v \\\" \\' and \\\\"
                .into(),
        ),
        ("a = 'x\0'", "f:1:7: unexpected character '\\0'".into()),
        (
            "disk = 'x'\n\ndisk += [ 'y' ]",
            "f:3:9: 'disk' is a single value: += cannot add a list to it".into(),
        ),
        ("a = []; a += 1", "f:1:14: 'a' is a list: += cannot add a single value to it".into()),
    ] {
        let error = Settings::parse("f", source.as_bytes()).expect_err(source);
        assert_eq!(error.to_string(), message, "{source:?}");
    }
}

#[test]
fn bytes_that_are_no_text() {
    let error = Settings::parse("f", b"a = 1\nb = '\xc3\xa4\xff'").expect_err("no UTF-8");
    assert_eq!(error.to_string(), "f:2:7: not UTF-8");
}

#[test]
fn sizes_are_bounded() {
    let nested = |depth: usize| format!("a = {}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(parsed(&nested(MAX_DEPTH)).len(), 1);
    let error = Settings::parse("f", nested(MAX_DEPTH + 1).as_bytes()).expect_err("too deep");
    assert_eq!(error.to_string(), "f:1:21: lists are nested more than 16 deep");

    let long = vec![b'\n'; MAX_TEXT_BYTES];
    let mut settings = Settings::parse("f", &long).expect("just short enough");
    let error = settings.append("command line", b"\n").expect_err("too long");
    let message = "command line:1:1: 1048577 bytes of configuration: at most 1048576 are accepted";
    assert_eq!(error.to_string(), message);
}

#[test]
fn later_texts_override_and_add() {
    let mut settings = Settings::parse("f", b"name = 'a'\nvif = ['x']\nmemory = 64").unwrap();
    settings.append("command line", b"memory=128\nvif += ['y']\n").unwrap();
    assert_eq!(settings.get("memory").unwrap().number(), Ok(128));
    assert_eq!(settings.get("memory").unwrap().place.to_string(), "command line:1:1");
    assert_eq!(settings.get("name").unwrap().place.to_string(), "f:1:1");
    assert_eq!(settings.get("vif").unwrap().texts().unwrap().len(), 2);
    let error = settings.append("command line", b"memory=").expect_err("no value");
    assert!(error.to_string().starts_with("command line:1:8: unexpected end of file"), "{error}");
}

#[test]
fn values_of_the_wrong_kind() {
    let source = b"text = 'x'\nlist = [ 'a', [ 'b' ] ]\nadded = 1\nadded += 1\n big = 70";
    let settings = Settings::parse("f", source).unwrap();
    let get = |key| settings.get(key).unwrap();
    for (error, message) in [
        (get("list").text().err(), "f:2:8: 'list' is a list but should be a single value"),
        (get("list").number().err(), "f:2:8: 'list' is a list but should be a single value"),
        (get("list").texts().err(), "f:2:15: an item of 'list' is a list but should be a string"),
        (get("text").list().err(), "f:1:8: 'text' is a single value but should be a list"),
        (get("text").number().err(), "f:1:8: 'text' is not a number: \"x\""),
        (get("added").number().err(), "f:4:10: 'added' is a number: += cannot be used"),
        (get("big").number_in(1..=64).err(), "f:5:8: 'big' is 70, not 1 to 64"),
    ] {
        assert_eq!(error.expect("an error").to_string(), message);
    }
}

/// Writes a value in one of the ways that it can be written.
fn print(value: &Plain, quote: char, gap: &str) -> String {
    match value {
        Plain::Text(text) => {
            let escaped = |c| match c {
                '\n' => "\\n".to_owned(),
                '\\' => "\\\\".to_owned(),
                c if c == quote => format!("\\{c}"),
                c => c.to_string(),
            };
            format!("{quote}{}{quote}", text.chars().map(escaped).collect::<String>())
        }
        Plain::List(items) => {
            let items: Vec<_> = items.iter().map(|item| print(item, quote, gap)).collect();
            format!("[{gap}{}{gap}]", items.join(&format!("{gap},{gap}")))
        }
    }
}

fn any_value() -> impl Strategy<Value = Plain> {
    let text = "[^\0]{0,12}".prop_map(Plain::Text);
    text.prop_recursive(3, 16, 4, |item| prop::collection::vec(item, 0..4).prop_map(Plain::List))
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        settings in prop::collection::btree_map("[a-z][._0-9a-z]{0,8}", any_value(), 0..8),
        quote in prop::sample::select(vec!['"', '\'']),
        gap in prop::sample::select(vec!["", " ", "\n", " # why\n\t"]),
        end in prop::sample::select(vec!["\n", ";", " # end\n", "\r\n"]),
    ) {
        let print = |(key, value)| format!("{key} = {}{end}", print(value, quote, gap));
        let source: String = settings.iter().map(print).collect();
        let read: std::collections::BTreeMap<_, _> = parsed(&source).into_iter().collect();
        prop_assert_eq!(read, settings);
    }
}
