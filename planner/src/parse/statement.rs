//! Which statement it is, and the short ones.

use sqlparser::ast::{Ident, ObjectName};
use tidemill_types::{SqlState, VNODE_COUNT};

use super::ast::{AlterParallelism, Drop, Explain, RelationKind, Show, Statement};
use super::cursor::Cursor;
use super::fault::{self, Text};
use super::{create, session};
use crate::error::PlanError;

/// Commands that sqlparser does not know (or knows in other forms only) and
/// PostgreSQL's or our users do: they are refused by name.
const KNOWN_COMMANDS: &[&str] = &[
    "BACKUP",
    "CANCEL",
    "CHECKPOINT",
    "CLUSTER",
    "COMMENT",
    "COPY",
    "DO",
    "EXECUTE",
    "FLUSH",
    "GRANT",
    "IMPORT",
    "PAUSE",
    "PREPARE",
    "REASSIGN",
    "REFRESH",
    "REINDEX",
    "RESTORE",
    "RESUME",
    "REVOKE",
    "SECURITY",
    "SUBSCRIBE",
];

/// Kinds of objects that CREATE and DROP refuse by name.
const KNOWN_KINDS: &[&str] = &[
    "ACCESS",
    "AGGREGATE",
    "CAST",
    "COLLATION",
    "CONNECTION",
    "CONVERSION",
    "DATABASE",
    "DOMAIN",
    "EVENT",
    "EXTENSION",
    "FOREIGN",
    "FUNCTION",
    "GROUP",
    "INDEX",
    "LANGUAGE",
    "OPERATOR",
    "OWNED",
    "POLICY",
    "PROCEDURE",
    "PUBLICATION",
    "ROLE",
    "ROUTINE",
    "RULE",
    "SAVEPOINT",
    "SECRET",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "SUBSCRIPTION",
    "TABLESPACE",
    "TRIGGER",
    "TYPE",
    "UNIQUE",
    "USER",
];

/// Parses one whole statement.
pub(super) fn parse(text: Text<'_>) -> Result<Statement, PlanError> {
    let mut cursor = Cursor::new(text);
    let statement = statement(&mut cursor)?;
    cursor.expect_end()?;
    Ok(statement)
}

fn statement(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    let Some(word) = cursor.word(0) else { return query(cursor) };
    match word.to_ascii_uppercase().as_str() {
        "SELECT" | "WITH" | "VALUES" => query(cursor),
        "CREATE" => create_statement(cursor),
        "DROP" => drop_statement(cursor),
        "ALTER" => alter_statement(cursor),
        "INSERT" => insert(cursor),
        "SHOW" => show(cursor),
        "DESCRIBE" | "DESC" => describe(cursor),
        "EXPLAIN" => explain(cursor),
        _ => match session::statement(cursor)? {
            Some(statement) => Ok(statement),
            None => Err(refuse(cursor)),
        },
    }
}

/// A query; also whatever begins with neither a word nor a parenthesis, which is
/// an error at its first token.
fn query(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    use sqlparser::tokenizer::Token;
    if cursor.word(0).is_none() && !cursor.sees_token(&Token::LParen) {
        return Err(cursor.unexpected());
    }
    let end = cursor.text.tokens.len();
    Ok(Statement::Query(cursor.query_until(end)?.0))
}

/// The error for a statement that is none of ours: 0A000 if it is known SQL.
fn refuse(cursor: &Cursor<'_>) -> PlanError {
    let word = cursor.word(0).unwrap_or_default().to_ascii_uppercase();
    let unsupported = || {
        cursor.unsupported(
            format!("{word} is not supported"),
            "Tidemill runs SELECT, CREATE, ALTER, DROP, INSERT INTO a sink target, SHOW, DESCRIBE, EXPLAIN, SET, cursors and transaction commands.",
        )
    };
    if KNOWN_COMMANDS.contains(&word.as_str()) {
        return unsupported();
    }
    let all = cursor.pos..cursor.text.tokens.len();
    match fault::run(cursor.text, all.clone(), |p| p.parse_statement()) {
        Ok((_, next)) if next >= all.end => unsupported(),
        Ok((_, next)) => cursor.text.syntax_error(next),
        Err(error) => error,
    }
}

/// 0A000 at the statement's first token for a known kind of object, else 42601
/// at the kind.
fn refuse_kind(cursor: &Cursor<'_>, command: &str, first: usize) -> PlanError {
    match cursor.word(0).map(str::to_ascii_uppercase) {
        Some(kind) if KNOWN_KINDS.contains(&kind.as_str()) => PlanError::unsupported(
            format!("{command} {kind} is not supported"),
            cursor.text.span(first, first + 1),
        )
        .with_hint("SOURCE, VIEW, MATERIALIZED VIEW, SINK and SCHEMA are supported."),
        _ => cursor.unexpected(),
    }
}

fn create_statement(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    let first = cursor.pos;
    cursor.expect(&["CREATE"])?;
    let replace_at = cursor.pos;
    let or_replace = cursor.accept(&["OR", "REPLACE"]);
    if let Some(which) = cursor.accept_one_of(&["TEMPORARY", "TEMP", "UNLOGGED", "RECURSIVE"]) {
        let word = ["TEMPORARY", "TEMPORARY", "UNLOGGED", "RECURSIVE"][which];
        let span = cursor.text.span(cursor.pos - 1, cursor.pos);
        return Err(PlanError::unsupported(format!("CREATE {word} is not supported"), span)
            .with_hint(format!("Leave {word} out.")));
    }
    if or_replace && !cursor.sees(&["VIEW"]) {
        let span = cursor.text.span(replace_at, cursor.pos);
        return Err(PlanError::unsupported("OR REPLACE is supported for views only", span)
            .with_hint("DROP the old object first."));
    }
    if cursor.accept(&["SOURCE"]) {
        return Ok(Statement::CreateSource(create::source(cursor)?));
    }
    if cursor.accept(&["TABLE"]) {
        return create::table(cursor, first);
    }
    if cursor.accept(&["VIEW"]) {
        return create::view(cursor, or_replace);
    }
    if cursor.accept(&["MATERIALIZED", "VIEW"]) {
        return create::materialized_view(cursor);
    }
    if cursor.accept(&["SINK"]) {
        return create::sink(cursor);
    }
    if cursor.accept(&["SCHEMA"]) {
        let if_not_exists = cursor.if_not_exists()?;
        let name = cursor.ident()?;
        if cursor.sees(&["AUTHORIZATION"]) {
            return Err(cursor.unsupported("AUTHORIZATION is not supported", "Leave it out."));
        }
        return Ok(Statement::CreateSchema { name, if_not_exists });
    }
    Err(refuse_kind(cursor, "CREATE", first))
}

/// The kind of relation that the next words name.
fn relation_kind(cursor: &mut Cursor<'_>) -> Option<RelationKind> {
    const KINDS: &[(&[&str], RelationKind)] = &[
        (&["SOURCE"], RelationKind::Source),
        (&["TABLE"], RelationKind::Table),
        (&["VIEW"], RelationKind::View),
        (&["MATERIALIZED", "VIEW"], RelationKind::MaterializedView),
        (&["SINK"], RelationKind::Sink),
    ];
    KINDS.iter().find(|(words, _)| cursor.accept(words)).map(|(_, kind)| *kind)
}

fn drop_statement(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    let first = cursor.pos;
    cursor.expect(&["DROP"])?;
    if cursor.accept(&["SCHEMA"]) {
        let if_exists = cursor.if_exists()?;
        let names = cursor.comma_separated(Cursor::ident)?;
        return Ok(Statement::DropSchema { names, if_exists, behavior: cursor.drop_behavior() });
    }
    let Some(kind) = relation_kind(cursor) else {
        return Err(refuse_kind(cursor, "DROP", first));
    };
    let if_exists = cursor.if_exists()?;
    let names = cursor.comma_separated(Cursor::object_name)?;
    Ok(Statement::Drop(Drop { kind, names, if_exists, behavior: cursor.drop_behavior() }))
}

fn alter_statement(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    use sqlparser::tokenizer::Token;
    let first = cursor.pos;
    cursor.expect(&["ALTER"])?;
    let Some(kind) = relation_kind(cursor) else {
        return Err(refuse_kind(cursor, "ALTER", first));
    };
    let if_exists = cursor.if_exists()?;
    let name = cursor.object_name()?;
    if !cursor.accept(&["SET", "PARALLELISM"]) {
        if cursor.word(0).is_none() {
            return Err(cursor.unexpected());
        }
        return Err(cursor.unsupported(
            format!("this form of ALTER {} is not supported", kind.noun().to_uppercase()),
            "ALTER MATERIALIZED VIEW and ALTER SINK take SET PARALLELISM = n.",
        ));
    }
    if !cursor.accept_token(&Token::Eq) {
        cursor.accept(&["TO"]);
    }
    let parallelism = if cursor.accept(&["DEFAULT"]) {
        None
    } else {
        let span = cursor.span();
        let Some(number) = cursor.accept_number() else { return Err(cursor.unexpected()) };
        let valid = number.parse::<u32>().ok().filter(|n| (1..=VNODE_COUNT).contains(n));
        let invalid = || {
            let message = format!("parallelism is a number from 1 to {VNODE_COUNT}");
            PlanError::invalid(SqlState::INVALID_PARAMETER_VALUE, message, span)
        };
        Some(valid.ok_or_else(invalid)?)
    };
    Ok(Statement::AlterParallelism(AlterParallelism { kind, name, if_exists, parallelism }))
}

fn insert(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    cursor.expect(&["INSERT"])?;
    if cursor.sees(&["OVERWRITE"]) {
        return Err(cursor.unsupported("INSERT OVERWRITE is not supported", "Use INSERT INTO."));
    }
    cursor.expect(&["INTO"])?;
    let target = cursor.object_name()?;
    let columns = cursor.optional_column_names_before_query()?;
    for word in ["DEFAULT", "OVERRIDING", "PARTITION", "AS"] {
        if cursor.sees(&[word]) {
            return Err(cursor.unsupported(
                format!("INSERT with {word} is not supported"),
                "INSERT INTO starts a job from a sink target and a SELECT.",
            ));
        }
    }
    let end = cursor.find(cursor.pos, |c, i| {
        let at = Cursor { text: c.text, pos: i };
        at.sees(&["RETURNING"]) || at.sees(&["ON", "CONFLICT"])
    });
    let (query, _) = cursor.query_until(end)?;
    if !cursor.at_end() && !cursor.sees_token(&sqlparser::tokenizer::Token::RParen) {
        return Err(cursor.unsupported(
            "RETURNING and ON CONFLICT are not supported",
            "INSERT INTO starts a job from a sink target and a SELECT.",
        ));
    }
    Ok(Statement::InsertInto { target, columns, query })
}

fn show(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    const LISTS: &[(&[&str], Show)] = &[
        (&["SOURCES"], Show::Sources),
        (&["TABLES"], Show::Tables),
        (&["VIEWS"], Show::Views),
        (&["MATERIALIZED", "VIEWS"], Show::MaterializedViews),
        (&["SINKS"], Show::Sinks),
        (&["SCHEMAS"], Show::Schemas),
        (&["JOBS"], Show::Jobs),
        (&["CONNECTORS"], Show::Connectors),
        (&["ALL"], Show::All),
    ];
    cursor.expect(&["SHOW"])?;
    if let Some((_, what)) = LISTS.iter().find(|(words, _)| cursor.accept(words)) {
        if cursor.sees(&["LIKE"]) || cursor.sees(&["FROM"]) || cursor.sees(&["IN"]) {
            return Err(cursor.unsupported(
                "a filter of SHOW is not supported",
                "Query tm_catalog or information_schema for a part of the list.",
            ));
        }
        return Ok(Statement::Show(what.clone()));
    }
    for what in ["WORKERS", "SAVEPOINTS", "INDEXES", "SECRETS", "FUNCTIONS", "CLUSTER"] {
        if cursor.sees(&[what]) {
            return Err(cursor.unsupported(
                format!("SHOW {what} is not supported"),
                "SHOW JOBS lists what runs.",
            ));
        }
    }
    let what = if cursor.accept(&["OPTIONS"]) {
        cursor.expect(&["FOR", "CONNECTOR"])?;
        Show::Options { connector: option_name(cursor)? }
    } else if cursor.accept(&["CREATE"]) {
        let kind = relation_kind(cursor);
        Show::Create { kind, name: cursor.object_name()? }
    } else if cursor.accept(&["COLUMNS"]) {
        if cursor.accept_one_of(&["FROM", "IN"]).is_none() {
            return Err(cursor.unexpected());
        }
        Show::Columns { name: cursor.object_name()? }
    } else {
        Show::Setting(session::shown_setting(cursor)?)
    };
    Ok(Statement::Show(what))
}

/// A connector's name: a word or a string.
fn option_name(cursor: &mut Cursor<'_>) -> Result<Ident, PlanError> {
    let span = cursor.span();
    match cursor.accept_string() {
        Some(text) => Ok(Ident { value: text, quote_style: Some('"'), span }),
        None => cursor.ident(),
    }
}

fn describe(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    cursor.pos += 1;
    Ok(Statement::Describe { name: described_name(cursor)? })
}

/// The name, behind an optional kind unless the kind's word is itself the name.
fn described_name(cursor: &mut Cursor<'_>) -> Result<ObjectName, PlanError> {
    if cursor.text.tokens.len() > cursor.pos + 1 {
        relation_kind(cursor);
    }
    cursor.object_name()
}

fn explain(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    use sqlparser::tokenizer::Token;
    cursor.expect(&["EXPLAIN"])?;
    let mut analyze = false;
    let mut verbose = false;
    if cursor.sees_token(&Token::LParen) && !starts_query(cursor, 1) {
        cursor.pos += 1;
        cursor.comma_separated(|c| explain_option(c, &mut analyze, &mut verbose))?;
        cursor.expect_token(&Token::RParen)?;
    } else {
        analyze = cursor.accept(&["ANALYZE"]);
        verbose = cursor.accept(&["VERBOSE"]);
    }
    if analyze && (cursor.sees(&["MATERIALIZED"]) || cursor.sees(&["SINK"])) {
        return Err(cursor.unsupported(
            "EXPLAIN ANALYZE of a running job is not supported",
            "EXPLAIN CREATE MATERIALIZED VIEW shows its plan; SHOW JOBS shows its progress.",
        ));
    }
    let first = cursor.pos;
    if cursor.sees(&["EXPLAIN"]) {
        return Err(not_explainable(cursor, first));
    }
    let statement = statement(cursor)?;
    let explainable = matches!(
        statement,
        Statement::Query(_)
            | Statement::CreateView(_)
            | Statement::CreateMaterializedView(_)
            | Statement::CreateSink(_)
            | Statement::InsertInto { .. }
    );
    if !explainable {
        return Err(not_explainable(cursor, first));
    }
    Ok(Statement::Explain(Explain { analyze, verbose, statement: Box::new(statement) }))
}

fn not_explainable(cursor: &Cursor<'_>, first: usize) -> PlanError {
    let span = cursor.text.span(first, first + 1);
    PlanError::unsupported("EXPLAIN of this statement is not supported", span).with_hint(
        "Queries, CREATE MATERIALIZED VIEW, CREATE SINK and INSERT INTO can be explained.",
    )
}

fn starts_query(cursor: &Cursor<'_>, ahead: usize) -> bool {
    use sqlparser::tokenizer::Token;
    cursor.token(ahead) == Some(&Token::LParen)
        || ["SELECT", "WITH", "VALUES"].iter().any(|word| cursor.is_word(ahead, word))
}

fn explain_option(
    cursor: &mut Cursor<'_>,
    analyze: &mut bool,
    verbose: &mut bool,
) -> Result<(), PlanError> {
    let Some(which) = cursor.accept_one_of(&["ANALYZE", "VERBOSE"]) else {
        return Err(match cursor.word(0) {
            Some(word) => cursor.unsupported(
                format!("EXPLAIN option {} is not supported", word.to_uppercase()),
                "ANALYZE and VERBOSE are.",
            ),
            None => cursor.unexpected(),
        });
    };
    let off = cursor.accept_one_of(&["FALSE", "OFF"]).is_some();
    if !off {
        cursor.accept_one_of(&["TRUE", "ON"]);
    }
    *(if which == 0 { analyze } else { verbose }) = !off;
    Ok(())
}

impl Cursor<'_> {
    /// The column list of INSERT; a parenthesis may also begin the query.
    fn optional_column_names_before_query(&mut self) -> Result<Vec<Ident>, PlanError> {
        if starts_query(self, 1) { Ok(vec![]) } else { self.optional_column_names() }
    }
}
