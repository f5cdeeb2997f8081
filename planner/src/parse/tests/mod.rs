//! Statements good and bad, with exactly what comes out.
//!
//! In an expected error, `¦` in the statement stands where the caret is to be.

mod benchmark;
mod complexity;
mod errors;
mod statements;
mod windows;

use super::*;

/// Parses the only statement of `sql`.
fn one(sql: &str) -> Result<Statement, PlanError> {
    let mut ranges = split_statements(sql)?;
    assert_eq!(ranges.len(), 1, "statements in {sql}");
    parse_statement(sql, ranges.remove(0))
}

/// Checks the normalised text of a query.
fn query(sql: &str, expected: &str) {
    let statement = one(sql).unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
    let shown = statement.query().expect("a query inside").to_string();
    assert_eq!(shown, expected, "{sql}");
}

/// Checks that a statement is refused: `expected` is the code and the message.
fn error(marked: &str, expected: &str) {
    let sql = marked.replace('¦', "");
    let caret = marked.chars().position(|c| c == '¦').map(|at| at as u32 + 1);
    let ranges = match split_statements(&sql) {
        Ok(ranges) => ranges,
        Err(error) => return compare(&error, &sql, marked, caret, expected),
    };
    let failed = ranges.into_iter().find_map(|range| parse_statement(&sql, range).err());
    match failed {
        Some(error) => compare(&error, &sql, marked, caret, expected),
        None => panic!("no error in {sql}"),
    }
}

fn compare(error: &PlanError, sql: &str, marked: &str, caret: Option<u32>, expected: &str) {
    let diagnostic = error.diagnostic(sql);
    let shown = format!("{} {}", diagnostic.state, diagnostic.message);
    assert_eq!(shown, expected, "{marked}");
    assert_eq!(diagnostic.position, caret, "caret of {marked}");
    if diagnostic.state.code() == "0A000" {
        assert!(diagnostic.hint.is_some(), "no hint for {marked}");
    }
}
