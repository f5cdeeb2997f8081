//! Which token is wrong, when sqlparser has refused the tokens of a query.
//!
//! Its error names the token where its last attempt ended. That is the right
//! one, except after `(` in FROM, where it tries a subquery, forgets why that
//! failed, and then complains that it is no join. So the queries in parentheses
//! are tried on their own; an innermost one that fails is the culprit.
//!
//! Some constructs that sqlparser cannot read are known to SQL users and are
//! answered with 0A000 instead of a syntax error: [`known_construct`].

use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use super::dialect::TidemillDialect;
use super::lexer;
use crate::error::{PlanError, start};

/// How many nested queries are tried on their own before the first answer is taken.
const MAX_RETRIES: usize = 64;

/// The tokens of a statement and what they were cut from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    pub(super) source: &'a str,
    pub(super) tokens: &'a [TokenWithSpan],
    /// The byte behind the statement's last token.
    pub(super) end: usize,
}

impl Text<'_> {
    /// 42601 at token `index`; behind the last one, at the semicolon or the end.
    pub(super) fn syntax_error(&self, index: usize) -> PlanError {
        match self.tokens.get(index) {
            Some(token) => {
                let near = lexer::text_of(self.source, token.span);
                match start(token.span) {
                    Some(at) => PlanError::syntax(near, at),
                    None => PlanError::Syntax { near: Some(near.to_owned()), at: None, hint: None },
                }
            }
            None => self.end_error(),
        }
    }

    fn end_error(&self) -> PlanError {
        let rest = lexer::tokens(self.source, self.end..self.source.len()).unwrap_or_default();
        match rest.first() {
            Some(token) => {
                PlanError::syntax(lexer::text_of(self.source, token.span), token.span.start)
            }
            None => PlanError::Syntax {
                near: None,
                at: Some(lexer::location_of(self.source, self.source.len())),
                hint: None,
            },
        }
    }

    /// The span from token `first` up to, not including, token `last`.
    pub(super) fn span(&self, first: usize, last: usize) -> Span {
        match (self.tokens.get(first), self.tokens.get(last.wrapping_sub(1))) {
            (Some(first), Some(last)) => Span::new(first.span.start, last.span.end),
            _ => Span::empty(),
        }
    }

    /// The user's text of the tokens `first..last`.
    pub(super) fn text(&self, first: usize, last: usize) -> &str {
        lexer::text_of(self.source, self.span(first, last))
    }
}

/// Turns sqlparser's error over `tokens[range]` into ours. `range` is what its
/// parser was given, `query` says that it was to be a query.
pub(super) fn explain(
    text: Text<'_>,
    range: std::ops::Range<usize>,
    error: &ParserError,
    stopped_at: usize,
) -> PlanError {
    if *error == ParserError::RecursionLimitExceeded {
        let index = (range.start + stopped_at).min(range.end.saturating_sub(1));
        return lexer::too_complex(text.tokens.get(index).map_or(Span::empty(), |t| t.span));
    }
    let first = failed_index(text.tokens, &range, error, range.start + stopped_at);
    let index = innermost_failure(text.tokens, &range, first);
    let index = missing_relation(text.tokens, range.start, index).unwrap_or(index);
    known_construct(text.tokens, range.start, index).unwrap_or_else(|| text.syntax_error(index))
}

/// A clause's word where FROM or JOIN wants a relation, before token `failed`:
/// sqlparser takes it for a name and stumbles later.
fn missing_relation(tokens: &[TokenWithSpan], begin: usize, failed: usize) -> Option<usize> {
    const BEFORE: [&str; 2] = ["FROM", "JOIN"];
    const CLAUSES: [&str; 8] = ["FROM", "WHERE", "GROUP", "HAVING", "ORDER", "JOIN", "ON", "UNION"];
    (begin + 1..failed.min(tokens.len())).find(|i| {
        BEFORE.iter().any(|word| is_word(tokens.get(i - 1), word))
            && CLAUSES.iter().any(|word| is_word(tokens.get(*i), word))
    })
}

/// The index of the token that the error names; `range.end`: the end.
fn failed_index(
    tokens: &[TokenWithSpan],
    range: &std::ops::Range<usize>,
    error: &ParserError,
    stopped_at: usize,
) -> usize {
    let message = match error {
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
        ParserError::RecursionLimitExceeded => return stopped_at,
    };
    let named = location_in(message).and_then(|at| {
        tokens[range.clone()].iter().position(|t| t.span.start == at).map(|i| range.start + i)
    });
    match named {
        Some(index) => index,
        None if message.contains("found: EOF") => range.end,
        None => stopped_at.min(range.end),
    }
}

/// The location that sqlparser appends to its messages.
fn location_in(message: &str) -> Option<Location> {
    let (_, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some(Location::new(line.parse().ok()?, column.trim().parse().ok()?))
}

fn is_word(token: Option<&TokenWithSpan>, word: &str) -> bool {
    matches!(token.map(|t| &t.token), Some(Token::Word(w))
        if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// The first wrong token of the queries in parentheses that begin at or behind
/// token `first`'s own, or `first` where they are all right.
fn innermost_failure(
    tokens: &[TokenWithSpan],
    range: &std::ops::Range<usize>,
    first: usize,
) -> usize {
    let opens: Vec<usize> = range
        .clone()
        .filter(|i| {
            tokens[*i].token == Token::LParen
                && ["SELECT", "WITH", "VALUES"].iter().any(|w| is_word(tokens.get(i + 1), w))
        })
        .collect();
    let mut found: Option<(usize, usize)> = None;
    let mut outermost = usize::MAX;
    for open in opens.into_iter().rev().take(MAX_RETRIES) {
        let Some(failed) = try_query(tokens, open + 1..range.end) else { continue };
        outermost = open;
        // What an outer query says of an inner one that failed is hearsay.
        if found.is_none_or(|(inner, _)| failed < inner) {
            found = Some((open, failed));
        }
    }
    match found {
        Some((_, failed)) if outermost < first => failed,
        _ => first,
    }
}

/// Parses one query in parentheses; the index of its wrong token, if any.
fn try_query(tokens: &[TokenWithSpan], range: std::ops::Range<usize>) -> Option<usize> {
    let part = &tokens[range.clone()];
    let dialect = TidemillDialect::new(part.len());
    let mut parser = super::parser(&dialect, part.to_vec());
    match parser.parse_query() {
        Err(error) => Some(failed_index(tokens, &range, &error, range.start + parser.index())),
        Ok(_) => {
            let next = range.start + parser.index();
            let closed = tokens.get(next).is_some_and(|t| t.token == Token::RParen);
            (!closed).then_some(next)
        }
    }
}

/// What sqlparser cannot read but users know: the words that begin it, how it is
/// called, and what to do instead.
const KNOWN: &[(&[&str], &str, &str)] = &[
    (
        &["FOR", "SYSTEM_TIME"],
        "FOR SYSTEM_TIME AS OF (temporal join) is not supported",
        "Join with the relation's current rows by leaving the clause out.",
    ),
    (&["ASOF"], "ASOF JOIN is not supported", "Use a join with a condition on both times."),
    (
        &["MATCH_RECOGNIZE"],
        "MATCH_RECOGNIZE is not supported",
        "Express the pattern with window functions.",
    ),
    (&["SESSION", "("], SESSION.0, SESSION.1),
    (&["CUMULATE", "("], CUMULATE.0, CUMULATE.1),
    (&["TABLESAMPLE"], "TABLESAMPLE is not supported", "Filter on a hash or on random() instead."),
];

/// Message and hint for session windows.
pub(super) const SESSION: (&str, &str) =
    ("session windows are not supported", "TUMBLE and HOP windows are available.");
/// Message and hint for cumulating windows.
pub(super) const CUMULATE: (&str, &str) =
    ("cumulating windows are not supported", "TUMBLE and HOP windows are available.");

/// 0A000 for the last known construct that begins at or shortly before the token
/// `failed`: within the same parentheses, or opening those that it is in.
fn known_construct(tokens: &[TokenWithSpan], begin: usize, failed: usize) -> Option<PlanError> {
    const REACH: usize = 24;
    let from = failed.saturating_sub(REACH).max(begin);
    let to = (failed + 1).min(tokens.len());
    (from..to).rev().find_map(|i| {
        let (_, what, hint) = KNOWN.iter().find(|(words, ..)| {
            words.iter().enumerate().all(|(k, word)| match *word {
                "(" => tokens.get(i + k).is_some_and(|t| t.token == Token::LParen),
                word => is_word(tokens.get(i + k), word),
            })
        })?;
        Some(PlanError::unsupported(*what, tokens[i].span).with_hint(*hint))
    })
}

/// The error for a query that ended at token `next` although more follows.
pub(super) fn unread(text: Text<'_>, begin: usize, next: usize) -> PlanError {
    let half = ["GROUP", "ORDER"].iter().any(|word| is_word(text.tokens.get(next), word))
        && !is_word(text.tokens.get(next + 1), "BY");
    let index = if half { next + 1 } else { next };
    known_construct(text.tokens, begin, next).unwrap_or_else(|| text.syntax_error(index))
}

/// Runs `parse` over `tokens[range]` and says how far it came.
pub(super) fn run<T>(
    text: Text<'_>,
    range: std::ops::Range<usize>,
    parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<(T, usize), PlanError> {
    let part = text.tokens[range.clone()].to_vec();
    let dialect = TidemillDialect::new(part.len());
    let mut parser = super::parser(&dialect, part);
    match parse(&mut parser) {
        Ok(value) => Ok((value, range.start + parser.index().min(range.len()))),
        Err(error) => {
            let stopped_at = parser.index();
            Err(explain(text, range, &error, stopped_at))
        }
    }
}
