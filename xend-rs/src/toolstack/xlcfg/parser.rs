//! Tokens into settings.

use std::sync::Arc;

use super::error::{Place, Reason, SyntaxError};
use super::lexer::{At, Lexer, Token};
use super::{Content, MAX_DEPTH, Settings, Value};

/// Reads all of `text` into `settings`.
pub(super) fn parse(settings: &mut Settings, source: &str, text: &str) -> Result<(), SyntaxError> {
    let mut parser =
        Parser { lexer: Lexer::new(text), source: source.into(), token: Token::Newline, at: START };
    parser.advance()?;
    while parser.token != Token::End {
        parser.statement(settings)?;
    }
    Ok(())
}

const START: At = At { line: 1, column: 1 };
const WHAT_A_VALUE_IS: &str = "a string in quotes, a number or '['";

struct Parser<'a> {
    lexer: Lexer<'a>,
    source: Arc<str>,
    /// The next token, not consumed yet, and where it is.
    token: Token,
    at: At,
}

impl Parser<'_> {
    /// An assignment and the end of its line, or an empty line.
    fn statement(&mut self, settings: &mut Settings) -> Result<(), SyntaxError> {
        let place = self.place(self.at);
        match self.advance()? {
            Token::Newline | Token::Semicolon => return Ok(()),
            Token::Key(key) => self.assignment(settings, key, place)?,
            found => return Err(unexpected(place, &found, "a key such as 'name'")),
        }
        match self.token {
            Token::Newline | Token::Semicolon => self.advance().map(drop),
            Token::End => Ok(()),
            _ => Err(self.unexpected("end of line or ';'")),
        }
    }

    fn assignment(
        &mut self,
        settings: &mut Settings,
        key: String,
        place: Place,
    ) -> Result<(), SyntaxError> {
        let is_added = match self.token {
            Token::Assign => false,
            Token::Add => true,
            _ => return Err(self.unexpected("'=' or '+='")),
        };
        self.advance()?;
        let value = self.value(0)?;
        if is_added {
            settings.add(key, value, place)
        } else {
            settings.set(key, value, place);
            Ok(())
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let place = self.place(self.at);
        let content = match self.token {
            Token::Text(ref mut text) | Token::Number(ref mut text) => {
                let text = std::mem::take(text);
                self.advance()?;
                Content::Text(text)
            }
            Token::Open if depth == MAX_DEPTH => {
                return Err(SyntaxError { place, reason: Reason::TooDeep { limit: MAX_DEPTH } });
            }
            Token::Open => {
                self.advance()?;
                Content::List(self.list(depth + 1)?)
            }
            _ => return Err(self.unexpected(WHAT_A_VALUE_IS)),
        };
        Ok(Value { content, place })
    }

    /// The items of a list after its bracket. Ends of lines may stand between any two tokens, and a
    /// comma after the last item.
    fn list(&mut self, depth: usize) -> Result<Vec<Value>, SyntaxError> {
        let mut items = Vec::new();
        self.skip_newlines()?;
        while self.token != Token::Close {
            items.push(self.value(depth)?);
            self.skip_newlines()?;
            match self.token {
                Token::Comma => self.advance()?,
                Token::Close => break,
                _ => return Err(self.unexpected("',' or ']'")),
            };
            self.skip_newlines()?;
        }
        self.advance()?;
        Ok(items)
    }

    fn skip_newlines(&mut self) -> Result<(), SyntaxError> {
        while self.token == Token::Newline {
            self.advance()?;
        }
        Ok(())
    }

    /// Consumes a token and returns it.
    fn advance(&mut self) -> Result<Token, SyntaxError> {
        let (token, at) = self
            .lexer
            .next()
            .map_err(|(reason, at)| SyntaxError { place: self.place(at), reason })?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn place(&self, at: At) -> Place {
        Place { source: Arc::clone(&self.source), line: at.line, column: at.column }
    }

    fn unexpected(&self, expected: &'static str) -> SyntaxError {
        unexpected(self.place(self.at), &self.token, expected)
    }
}

fn unexpected(place: Place, found: &Token, expected: &'static str) -> SyntaxError {
    SyntaxError { place, reason: Reason::Unexpected { found: found.describe(), expected } }
}
