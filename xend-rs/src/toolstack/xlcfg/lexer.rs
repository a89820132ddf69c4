//! An xl.cfg as a row of tokens.

use super::error::Reason;

/// Where a token starts: line and column from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A piece of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A key.
    Key(String),
    /// A number, as it is written.
    Number(String),
    /// A quoted string, without quotes and escapes.
    Text(String),
    Comma,
    Open,
    Close,
    Assign,
    Add,
    Semicolon,
    Newline,
    End,
}

impl Token {
    /// For error messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Key(key) => format!("'{}'", shorten(key)),
            Self::Number(number) => format!("number '{}'", shorten(number)),
            Self::Text(text) => format!("string {:?}", shorten(text)),
            Self::Comma => "','".to_owned(),
            Self::Open => "'['".to_owned(),
            Self::Close => "']'".to_owned(),
            Self::Assign => "'='".to_owned(),
            Self::Add => "'+='".to_owned(),
            Self::Semicolon => "';'".to_owned(),
            Self::Newline => "end of line".to_owned(),
            Self::End => "end of file".to_owned(),
        }
    }
}

/// The start of a text that may be long, for one line of an error message.
pub(in crate::toolstack) fn shorten(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Cuts a text into tokens.
pub(super) struct Lexer<'a> {
    rest: &'a str,
    at: At,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text, at: At { line: 1, column: 1 } }
    }

    /// The next token and where it starts. After the last: [`Token::End`], again and again.
    pub(super) fn next(&mut self) -> Result<(Token, At), (Reason, At)> {
        self.take_while(|c| matches!(c, ' ' | '\t'));
        if self.rest.starts_with('#') {
            // A comment is no more than the end of its line.
            self.take_while(|c| c != '\n');
        }
        let at = self.at;
        let Some(first) = self.rest.chars().next() else { return Ok((Token::End, at)) };
        let token = match first {
            'a'..='z' => {
                Token::Key(self.take_while(|c| matches!(c, '.' | '_' | '0'..='9' | 'a'..='z')))
            }
            '0'..='9' => {
                Token::Number(self.take_while(|c| matches!(c, '0'..='9' | 'a'..='f' | 'x')))
            }
            '"' | '\'' => self.string(first)?,
            '+' if self.rest.starts_with("+=") => self.symbol(2, Token::Add),
            '\r' if self.rest.starts_with("\r\n") => {
                self.advance();
                self.newline()
            }
            ',' => self.symbol(1, Token::Comma),
            '[' => self.symbol(1, Token::Open),
            ']' => self.symbol(1, Token::Close),
            '=' => self.symbol(1, Token::Assign),
            ';' => self.symbol(1, Token::Semicolon),
            '\n' => self.newline(),
            '+' | '-' | '.' | '(' | ')' | ':' => return Err((Reason::Python(first), at)),
            _ => return Err((Reason::Character(first), at)),
        };
        Ok((token, at))
    }

    fn symbol(&mut self, length: usize, token: Token) -> Token {
        for _ in 0..length {
            self.advance();
        }
        token
    }

    fn newline(&mut self) -> Token {
        self.symbol(1, Token::Newline)
    }

    fn advance(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        if c == '\n' {
            self.at = At { line: self.at.line.saturating_add(1), column: 1 };
        } else {
            self.at.column = self.at.column.saturating_add(1);
        }
        Some(c)
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let start = self.rest;
        while self.rest.chars().next().is_some_and(&belongs) {
            self.advance();
        }
        start[..start.len() - self.rest.len()].to_owned()
    }

    /// A string that starts with `quote`. It cannot go over the end of its line.
    fn string(&mut self, quote: char) -> Result<Token, (Reason, At)> {
        let start = self.at;
        let open = (Reason::OpenString(quote), start);
        let mut text = String::new();
        self.advance();
        loop {
            let at = self.at;
            match self.advance() {
                None | Some('\n') => return Err(open),
                Some('\0') => return Err((Reason::Character('\0'), at)),
                Some('\\') => match self.advance() {
                    None | Some('\n') => return Err(open),
                    Some(c) => text.push(unescape(c).ok_or((Reason::Escape(c), at))?),
                },
                Some(c) if c == quote => return Ok(Token::Text(text)),
                Some(c) => text.push(c),
            }
        }
    }
}

/// What `\c` means. xl also has numerical escapes on its list, but refuses hexadecimal ones and
/// loses the character of octal ones: here both are errors.
fn unescape(c: char) -> Option<char> {
    Some(match c {
        '"' | '\'' | '\\' => c,
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        _ => return None,
    })
}
