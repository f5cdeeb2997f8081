//! Cursors of SQL: DECLARE, FETCH, MOVE, CLOSE.

use sqlparser::tokenizer::{Span, Token};
use tidemill_types::SqlState;

use super::ast::{DeclareCursor, Direction, Fetch, RowCount, Statement};
use super::cursor::Cursor;
use crate::error::PlanError;

/// `DECLARE name [BINARY] [INSENSITIVE] [NO SCROLL] CURSOR [WITHOUT HOLD] FOR query`.
pub(super) fn declare(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    cursor.expect(&["DECLARE"])?;
    let name = cursor.ident()?;
    let binary = options(cursor)?;
    cursor.expect(&["CURSOR"])?;
    if cursor.sees(&["WITH", "HOLD"]) {
        return Err(cursor.unsupported(
            "a cursor WITH HOLD is not supported",
            "Leave it out, and fetch before the transaction ends.",
        ));
    }
    cursor.accept(&["WITHOUT", "HOLD"]);
    cursor.expect(&["FOR"])?;
    let is_query = ["SELECT", "WITH", "VALUES"].iter().any(|word| cursor.sees(&[word]));
    if !is_query && !cursor.sees_token(&Token::LParen) {
        return Err(cursor.unexpected());
    }
    let (query, _) = cursor.query_until(cursor.text.tokens.len())?;
    Ok(Statement::DeclareCursor(DeclareCursor { name, binary, query }))
}

/// The options before CURSOR, in any order; answers whether BINARY is one.
fn options(cursor: &mut Cursor<'_>) -> Result<bool, PlanError> {
    const WORDS: [&str; 3] = ["BINARY", "INSENSITIVE", "ASENSITIVE"];
    let mut given = [false; 3];
    loop {
        let span = cursor.span();
        if let Some(which) = cursor.accept_one_of(&WORDS) {
            given[which] = true;
            if given[1] && given[2] {
                return Err(contradiction("INSENSITIVE", "ASENSITIVE", span));
            }
        } else if cursor.sees(&["SCROLL"]) {
            return Err(cursor.unsupported(
                "a SCROLL cursor is not supported",
                "Leave SCROLL out: a cursor reads its rows once, from the first to the last.",
            ));
        } else if !cursor.accept(&["NO", "SCROLL"]) {
            return Ok(given[0]);
        }
    }
}

fn contradiction(one: &str, other: &str, span: Span) -> PlanError {
    let message = format!("cannot specify both {one} and {other}");
    PlanError::invalid(SqlState::INVALID_CURSOR_DEFINITION, message, span)
        .with_hint("Leave both out: a cursor reads one moment of all views.")
}

/// `FETCH [direction] [FROM | IN] name`, and MOVE alike.
pub(super) fn fetch(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    let moves = cursor.accept_one_of(&["MOVE", "FETCH"]) == Some(0);
    // A direction's word that stands alone is the cursor's name.
    let direction = if cursor.token(1).is_some() { direction(cursor)? } else { None };
    cursor.accept_one_of(&["FROM", "IN"]);
    let name = cursor.ident()?;
    let direction = direction.unwrap_or(Direction::Forward(RowCount::Rows(1)));
    Ok(Statement::Fetch(Fetch { name, direction, moves }))
}

fn direction(cursor: &mut Cursor<'_>) -> Result<Option<Direction>, PlanError> {
    const WORDS: [&str; 9] =
        ["NEXT", "PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE", "FORWARD", "BACKWARD", "ALL"];
    let one = RowCount::Rows(1);
    let direction = match cursor.accept_one_of(&WORDS) {
        Some(0) => Direction::Forward(one),
        Some(1) => Direction::Backward(one),
        Some(2) => Direction::Absolute(1),
        Some(3) => Direction::Absolute(-1),
        Some(4) => Direction::Absolute(number(cursor)?.ok_or_else(|| cursor.unexpected())?),
        Some(5) => Direction::Relative(number(cursor)?.ok_or_else(|| cursor.unexpected())?),
        Some(6) => Direction::Forward(count(cursor)?.unwrap_or(one)),
        Some(7) => Direction::Backward(count(cursor)?.unwrap_or(one)),
        Some(_) => Direction::Forward(RowCount::All),
        None => return Ok(number(cursor)?.map(|n| Direction::Forward(RowCount::Rows(n)))),
    };
    Ok(Some(direction))
}

fn count(cursor: &mut Cursor<'_>) -> Result<Option<RowCount>, PlanError> {
    if cursor.accept(&["ALL"]) {
        return Ok(Some(RowCount::All));
    }
    Ok(number(cursor)?.map(RowCount::Rows))
}

/// A whole number; 42601 for any other.
fn number(cursor: &mut Cursor<'_>) -> Result<Option<i64>, PlanError> {
    let first = cursor.pos;
    let Some(text) = cursor.accept_number() else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(cursor.text.syntax_error(first)),
    }
}

/// `CLOSE name` or `CLOSE ALL`.
pub(super) fn close(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    if cursor.accept(&["CLOSE", "ALL"]) {
        return Ok(Statement::CloseCursor { name: None });
    }
    cursor.expect(&["CLOSE"])?;
    Ok(Statement::CloseCursor { name: Some(cursor.ident()?) })
}
