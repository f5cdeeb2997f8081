//! The bodies of CREATE: columns, watermarks, options, formats, EMIT.

use sqlparser::ast::{DataType, TimezoneInfo};
use sqlparser::tokenizer::Token;
use tidemill_types::SqlState;

use super::ast::{
    ColumnDef, CreateMaterializedView, CreateSink, CreateSource, CreateView, Emit, FormatDef,
    OptionDef, SinkInput, Statement, TypeDef, WatermarkDef,
};
use super::cursor::Cursor;
use super::fault;
use crate::error::PlanError;

/// `CREATE SOURCE`, behind these words.
pub(super) fn source(cursor: &mut Cursor<'_>) -> Result<CreateSource, PlanError> {
    let if_not_exists = cursor.if_not_exists()?;
    let name = cursor.object_name()?;
    let mut source = CreateSource {
        name,
        if_not_exists,
        columns: None,
        watermark: None,
        options: vec![],
        format: None,
    };
    if cursor.accept_token(&Token::LParen) {
        elements(cursor, &mut source)?;
    }
    refuse_clauses(cursor)?;
    if cursor.accept(&["WITH"]) {
        source.options = options(cursor)?;
    }
    source.format = optional_format(cursor)?;
    Ok(source)
}

/// `CREATE TABLE`, behind these words: Flink's declaration of a connector. A
/// table that stores rows is refused at the statement's `first` token.
pub(super) fn table(cursor: &mut Cursor<'_>, first: usize) -> Result<Statement, PlanError> {
    let options_at = cursor.find(cursor.pos, |c, i| {
        let at = Cursor { text: c.text, pos: i };
        at.sees(&["WITH"]) && at.token(1) == Some(&Token::LParen)
    });
    let names_connector = cursor.text.tokens[options_at..].windows(2).any(|pair| {
        let key = match &pair[0].token {
            Token::Word(word) => &word.value,
            Token::SingleQuotedString(text) => text,
            _ => return false,
        };
        key.eq_ignore_ascii_case("connector") && pair[1].token == Token::Eq
    });
    if !names_connector {
        return Err(PlanError::unsupported(
            "tables that store rows are not supported",
            cursor.text.span(first, first + 1),
        )
        .with_hint(
            "Use CREATE SOURCE name (...) WITH (connector = '...') for data from outside.",
        ));
    }
    Ok(Statement::CreateTableWithConnector(source(cursor)?))
}

/// Clauses of other systems between the columns and WITH.
fn refuse_clauses(cursor: &Cursor<'_>) -> Result<(), PlanError> {
    const CLAUSES: &[(&[&str], &str)] = &[
        (&["INCLUDE"], "INCLUDE is not supported"),
        (&["APPEND", "ONLY"], "APPEND ONLY is not supported"),
        (&["COMMENT"], "COMMENT is not supported"),
        (&["PARTITIONED"], "PARTITIONED BY is not supported"),
        (&["DISTRIBUTED"], "DISTRIBUTED BY is not supported"),
        (&["LIKE"], "LIKE is not supported"),
        (&["ROW", "FORMAT"], "ROW FORMAT is not supported"),
    ];
    match CLAUSES.iter().find(|(words, _)| cursor.sees(words)) {
        Some((_, what)) => Err(cursor.unsupported(*what, "Leave the clause out.")),
        None => Ok(()),
    }
}

/// The list in parentheses, behind the opening one.
fn elements(cursor: &mut Cursor<'_>, source: &mut CreateSource) -> Result<(), PlanError> {
    let mut columns = Vec::new();
    loop {
        if cursor.sees(&["WATERMARK", "FOR"]) {
            if source.watermark.is_some() {
                return Err(PlanError::invalid(
                    SqlState::INVALID_OBJECT_DEFINITION,
                    "a source has at most one WATERMARK",
                    cursor.span(),
                ));
            }
            source.watermark = Some(watermark(cursor)?);
        } else {
            refuse_constraint(cursor)?;
            columns.push(column(cursor)?);
        }
        if !cursor.accept_token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)?;
    source.columns = (!columns.is_empty()).then_some(columns);
    Ok(())
}

fn refuse_constraint(cursor: &Cursor<'_>) -> Result<(), PlanError> {
    const STARTS: &[&[&str]] =
        &[&["PRIMARY", "KEY"], &["UNIQUE"], &["CONSTRAINT"], &["CHECK"], &["FOREIGN", "KEY"]];
    match STARTS.iter().find(|words| cursor.sees(words)) {
        Some(words) => Err(constraint_error(cursor, &words.join(" "))),
        None if cursor.sees(&["LIKE"]) || cursor.sees(&["PERIOD", "FOR"]) => {
            let what = format!("{} is not supported", cursor.word(0).unwrap_or_default());
            Err(cursor.unsupported(what, "Name the columns one by one."))
        }
        None => Ok(()),
    }
}

fn constraint_error(cursor: &Cursor<'_>, what: &str) -> PlanError {
    cursor.unsupported(
        format!("{what} is not supported on a source"),
        "A source is append-only and enforces nothing: leave the constraint out, NOT ENFORCED or not.",
    )
}

fn watermark(cursor: &mut Cursor<'_>) -> Result<WatermarkDef, PlanError> {
    cursor.expect(&["WATERMARK", "FOR"])?;
    let column = cursor.ident()?;
    cursor.expect(&["AS"])?;
    let end = cursor.item_end();
    Ok(WatermarkDef { column, expression: cursor.expr_until(end)? })
}

fn column(cursor: &mut Cursor<'_>) -> Result<ColumnDef, PlanError> {
    let name = cursor.ident()?;
    let mut column = ColumnDef { name, data_type: None, not_null: false, generated: None };
    if !cursor.sees(&["AS"]) {
        column.data_type = Some(data_type(cursor)?);
    }
    loop {
        if cursor.accept(&["NOT", "NULL"]) {
            column.not_null = true;
        } else if cursor.accept(&["NULL"]) {
            column.not_null = false;
        } else if column.generated.is_none() && cursor.accept(&["AS"]) {
            column.generated = Some(generated(cursor)?);
        } else if column.generated.is_none() && cursor.sees(&["GENERATED"]) {
            if cursor.sees(&["GENERATED", "BY"])
                || cursor.sees(&["GENERATED", "ALWAYS", "AS", "IDENTITY"])
            {
                return Err(
                    cursor.unsupported("identity columns are not supported", "Leave it out.")
                );
            }
            cursor.expect(&["GENERATED", "ALWAYS", "AS"])?;
            if !cursor.sees_token(&Token::LParen) {
                return Err(cursor.unexpected());
            }
            column.generated = Some(generated(cursor)?);
        } else {
            break;
        }
    }
    refuse_column_option(cursor)?;
    Ok(column)
}

/// The expression behind AS: in parentheses with STORED after it, or, as Flink
/// writes it, all up to the end of the column.
fn generated(cursor: &mut Cursor<'_>) -> Result<super::ast::SqlExpr, PlanError> {
    let item_end = cursor.item_end();
    let expression = if cursor.sees_token(&Token::LParen) {
        let close = cursor.find(cursor.pos + 1, |_, _| false) + 1;
        let after = Cursor { text: cursor.text, pos: close };
        let whole = close >= item_end
            || ["STORED", "VIRTUAL", "NOT", "NULL", "PRIMARY", "UNIQUE", "CHECK", "COMMENT"]
                .iter()
                .any(|word| after.is_word(0, word));
        cursor.expr_until(if whole { close.min(item_end) } else { item_end })?
    } else {
        cursor.expr_until(item_end)?
    };
    if cursor.sees(&["VIRTUAL"]) {
        return Err(cursor.unsupported("VIRTUAL is not supported", "Write STORED or nothing."));
    }
    cursor.accept(&["STORED"]);
    Ok(expression)
}

fn refuse_column_option(cursor: &Cursor<'_>) -> Result<(), PlanError> {
    const CONSTRAINTS: &[&str] = &["PRIMARY", "UNIQUE", "CHECK", "REFERENCES", "CONSTRAINT"];
    const OTHERS: &[(&str, &str)] = &[
        ("METADATA", "Only the connector's columns and generated ones can be declared."),
        ("DEFAULT", "Use a generated column: name type AS (expression)."),
        ("COLLATE", "Text is ordered by code point: leave it out."),
        ("COMMENT", "Leave it out."),
    ];
    if let Some(word) = CONSTRAINTS.iter().find(|word| cursor.sees(&[word])) {
        let what = if *word == "PRIMARY" { "PRIMARY KEY" } else { word };
        return Err(constraint_error(cursor, what));
    }
    match OTHERS.iter().find(|(word, _)| cursor.sees(&[word])) {
        Some((word, hint)) => Err(cursor.unsupported(format!("{word} is not supported"), hint)),
        None => Ok(()),
    }
}

fn data_type(cursor: &mut Cursor<'_>) -> Result<TypeDef, PlanError> {
    let first = cursor.pos;
    let nested = ["ROW", "STRUCT", "MAP", "MULTISET"].iter().find(|word| {
        cursor.is_word(0, word) && matches!(cursor.token(1), Some(Token::Lt | Token::LParen))
    });
    if let Some(word) = nested {
        return Err(cursor.unsupported(
            format!("type {word} is not supported in a source"),
            "Leave the column list out to take the connector's own columns.",
        ));
    }
    if cursor.word(0).is_none() && !matches!(cursor.token(0), Some(Token::Word(_))) {
        return Err(cursor.unexpected());
    }
    let end = cursor.item_end();
    let (mut data_type, next) = fault::run(cursor.text, first..end, |p| p.parse_data_type())?;
    cursor.pos = next;
    if let DataType::Timestamp(_, zone @ TimezoneInfo::None) = &mut data_type
        && cursor.accept(&["WITH", "LOCAL", "TIME", "ZONE"])
    {
        *zone = TimezoneInfo::WithTimeZone;
    }
    Ok(TypeDef { data_type, span: cursor.span_since(first) })
}

/// `(name = value, ...)`.
fn options(cursor: &mut Cursor<'_>) -> Result<Vec<OptionDef>, PlanError> {
    cursor.expect_token(&Token::LParen)?;
    let options = cursor.comma_separated(option)?;
    cursor.expect_token(&Token::RParen)?;
    for (index, option) in options.iter().enumerate() {
        if options[..index].iter().any(|earlier| earlier.name == option.name) {
            return Err(PlanError::invalid(
                SqlState::SYNTAX_ERROR,
                format!("option \"{}\" is given more than once", option.name),
                option.name_span,
            ));
        }
    }
    Ok(options)
}

fn option(cursor: &mut Cursor<'_>) -> Result<OptionDef, PlanError> {
    let first = cursor.pos;
    let name = match cursor.accept_string() {
        Some(text) => text,
        None => {
            let mut name = cursor.any_word()?.value;
            while cursor.accept_token(&Token::Period) {
                name.push('.');
                name.push_str(&cursor.any_word()?.value);
            }
            name
        }
    };
    let name_span = cursor.span_since(first);
    cursor.expect_token(&Token::Eq)?;
    let first = cursor.pos;
    let value = option_value(cursor)?;
    Ok(OptionDef {
        name: name.to_lowercase(),
        value,
        name_span,
        value_span: cursor.span_since(first),
    })
}

fn option_value(cursor: &mut Cursor<'_>) -> Result<String, PlanError> {
    const UNITS: [&str; 14] = [
        "SECOND",
        "SECONDS",
        "MINUTE",
        "MINUTES",
        "HOUR",
        "HOURS",
        "DAY",
        "DAYS",
        "WEEK",
        "WEEKS",
        "MILLISECOND",
        "MILLISECONDS",
        "MICROSECOND",
        "MICROSECONDS",
    ];
    if let Some(text) = cursor.accept_string().or_else(|| cursor.accept_number()) {
        return Ok(text);
    }
    if cursor.is_word(0, "SECRET") && matches!(cursor.token(1), Some(Token::Word(_))) {
        return Err(cursor.unsupported("secrets are not supported", "Write the value itself."));
    }
    if cursor.accept(&["INTERVAL"]) {
        let number = cursor.accept_string().or_else(|| cursor.accept_number());
        let mut text = number.ok_or_else(|| cursor.unexpected())?;
        if let Some(unit) = cursor.accept_one_of(&UNITS) {
            text = format!("{text} {}", UNITS[unit].to_lowercase());
        }
        return Ok(text);
    }
    Ok(cursor.any_word()?.value)
}

/// `FORMAT x ENCODE y [(...)]`.
fn optional_format(cursor: &mut Cursor<'_>) -> Result<Option<FormatDef>, PlanError> {
    let first = cursor.pos;
    if !cursor.accept(&["FORMAT"]) {
        return Ok(None);
    }
    let format = cursor.any_word()?.value.to_uppercase();
    cursor.expect(&["ENCODE"])?;
    let encode = cursor.any_word()?.value.to_uppercase();
    let options = if cursor.sees_token(&Token::LParen) { options(cursor)? } else { vec![] };
    Ok(Some(FormatDef { format, encode, options, span: cursor.span_since(first) }))
}

/// `CREATE [OR REPLACE] VIEW`, behind these words.
pub(super) fn view(cursor: &mut Cursor<'_>, or_replace: bool) -> Result<Statement, PlanError> {
    let if_not_exists = cursor.if_not_exists()?;
    let name = cursor.object_name()?;
    let columns = cursor.optional_column_names()?;
    if cursor.sees(&["WITH"]) {
        return Err(cursor.unsupported("options of a view are not supported", "Leave WITH out."));
    }
    cursor.expect(&["AS"])?;
    let end = query_end(cursor);
    let (query, query_text) = cursor.query_until(end)?;
    if cursor.sees(&["EMIT"]) {
        return Err(cursor.unsupported(
            "EMIT is not supported on a view",
            "Say it where results are kept or sent: in CREATE MATERIALIZED VIEW or CREATE SINK.",
        ));
    }
    if cursor.sees(&["WITH"]) {
        return Err(
            cursor.unsupported("WITH behind a view's query is not supported", "Leave it out.")
        );
    }
    let view = CreateView { name, or_replace, if_not_exists, columns, query, query_text };
    Ok(Statement::CreateView(view))
}

/// `CREATE MATERIALIZED VIEW`, behind these words.
pub(super) fn materialized_view(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    let if_not_exists = cursor.if_not_exists()?;
    let name = cursor.object_name()?;
    let columns = cursor.optional_column_names()?;
    let mut with = if cursor.accept(&["WITH"]) { options(cursor)? } else { vec![] };
    cursor.expect(&["AS"])?;
    let end = query_end(cursor);
    let (query, query_text) = cursor.query_until(end)?;
    let emit = optional_emit(cursor)?;
    if with.is_empty() && cursor.sees(&["WITH"]) && cursor.token(1) == Some(&Token::LParen) {
        cursor.pos += 1;
        with = options(cursor)?;
    }
    if cursor.sees(&["WITH", "NO", "DATA"]) {
        return Err(cursor.unsupported(
            "WITH NO DATA is not supported",
            "A materialized view is kept up to date from the start.",
        ));
    }
    cursor.accept(&["WITH", "DATA"]);
    Ok(Statement::CreateMaterializedView(CreateMaterializedView {
        name,
        if_not_exists,
        columns,
        options: with,
        query,
        query_text,
        emit,
    }))
}

/// `CREATE SINK`, behind these words.
pub(super) fn sink(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    let if_not_exists = cursor.if_not_exists()?;
    let name = cursor.object_name()?;
    if cursor.sees(&["INTO"]) {
        return Err(cursor.unsupported(
            "CREATE SINK INTO a table is not supported",
            "CREATE MATERIALIZED VIEW keeps a query's result.",
        ));
    }
    let input = if cursor.accept(&["FROM"]) {
        SinkInput::Relation(cursor.object_name()?)
    } else if cursor.accept(&["AS"]) {
        let end = query_end(cursor);
        SinkInput::Query(cursor.query_until(end)?.0)
    } else {
        return Err(cursor.unexpected());
    };
    let emit = optional_emit(cursor)?;
    cursor.expect(&["WITH"])?;
    let options = options(cursor)?;
    let format = optional_format(cursor)?;
    Ok(Statement::CreateSink(CreateSink { name, if_not_exists, input, emit, options, format }))
}

/// Where the query that begins at the next token ends: at EMIT, or at a WITH
/// that is no common table expression. sqlparser would read both as part of the
/// query (an alias, a table hint).
fn query_end(cursor: &Cursor<'_>) -> usize {
    let first = cursor.pos;
    cursor.find(first, |c, i| {
        let at = Cursor { text: c.text, pos: i };
        let emit = at.sees(&["EMIT", "ON", "UPDATE"]) || at.sees(&["EMIT", "ON", "WINDOW"]);
        let with = i > first
            && at.sees(&["WITH"])
            && (at.token(1) == Some(&Token::LParen)
                || at.is_word(1, "NO")
                || at.is_word(1, "DATA"));
        emit || with
    })
}

fn optional_emit(cursor: &mut Cursor<'_>) -> Result<Option<Emit>, PlanError> {
    if !cursor.accept(&["EMIT"]) {
        return Ok(None);
    }
    if cursor.accept(&["ON", "UPDATE"]) {
        return Ok(Some(Emit::OnUpdate));
    }
    cursor.expect(&["ON", "WINDOW", "CLOSE"])?;
    Ok(Some(Emit::OnWindowClose))
}
