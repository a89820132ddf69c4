//! The text of an xl.cfg: keys with strings, numbers and lists, each with its line and column.
//!
//! The syntax is that of libxlutil, which is close to Python's assignments without being Python.
//! What the keys mean is not known here: see [`super::config`].

mod error;
mod lexer;
mod number;
mod parser;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

pub(super) use error::one_line;
pub use error::{Place, Reason, SyntaxError, WrongSetting};
pub(super) use lexer::shorten;
pub use number::parse_number;

/// Longer texts are refused.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// Deeper lists are refused. Nothing has a use for more than two.
pub const MAX_DEPTH: usize = 16;

/// A value and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The value.
    pub content: Content,
    /// Where it starts.
    pub place: Place,
}

/// What a key is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A string or number: the syntax does not care which, and neither does xl.
    Text(String),
    /// Several values in brackets.
    List(Vec<Value>),
}

impl Content {
    fn describe(&self) -> &'static str {
        match self {
            Self::Text(_) => "a single value",
            Self::List(_) => "a list",
        }
    }
}

/// A key and what it is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// Where it is set; the last time, if several.
    pub place: Place,
    /// What to.
    pub value: Value,
    /// Whether some of it was added with `+=`.
    pub was_added_to: bool,
}

impl Setting {
    /// Something wrong with this setting.
    pub fn wrong(&self, message: impl Into<String>) -> WrongSetting {
        WrongSetting::new(self.value.place.clone(), &message.into())
    }

    /// Its string or number.
    ///
    /// # Errors
    /// If it is a list.
    pub fn text(&self) -> Result<&str, WrongSetting> {
        match &self.value.content {
            Content::Text(text) => Ok(text),
            Content::List(_) => {
                Err(self.wrong(format!("'{}' is a list but should be a single value", self.key)))
            }
        }
    }

    /// Its number, decimal, octal after `0` or hexadecimal after `0x`.
    ///
    /// # Errors
    /// If it is none.
    pub fn number(&self) -> Result<i64, WrongSetting> {
        let text = self.text()?;
        if self.was_added_to {
            return Err(self.wrong(format!("'{}' is a number: += cannot be used", self.key)));
        }
        parse_number(text).ok_or_else(|| {
            let shown = lexer::shorten(text);
            self.wrong(format!("'{}' is not a number: {shown:?}", self.key))
        })
    }

    /// Its number, if that is in `range`.
    ///
    /// # Errors
    /// If it is none, or not in the range.
    pub fn number_in(&self, range: RangeInclusive<i64>) -> Result<i64, WrongSetting> {
        let number = self.number()?;
        if range.contains(&number) {
            return Ok(number);
        }
        let (least, most) = range.into_inner();
        Err(self.wrong(format!("'{}' is {number}, not {least} to {most}", self.key)))
    }

    /// Its items.
    ///
    /// # Errors
    /// If it is a single value.
    pub fn list(&self) -> Result<&[Value], WrongSetting> {
        match &self.value.content {
            Content::List(items) => Ok(items),
            Content::Text(_) => {
                Err(self.wrong(format!("'{}' is a single value but should be a list", self.key)))
            }
        }
    }

    /// Its items, which are all single values.
    ///
    /// # Errors
    /// If it is no list or has lists in it.
    pub fn texts(&self) -> Result<Vec<(&str, &Place)>, WrongSetting> {
        let items = self.list()?.iter();
        items
            .map(|item| match &item.content {
                Content::Text(text) => Ok((text.as_str(), &item.place)),
                Content::List(_) => {
                    let message =
                        format!("an item of '{}' is a list but should be a string", self.key);
                    Err(WrongSetting::new(item.place.clone(), &message))
                }
            })
            .collect()
    }
}

/// The settings of an xl.cfg.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    settings: Vec<Setting>,
    index: BTreeMap<String, usize>,
    bytes: usize,
}

impl Settings {
    /// Reads a text. `source` is its name in messages.
    ///
    /// # Errors
    /// The first fault of the text.
    pub fn parse(source: &str, text: &[u8]) -> Result<Self, SyntaxError> {
        let mut settings = Self::default();
        settings.append(source, text)?;
        Ok(settings)
    }

    /// Reads another text after this one, such as what a command line adds: it overrides, and may
    /// add with `+=`.
    ///
    /// # Errors
    /// The first fault of the text.
    pub fn append(&mut self, source: &str, text: &[u8]) -> Result<(), SyntaxError> {
        let place = |line, column| Place { source: source.into(), line, column };
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > MAX_TEXT_BYTES {
            let reason = Reason::TooLong { bytes: self.bytes, limit: MAX_TEXT_BYTES };
            return Err(SyntaxError { place: place(1, 1), reason });
        }
        let text = std::str::from_utf8(text).map_err(|error| {
            let good = String::from_utf8_lossy(&text[..error.valid_up_to()]);
            let line_count = good.matches('\n').count();
            let last = good.rsplit('\n').next().unwrap_or_default();
            let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
            let place = place(count(line_count + 1), count(last.chars().count() + 1));
            SyntaxError { place, reason: Reason::NotUtf8 }
        })?;
        parser::parse(self, source, text)
    }

    /// The setting of `key`, if there is one.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.index.get(key).map(|at| &self.settings[*at])
    }

    /// All settings, in the order in which their keys first appear.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter()
    }

    fn set(&mut self, key: String, value: Value, place: Place) {
        let setting = Setting { key, place, value, was_added_to: false };
        if let Some(at) = self.index.get(&setting.key) {
            self.settings[*at] = setting;
        } else {
            self.index.insert(setting.key.clone(), self.settings.len());
            self.settings.push(setting);
        }
    }

    fn add(&mut self, key: String, value: Value, place: Place) -> Result<(), SyntaxError> {
        let Some(at) = self.index.get(&key) else {
            self.set(key.clone(), value, place);
            self.settings[self.index[&key]].was_added_to = true;
            return Ok(());
        };
        let setting = &mut self.settings[*at];
        match (&mut setting.value.content, value.content) {
            (Content::Text(text), Content::Text(more)) => text.push_str(&more),
            (Content::List(items), Content::List(mut more)) => items.append(&mut more),
            (was, added) => {
                let (was, added) = (was.describe(), added.describe());
                let reason = Reason::Mixed { key, was, added };
                return Err(SyntaxError { place: value.place, reason });
            }
        }
        setting.value.place = value.place;
        setting.place = place;
        setting.was_added_to = true;
        Ok(())
    }
}
