//! From text to statements.
//!
//! ```text
//! source --split_statements--> ranges --parse_statement--> Statement
//!            tokens                     tokens, our statements around
//!                                       sqlparser's queries, then
//!                                       normalize (one spelling of windows) and
//!                                       check (what would silently be ignored)
//! ```
//!
//! Every location in a [`Statement`] and in an error is one of the whole source
//! string, whichever of its statements is parsed. Names are left as written;
//! [`fold`] is what an identifier means.
//!
//! Nothing here looks at a catalog.

pub mod ast;
mod check;
mod create;
mod cursor;
mod dialect;
mod fault;
mod lexer;
mod normalize;
mod session;
mod sql_cursor;
mod statement;

use std::ops::Range;

use sqlparser::ast::{Expr, Ident};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::TokenWithSpan;

pub use ast::*;
pub use lexer::MAX_DEPTH;

use crate::error::PlanError;

/// How many of sqlparser's own levels a statement may take. One parenthesis
/// takes up to three; [`MAX_DEPTH`] is met first except by long runs of prefix
/// operators and nested queries.
const PARSER_LEVELS: usize = 300;

fn parser(dialect: &dialect::TidemillDialect, tokens: Vec<TokenWithSpan>) -> Parser<'_> {
    Parser::new(dialect).with_recursion_limit(PARSER_LEVELS).with_tokens_with_locations(tokens)
}

/// Cuts a source string into statements: byte ranges without blanks, comments
/// and semicolons around them. Empty statements are left out.
///
/// # Errors
/// Text that has no tokens: an unterminated string, identifier or comment.
pub fn split_statements(sql: &str) -> Result<Vec<Range<usize>>, PlanError> {
    lexer::split(sql)
}

/// Parses the statement at `range` of `sql`, as [`split_statements`] cut it.
///
/// # Errors
/// 42601 for what is no statement, 0A000 for what Tidemill does not do, 54001
/// for what nests too deeply; each with its location in `sql`.
pub fn parse_statement(sql: &str, range: Range<usize>) -> Result<Statement, PlanError> {
    let tokens = lexer::tokens(sql, range.clone())?;
    let text = fault::Text { source: sql, tokens: &tokens, end: range.end };
    statement::parse(text)
}

/// Parses text that is one query, such as a view's stored definition.
///
/// # Errors
/// As [`parse_statement`]; locations are those of `sql`.
pub fn parse_query(sql: &str) -> Result<Box<sqlparser::ast::Query>, PlanError> {
    let tokens = lexer::tokens(sql, 0..sql.len())?;
    let text = fault::Text { source: sql, tokens: &tokens, end: sql.len() };
    let mut cursor = cursor::Cursor::new(text);
    Ok(cursor.query_until(tokens.len())?.0)
}

/// Parses text that is one expression, such as a generated column's stored
/// definition.
///
/// # Errors
/// As [`parse_statement`]; locations are those of `sql`.
pub fn parse_expression(sql: &str) -> Result<Expr, PlanError> {
    let tokens = lexer::tokens(sql, 0..sql.len())?;
    let text = fault::Text { source: sql, tokens: &tokens, end: sql.len() };
    let mut cursor = cursor::Cursor::new(text);
    Ok(cursor.expr_until(tokens.len())?.expr)
}

/// What an identifier means: its text if quoted, else that in lower case.
#[must_use]
pub fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

#[cfg(test)]
mod tests;
