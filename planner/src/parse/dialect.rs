//! The SQL dialect: PostgreSQL's, backtick-quoted identifiers as Flink writes
//! them, and `TABLE t` as an argument of a window function.
//!
//! `TABLE t` has no place in sqlparser's arguments, so it becomes a call of
//! [`TABLE_MARKER`] that [`super::normalize`] takes away again (`DESCRIPTOR(c)`
//! already reads as a call).
//!
//! sqlparser finds out what some constructs are by trying, and tries nested ones
//! twice per level. A statement therefore has a budget of expressions looked at;
//! without it a few hundred bytes could keep a thread busy for years. Arguments
//! named by an expression (`f('a': 1)`) are off for the same reason: with them,
//! every argument of every call is parsed twice.

use std::any::{Any, TypeId};
use std::cell::Cell;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, ObjectNamePart,
};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// The name of the call that stands for `TABLE t`. Its span is that of `TABLE`.
pub(super) const TABLE_MARKER: &str = "__table";

/// How often an expression may be looked at, per token of the statement.
const LOOKS_PER_TOKEN: u64 = 64;

/// One statement's dialect. It counts, so it is made afresh for each parse.
#[derive(Debug)]
pub(super) struct TidemillDialect {
    base: PostgreSqlDialect,
    looks_left: Cell<u64>,
}

impl TidemillDialect {
    /// A dialect for a statement of `tokens` tokens.
    pub(super) fn new(tokens: usize) -> Self {
        let looks = (tokens as u64 + 16).saturating_mul(LOOKS_PER_TOKEN);
        TidemillDialect { base: PostgreSqlDialect {}, looks_left: Cell::new(looks) }
    }

    fn look(&self) -> Result<(), ParserError> {
        match self.looks_left.get().checked_sub(1) {
            Some(left) => {
                self.looks_left.set(left);
                Ok(())
            }
            None => Err(ParserError::RecursionLimitExceeded),
        }
    }
}

/// `TABLE name`, the next token being `TABLE`.
fn parse_table_argument(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    let span = parser.next_token().span;
    let relation = parser.parse_object_name(false)?;
    let parts = relation.0.into_iter().filter_map(|part| match part {
        ObjectNamePart::Identifier(ident) => Some(ident),
        ObjectNamePart::Function(_) => None,
    });
    let argument = relation_expr(parts.collect());
    Ok(Expr::Function(Function {
        name: ObjectName::from(vec![Ident::with_span(span, TABLE_MARKER)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))],
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    }))
}

/// A relation's name in the place of an argument.
pub(super) fn relation_expr(mut parts: Vec<Ident>) -> Expr {
    match parts.len() {
        1 => Expr::Identifier(parts.remove(0)),
        _ => Expr::CompoundIdentifier(parts),
    }
}

impl Dialect for TidemillDialect {
    /// Where sqlparser asks which dialect this is, it is PostgreSQL.
    fn dialect(&self) -> TypeId {
        self.base.type_id()
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.base.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        self.base.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.base.is_identifier_part(ch)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        ch != '`' && self.base.is_custom_operator_part(ch)
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        if let Err(error) = self.look() {
            return Some(Err(error));
        }
        let [first, second] = parser.peek_tokens_ref();
        let (Token::Word(first), Token::Word(_)) = (&first.token, &second.token) else {
            return None;
        };
        let is_table = first.keyword == Keyword::TABLE && first.quote_style.is_none();
        is_table.then(|| parse_table_argument(parser))
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        self.base.get_next_precedence(parser)
    }

    fn prec_value(&self, prec: Precedence) -> u8 {
        self.base.prec_value(prec)
    }

    /// Words that PostgreSQL reserves: what they begin is not tried a second
    /// time as a call or a column.
    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        matches!(keyword, Keyword::CASE | Keyword::CAST | Keyword::NOT)
            || self.base.is_reserved_for_identifier(keyword)
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }

    fn supports_explain_with_utility_options(&self) -> bool {
        true
    }

    fn supports_listen_notify(&self) -> bool {
        true
    }

    fn supports_factorial_operator(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn supports_comment_on(&self) -> bool {
        true
    }

    fn supports_load_extension(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_rarrow_operator(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_assignment_operator(&self) -> bool {
        true
    }

    fn supports_empty_projections(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    fn supports_geometric_types(&self) -> bool {
        true
    }

    fn supports_set_names(&self) -> bool {
        true
    }

    fn supports_notnull_operator(&self) -> bool {
        true
    }

    fn supports_interval_options(&self) -> bool {
        true
    }

    fn supports_insert_table_alias(&self) -> bool {
        true
    }

    fn supports_create_index_with_clause(&self) -> bool {
        true
    }

    fn supports_alter_column_type_using(&self) -> bool {
        true
    }

    fn supports_create_table_like_parenthesized(&self) -> bool {
        true
    }

    fn supports_comma_separated_trim(&self) -> bool {
        true
    }

    fn supports_xml_expressions(&self) -> bool {
        true
    }
}
