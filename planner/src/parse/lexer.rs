//! From a source string to tokens, and from tokens to statements' ranges.
//!
//! sqlparser's tokenizer does the reading; here its locations are moved to the
//! whole source string, blanks and comments are dropped, adjacent strings are
//! joined as SQL joins them, and its errors get PostgreSQL's words. The tokens
//! of a statement are also where nesting is limited: a tree that is never built
//! cannot overflow a stack, neither when it is walked nor when it is dropped.

use std::ops::Range;

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{
    Location, Span, Token, TokenWithSpan, Tokenizer, TokenizerError, Whitespace,
};
use tidemill_types::SqlState;

use super::dialect::TidemillDialect;
use crate::error::PlanError;

/// How deep an expression or query may be: parentheses that are open plus
/// operators that may apply to one another.
pub const MAX_DEPTH: usize = 600;

/// The tokens of `source[range]` without blanks and comments, located in `source`.
pub(super) fn tokens(source: &str, range: Range<usize>) -> Result<Vec<TokenWithSpan>, PlanError> {
    let base = location_of(source, range.start);
    let raw = tokenize(source, &source[range], base)?;
    let mut tokens: Vec<TokenWithSpan> = Vec::with_capacity(raw.len());
    let mut newline = false;
    for token in raw {
        match (token.token, tokens.last_mut()) {
            (Token::Whitespace(Whitespace::Newline | Whitespace::SingleLineComment { .. }), _) => {
                newline = true;
            }
            (Token::Whitespace(_), _) => {}
            (
                Token::SingleQuotedString(more),
                Some(TokenWithSpan { token: Token::SingleQuotedString(text), span }),
            ) if newline => {
                text.push_str(&more);
                span.end = token.span.end;
                newline = false;
            }
            (kept, _) => {
                tokens.push(TokenWithSpan::new(kept, token.span));
                newline = false;
            }
        }
    }
    check_depth(&tokens)?;
    Ok(tokens)
}

/// The byte ranges of the statements of `source`, without blanks and comments
/// around them and without semicolons. Empty statements are left out.
pub(super) fn split(source: &str) -> Result<Vec<Range<usize>>, PlanError> {
    let mut walk = Walk { rest: source.chars(), at: Location::new(1, 1), byte: 0 };
    let mut ranges = Vec::new();
    let mut current: Option<Range<usize>> = None;
    for token in tokenize(source, source, Location::new(1, 1))? {
        match token.token {
            Token::Whitespace(_) => {}
            Token::SemiColon => ranges.extend(current.take()),
            _ => {
                let start = walk.byte_of(token.span.start);
                let end = walk.byte_of(token.span.end);
                current.get_or_insert(start..end).end = end;
            }
        }
    }
    ranges.extend(current);
    Ok(ranges)
}

/// Turns ascending locations into byte offsets in one pass.
struct Walk<'a> {
    rest: std::str::Chars<'a>,
    at: Location,
    byte: usize,
}

impl Walk<'_> {
    fn byte_of(&mut self, target: Location) -> usize {
        while self.at < target {
            let Some(character) = self.rest.next() else { break };
            self.byte += character.len_utf8();
            self.at = match character {
                '\n' => Location::new(self.at.line + 1, 1),
                _ => Location::new(self.at.line, self.at.column + 1),
            };
        }
        self.byte
    }
}

/// Where byte `offset` (on a character's boundary) is.
pub(super) fn location_of(source: &str, offset: usize) -> Location {
    let before = &source[..offset];
    let lines = before.bytes().filter(|b| *b == b'\n').count() as u64;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Location::new(lines + 1, before[line_start..].chars().count() as u64 + 1)
}

/// The text of `source` that `span` covers.
pub(super) fn text_of(source: &str, span: Span) -> &str {
    let mut walk = Walk { rest: source.chars(), at: Location::new(1, 1), byte: 0 };
    let start = walk.byte_of(span.start);
    let end = walk.byte_of(span.end);
    &source[start..end]
}

fn shift(location: Location, base: Location) -> Location {
    match location.line {
        1 => Location::new(base.line, base.column + location.column - 1),
        line => Location::new(base.line + line - 1, location.column),
    }
}

fn tokenize(source: &str, text: &str, base: Location) -> Result<Vec<TokenWithSpan>, PlanError> {
    let dialect = TidemillDialect::new(0);
    let mut tokens = Vec::new();
    let result = Tokenizer::new(&dialect, text).tokenize_with_location_into_buf(&mut tokens);
    for token in &mut tokens {
        token.span = Span::new(shift(token.span.start, base), shift(token.span.end, base));
    }
    match result {
        Ok(()) => Ok(tokens),
        Err(error) => Err(lexical_error(source, &tokens, &error, base)),
    }
}

/// Says what is wrong as PostgreSQL does, at the beginning of the token that
/// could not be read: behind the last one that could.
fn lexical_error(
    source: &str,
    read: &[TokenWithSpan],
    error: &TokenizerError,
    base: Location,
) -> PlanError {
    let what = match error.message.as_str() {
        m if m.contains("dollar-quoted") => "unterminated dollar-quoted string",
        m if m.contains("string literal") => "unterminated quoted string",
        m if m.contains("close delimiter") => "unterminated quoted identifier",
        m if m.contains("comment") => "unterminated /* comment",
        _ => "syntax error",
    };
    let start = read.last().map_or(base, |token| token.span.end);
    let mut walk = Walk { rest: source.chars(), at: Location::new(1, 1), byte: 0 };
    let byte = walk.byte_of(start);
    let near = source[byte..].lines().next().unwrap_or_default();
    PlanError::invalid(
        SqlState::SYNTAX_ERROR,
        format!("{what} at or near \"{near}\""),
        Span::new(start, start),
    )
}

/// Whether a token may put the expression before it one level deeper.
fn deepens(token: &Token) -> bool {
    match token {
        Token::Word(word) => {
            word.quote_style.is_none()
                && matches!(
                    word.keyword,
                    Keyword::AND
                        | Keyword::OR
                        | Keyword::NOT
                        | Keyword::XOR
                        | Keyword::IS
                        | Keyword::NOTNULL
                        | Keyword::IN
                        | Keyword::LIKE
                        | Keyword::ILIKE
                        | Keyword::SIMILAR
                        | Keyword::REGEXP
                        | Keyword::RLIKE
                        | Keyword::BETWEEN
                        | Keyword::OVERLAPS
                        | Keyword::OPERATOR
                        | Keyword::COLLATE
                        | Keyword::AT
                        | Keyword::DIV
                        | Keyword::MEMBER
                        | Keyword::CASE
                        | Keyword::INTERVAL
                )
        }
        Token::Comma
        | Token::Period
        | Token::SemiColon
        | Token::LParen
        | Token::RParen
        | Token::RBracket
        | Token::RBrace
        | Token::Number(..)
        | Token::Char(_)
        | Token::Placeholder(_)
        | Token::SingleQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::DollarQuotedString(_)
        | Token::SingleQuotedByteStringLiteral(_) => false,
        _ => true,
    }
}

/// Words behind which a new expression begins at the same level.
fn restarts(token: &Token) -> bool {
    let Token::Word(word) = token else { return *token == Token::Comma };
    word.quote_style.is_none()
        && matches!(
            word.keyword,
            Keyword::SELECT
                | Keyword::FROM
                | Keyword::WHERE
                | Keyword::GROUP
                | Keyword::HAVING
                | Keyword::ORDER
                | Keyword::JOIN
                | Keyword::LIMIT
                | Keyword::WINDOW
        )
}

fn is_set_operator(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none()
        && matches!(word.keyword, Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT))
}

/// What is open at one level of parentheses.
#[derive(Default)]
struct Level {
    /// Operators of the current expression.
    operators: usize,
    /// Set operators of the query at this level.
    set_operators: usize,
}

/// How many parts a dotted name may have; sqlparser's time for one grows with
/// their square.
const MAX_NAME_PARTS: usize = 64;

/// Refuses a statement whose tree could be deeper than [`MAX_DEPTH`].
fn check_depth(tokens: &[TokenWithSpan]) -> Result<(), PlanError> {
    let mut levels = vec![Level::default()];
    let mut depth = 0;
    let mut periods = 0;
    for (index, token) in tokens.iter().enumerate() {
        match token.token {
            Token::Period => periods += 1,
            _ if index > 0 && tokens[index - 1].token == Token::Period => {}
            _ => periods = 0,
        }
        if periods > MAX_NAME_PARTS {
            return Err(too_complex(token.span));
        }
        let level = levels.last_mut().expect("there is always the outermost level");
        match &token.token {
            Token::LParen => {
                levels.push(Level::default());
                depth += 1;
            }
            Token::RParen => {
                depth -= level.operators + level.set_operators;
                *level = Level::default();
                // A parenthesis too many is the parser's to find.
                if levels.len() > 1 {
                    levels.pop();
                    depth -= 1;
                }
            }
            other if is_set_operator(other) => {
                depth = depth - level.operators + 1;
                level.operators = 0;
                level.set_operators += 1;
            }
            other if restarts(other) => {
                depth -= level.operators;
                level.operators = 0;
            }
            other if deepens(other) => {
                level.operators += 1;
                depth += 1;
            }
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(too_complex(token.span));
        }
    }
    Ok(())
}

/// 54001 at `span`.
pub(super) fn too_complex(span: Span) -> PlanError {
    PlanError::invalid(SqlState::STATEMENT_TOO_COMPLEX, "statement is too complex", span).with_hint(
        format!(
            "Expressions and queries nest at most {MAX_DEPTH} deep; a long chain of OR on one column can be written with IN."
        ),
    )
}
