//! A place among a statement's tokens, and the small steps from there.
//!
//! Words of our own statements are matched here, by text and unquoted; whole
//! expressions, types and queries are handed to sqlparser, each over exactly the
//! tokens that may belong to it, so that it cannot run past the end of one.

use sqlparser::ast::{Expr, Ident, ObjectName, Query};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

use super::ast::{DropBehavior, SettingName, SqlExpr};
use super::check::Refusal;
use super::fault::{self, Text};
use crate::error::PlanError;

/// Words that PostgreSQL reserves: they are no names unless quoted.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "initially",
    "intersect",
    "into",
    "lateral",
    "leading",
    "limit",
    "localtime",
    "localtimestamp",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "placing",
    "primary",
    "references",
    "returning",
    "select",
    "session_user",
    "some",
    "symmetric",
    "table",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "when",
    "where",
    "window",
    "with",
];

/// Reads a statement's tokens from left to right.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    pub(super) text: Text<'a>,
    /// The next token.
    pub(super) pos: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: Text<'a>) -> Self {
        Cursor { text, pos: 0 }
    }

    pub(super) fn token(&self, ahead: usize) -> Option<&'a Token> {
        self.text.tokens.get(self.pos + ahead).map(|t| &t.token)
    }

    /// The span of the next token; empty at the end.
    pub(super) fn span(&self) -> Span {
        self.text.tokens.get(self.pos).map_or(Span::empty(), |t| t.span)
    }

    /// The span from token `first` up to the next one.
    pub(super) fn span_since(&self, first: usize) -> Span {
        self.text.span(first, self.pos)
    }

    pub(super) fn at_end(&self) -> bool {
        self.pos >= self.text.tokens.len()
    }

    /// 42601 at the next token.
    pub(super) fn unexpected(&self) -> PlanError {
        self.text.syntax_error(self.pos)
    }

    /// 0A000 at the next token.
    pub(super) fn unsupported(&self, what: impl Into<String>, hint: &str) -> PlanError {
        PlanError::unsupported(what, self.span()).with_hint(hint)
    }

    /// The unquoted word `ahead` tokens from here.
    pub(super) fn word(&self, ahead: usize) -> Option<&'a str> {
        match self.token(ahead) {
            Some(Token::Word(Word { value, quote_style: None, .. })) => Some(value),
            _ => None,
        }
    }

    pub(super) fn is_word(&self, ahead: usize, word: &str) -> bool {
        self.word(ahead).is_some_and(|w| w.eq_ignore_ascii_case(word))
    }

    /// Whether these words come next.
    pub(super) fn sees(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(ahead, word)| self.is_word(ahead, word))
    }

    /// Consumes these words if they all come next.
    pub(super) fn accept(&mut self, words: &[&str]) -> bool {
        let seen = self.sees(words);
        if seen {
            self.pos += words.len();
        }
        seen
    }

    pub(super) fn expect(&mut self, words: &[&str]) -> Result<(), PlanError> {
        for word in words {
            if !self.accept(&[word]) {
                return Err(self.unexpected());
            }
        }
        Ok(())
    }

    /// Consumes one of the words, answering its index.
    pub(super) fn accept_one_of(&mut self, words: &[&str]) -> Option<usize> {
        words.iter().position(|word| self.accept(&[word]))
    }

    pub(super) fn sees_token(&self, token: &Token) -> bool {
        self.token(0) == Some(token)
    }

    pub(super) fn accept_token(&mut self, token: &Token) -> bool {
        let seen = self.sees_token(token);
        if seen {
            self.pos += 1;
        }
        seen
    }

    pub(super) fn expect_token(&mut self, token: &Token) -> Result<(), PlanError> {
        if self.accept_token(token) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(super) fn expect_end(&self) -> Result<(), PlanError> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// A name: a quoted word, or an unquoted one that is not reserved.
    pub(super) fn ident(&mut self) -> Result<Ident, PlanError> {
        match self.token(0) {
            Some(Token::Word(word)) if !is_reserved(word) => {
                let ident = word.to_ident(self.span());
                self.pos += 1;
                Ok(ident)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// `a` or `a.b`.
    pub(super) fn object_name(&mut self) -> Result<ObjectName, PlanError> {
        let mut parts = vec![self.ident()?];
        while self.accept_token(&Token::Period) {
            parts.push(self.any_word()?);
        }
        Ok(ObjectName::from(parts))
    }

    /// A word, reserved or not.
    pub(super) fn any_word(&mut self) -> Result<Ident, PlanError> {
        match self.token(0) {
            Some(Token::Word(word)) => {
                let ident = word.to_ident(self.span());
                self.pos += 1;
                Ok(ident)
            }
            _ => Err(self.unexpected()),
        }
    }

    pub(super) fn comma_separated<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, PlanError>,
    ) -> Result<Vec<T>, PlanError> {
        let mut items = vec![item(self)?];
        while self.accept_token(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `(a, b)`, or nothing.
    pub(super) fn optional_column_names(&mut self) -> Result<Vec<Ident>, PlanError> {
        if !self.accept_token(&Token::LParen) {
            return Ok(vec![]);
        }
        let names = self.comma_separated(Self::ident)?;
        self.expect_token(&Token::RParen)?;
        Ok(names)
    }

    pub(super) fn if_not_exists(&mut self) -> Result<bool, PlanError> {
        if !self.sees(&["IF"]) {
            return Ok(false);
        }
        self.expect(&["IF", "NOT", "EXISTS"])?;
        Ok(true)
    }

    pub(super) fn if_exists(&mut self) -> Result<bool, PlanError> {
        if !self.sees(&["IF"]) {
            return Ok(false);
        }
        self.expect(&["IF", "EXISTS"])?;
        Ok(true)
    }

    pub(super) fn drop_behavior(&mut self) -> DropBehavior {
        match self.accept_one_of(&["CASCADE", "RESTRICT"]) {
            Some(0) => DropBehavior::Cascade,
            _ => DropBehavior::Restrict,
        }
    }

    /// `name` or `prefix.name`, in lower case unless quoted.
    pub(super) fn setting_name(&mut self) -> Result<SettingName, PlanError> {
        let first = self.pos;
        let mut name = super::fold(&self.ident()?);
        while self.accept_token(&Token::Period) {
            name.push('.');
            name.push_str(&super::fold(&self.any_word()?));
        }
        Ok(SettingName { name: name.to_lowercase(), span: self.span_since(first) })
    }

    /// The text of a string literal.
    pub(super) fn accept_string(&mut self) -> Option<String> {
        let text = match self.token(0)? {
            Token::SingleQuotedString(text)
            | Token::EscapedStringLiteral(text)
            | Token::UnicodeStringLiteral(text) => text.clone(),
            Token::DollarQuotedString(quoted) => quoted.value.clone(),
            _ => return None,
        };
        self.pos += 1;
        Some(text)
    }

    /// The text of a number, its sign included.
    pub(super) fn accept_number(&mut self) -> Option<String> {
        let (sign, ahead) = match self.token(0)? {
            Token::Minus => ("-", 1),
            Token::Plus => ("", 1),
            _ => ("", 0),
        };
        let Token::Number(digits, _) = self.token(ahead)? else { return None };
        self.pos += ahead + 1;
        Some(format!("{sign}{digits}"))
    }

    /// The index of the first token from `from` on, outside of parentheses that
    /// open there, that `stops` accepts, closes the surrounding parentheses, or
    /// ends the statement.
    pub(super) fn find(&self, from: usize, stops: impl Fn(&Self, usize) -> bool) -> usize {
        let mut depth = 0usize;
        for (index, token) in self.text.tokens.iter().enumerate().skip(from) {
            match token.token {
                Token::RParen if depth == 0 => return index,
                _ if depth == 0 && stops(self, index) => return index,
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
        }
        self.text.tokens.len()
    }

    /// The end of the list item that begins at the next token.
    pub(super) fn item_end(&self) -> usize {
        self.find(self.pos, |cursor, index| cursor.text.tokens[index].token == Token::Comma)
    }

    /// The error for a refusal within the tokens `first..end`.
    fn refused(&self, first: usize, end: usize, refusal: Refusal) -> PlanError {
        let tokens = &self.text.tokens[first..end];
        match refusal {
            Refusal::Misplaced(span) => {
                let index = tokens.iter().position(|t| t.span.start == span.start);
                self.text.syntax_error(first + index.unwrap_or(tokens.len()))
            }
            Refusal::StringAlias(text) => {
                let is_alias = |pair: &[TokenWithSpan]| {
                    matches!(&pair[1].token, Token::SingleQuotedString(t) if *t == text)
                        && matches!(
                            pair[0].token,
                            Token::Word(_)
                                | Token::Number(..)
                                | Token::RParen
                                | Token::SingleQuotedString(_)
                        )
                };
                let before = tokens.windows(2).position(is_alias);
                self.text.syntax_error(before.map_or(end, |index| first + index + 1))
            }
            Refusal::Unsupported { what, hint, span, words } => {
                let named = (first..end).find(|i| {
                    let at = Cursor { text: self.text, pos: *i };
                    words.iter().any(|word| at.is_word(0, word))
                });
                let named = named.map_or(span, |i| self.text.tokens[i].span);
                PlanError::unsupported(what, named).with_hint(hint)
            }
        }
    }

    /// An expression that takes all tokens up to `end`.
    pub(super) fn expr_until(&mut self, end: usize) -> Result<SqlExpr, PlanError> {
        let first = self.pos;
        let (expr, next) = fault::run(self.text, first..end, |p| p.parse_expr())?;
        if next < end {
            return Err(self.text.syntax_error(next));
        }
        let expr = match expr {
            Expr::Nested(inner) => *inner,
            other => other,
        };
        super::check::expression(&expr).map_err(|refusal| self.refused(first, end, *refusal))?;
        self.pos = end;
        Ok(SqlExpr {
            expr,
            text: self.text.text(first, end).to_owned(),
            span: self.span_since(first),
        })
    }

    /// A query that takes all tokens up to `end`, rewritten and checked; with the
    /// user's text of it.
    pub(super) fn query_until(&mut self, end: usize) -> Result<(Box<Query>, String), PlanError> {
        let first = self.pos;
        let (mut query, next) = fault::run(self.text, first..end, |p| p.parse_query())?;
        if next < end {
            return Err(fault::unread(self.text, first, next));
        }
        super::normalize::query(&mut query)?;
        super::check::query(&query).map_err(|refusal| self.refused(first, end, *refusal))?;
        self.pos = end;
        Ok((query, self.text.text(first, end).to_owned()))
    }
}

fn is_reserved(word: &Word) -> bool {
    word.quote_style.is_none()
        && RESERVED.binary_search(&word.value.to_ascii_lowercase().as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn reserved_words_are_sorted_for_the_search() {
        assert!(super::RESERVED.is_sorted());
    }
}
