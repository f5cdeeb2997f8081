//! Refuses what the binder would read over.
//!
//! sqlparser reads many dialects' clauses into one tree, and DataFusion's binder
//! leaves some of them aside without a word: a lock, a sample, a table version.
//! A query that says one thing and does another is worse than an error, so all
//! of them are looked for here. What the binder itself refuses is left to it.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Function, FunctionArguments, GroupByExpr, Ident, JoinOperator, LimitClause, ObjectName,
    ObjectNamePart, Query, Select, SelectItem, SetExpr, SetQuantifier, Spanned, TableAlias,
    TableFactor, TableWithJoins, Visit, Visitor,
};
use sqlparser::tokenizer::Span;

use super::dialect::TABLE_MARKER;

/// Something that is not to be, and how to find it in the text.
#[derive(Debug)]
pub(super) enum Refusal {
    /// 0A000 at the span, or, the tree having none, at the first of these words.
    Unsupported { what: String, hint: &'static str, span: Span, words: &'static [&'static str] },
    /// A word that cannot stand there: 42601 at the span.
    Misplaced(Span),
    /// A string of this text where an alias would stand (the tree has no span of
    /// it): 42601.
    StringAlias(String),
}

type Flow = ControlFlow<Box<Refusal>>;

/// Checks a query and all queries in it.
pub(super) fn query(query: &Query) -> Result<(), Box<Refusal>> {
    outcome(query.visit(&mut Check))
}

/// Checks an expression that stands alone.
pub(super) fn expression(expr: &Expr) -> Result<(), Box<Refusal>> {
    outcome(expr.visit(&mut Check))
}

fn outcome(flow: Flow) -> Result<(), Box<Refusal>> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

const LEAVE_OUT: &str = "Leave it out.";

fn refuse(what: impl Into<String>, hint: &'static str, words: &'static [&'static str]) -> Flow {
    refuse_at(what, hint, Span::empty(), words)
}

fn refuse_at(
    what: impl Into<String>,
    hint: &'static str,
    span: Span,
    words: &'static [&'static str],
) -> Flow {
    ControlFlow::Break(Box::new(Refusal::Unsupported { what: what.into(), hint, span, words }))
}

/// Refuses the first clause that is there.
fn refuse_first(clauses: &[(bool, &str, &'static [&'static str])]) -> Flow {
    match clauses.iter().find(|(present, ..)| *present) {
        Some((_, what, words)) => refuse(format!("{what} is not supported"), LEAVE_OUT, words),
        None => ControlFlow::Continue(()),
    }
}

struct Check;

impl Visitor for Check {
    type Break = Box<Refusal>;

    fn pre_visit_query(&mut self, query: &Query) -> Flow {
        let (limit_by, limit_comma) = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit_by, .. }) => (!limit_by.is_empty(), false),
            Some(LimitClause::OffsetCommaLimit { .. }) => (false, true),
            None => (false, false),
        };
        let fetch = query.fetch.as_ref();
        refuse_first(&[
            (!query.locks.is_empty(), "FOR UPDATE or FOR SHARE", &["FOR"]),
            (query.for_clause.is_some(), "FOR XML or FOR JSON", &["FOR"]),
            (query.settings.is_some(), "SETTINGS", &["SETTINGS"]),
            (query.format_clause.is_some(), "FORMAT", &["FORMAT"]),
            (!query.pipe_operators.is_empty(), "pipe syntax", &[]),
            (fetch.is_some_and(|f| f.with_ties), "FETCH ... WITH TIES", &["FETCH"]),
            (fetch.is_some_and(|f| f.percent), "FETCH ... PERCENT", &["FETCH"]),
            (fetch.is_some(), "FETCH together with LIMIT", &["FETCH"]),
            (limit_by, "LIMIT ... BY", &["LIMIT"]),
            (limit_comma, "LIMIT with a comma", &["LIMIT"]),
        ])?;
        set_expr(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> Flow {
        select.projection.iter().try_for_each(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => no_string(alias),
            _ => ControlFlow::Continue(()),
        })?;
        select_clauses(select)?;
        select.from.iter().try_for_each(joins)
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> Flow {
        relation.0.iter().filter_map(ObjectNamePart::as_ident).try_for_each(no_clause)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Flow {
        table_factor(factor)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Flow {
        match expr {
            Expr::Function(function) => call(function),
            Expr::Identifier(ident) => no_clause(ident),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// A word that begins or joins clauses is no name unless quoted; sqlparser takes
/// it for one where a name is missing, as in `FROM WHERE a`.
fn no_clause(ident: &Ident) -> Flow {
    const WORDS: &[&str] = &[
        "and",
        "as",
        "asc",
        "case",
        "create",
        "cross",
        "desc",
        "distinct",
        "else",
        "end",
        "except",
        "for",
        "from",
        "full",
        "group",
        "having",
        "in",
        "inner",
        "intersect",
        "into",
        "is",
        "join",
        "left",
        "like",
        "limit",
        "natural",
        "not",
        "offset",
        "on",
        "or",
        "order",
        "outer",
        "right",
        "select",
        "table",
        "then",
        "union",
        "using",
        "when",
        "where",
        "window",
        "with",
    ];
    let is_clause = ident.quote_style.is_none()
        && WORDS.binary_search(&ident.value.to_ascii_lowercase().as_str()).is_ok();
    if is_clause {
        return ControlFlow::Break(Box::new(Refusal::Misplaced(ident.span)));
    }
    ControlFlow::Continue(())
}

fn set_expr(body: &SetExpr) -> Flow {
    const DML: &str = "INSERT, UPDATE, DELETE and MERGE are not supported in a query";
    const HINT: &str = "Only SELECT and VALUES can stand here.";
    match body {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => ControlFlow::Continue(()),
        SetExpr::SetOperation { left, set_quantifier, right, .. } => {
            if matches!(
                set_quantifier,
                SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName
            ) {
                return refuse(
                    "BY NAME is not supported",
                    "List the columns in one order.",
                    &["NAME"],
                );
            }
            set_expr(left)?;
            set_expr(right)
        }
        SetExpr::Insert(_) => refuse(DML, HINT, &["INSERT"]),
        SetExpr::Update(_) => refuse(DML, HINT, &["UPDATE"]),
        SetExpr::Delete(_) => refuse(DML, HINT, &["DELETE"]),
        SetExpr::Merge(_) => refuse(DML, HINT, &["MERGE"]),
        SetExpr::Table(_) => {
            refuse("TABLE as a query is not supported", "Write SELECT * FROM the name.", &["TABLE"])
        }
    }
}

fn select_clauses(select: &Select) -> Flow {
    let (group_by_all, group_modifiers) = match &select.group_by {
        GroupByExpr::All(_) => (true, false),
        GroupByExpr::Expressions(_, modifiers) => (false, !modifiers.is_empty()),
    };
    if let Some(into) = &select.into {
        return refuse_at(
            "SELECT INTO is not supported",
            "CREATE MATERIALIZED VIEW keeps a query's result.",
            into.name.span(),
            &["INTO"],
        );
    }
    refuse_first(&[
        (select.top.is_some(), "TOP", &["TOP"]),
        (!select.lateral_views.is_empty(), "LATERAL VIEW", &["LATERAL"]),
        (select.prewhere.is_some(), "PREWHERE", &["PREWHERE"]),
        (!select.connect_by.is_empty(), "CONNECT BY", &["CONNECT"]),
        (!select.cluster_by.is_empty(), "CLUSTER BY", &["CLUSTER"]),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY", &["DISTRIBUTE"]),
        (!select.sort_by.is_empty(), "SORT BY", &["SORT"]),
        (select.select_modifiers.is_some(), "a modifier of SELECT", &["SELECT"]),
        (select.exclude.is_some(), "EXCLUDE", &["EXCLUDE"]),
        (select.value_table_mode.is_some(), "SELECT AS", &["AS"]),
        (group_by_all, "GROUP BY ALL", &["GROUP"]),
        (group_modifiers, "GROUP BY ... WITH", &["GROUP"]),
    ])
}

fn joins(from: &TableWithJoins) -> Flow {
    for join in &from.joins {
        let (what, words): (&str, &'static [&'static str]) = match &join.join_operator {
            _ if join.global => ("GLOBAL JOIN", &["GLOBAL"]),
            JoinOperator::AsOf { .. } => ("ASOF JOIN", &["ASOF"]),
            JoinOperator::CrossApply | JoinOperator::OuterApply => ("APPLY", &["APPLY"]),
            JoinOperator::StraightJoin(_) => ("STRAIGHT_JOIN", &["STRAIGHT_JOIN"]),
            JoinOperator::ArrayJoin
            | JoinOperator::LeftArrayJoin
            | JoinOperator::InnerArrayJoin => ("ARRAY JOIN", &["ARRAY"]),
            _ => continue,
        };
        return refuse(format!("{what} is not supported"), "Use JOIN ... ON.", words);
    }
    ControlFlow::Continue(())
}

/// sqlparser takes a string for an alias; in PostgreSQL a string is a value.
fn no_string(ident: &Ident) -> Flow {
    match ident.quote_style {
        Some('\'') => ControlFlow::Break(Box::new(Refusal::StringAlias(ident.value.clone()))),
        _ => ControlFlow::Continue(()),
    }
}

fn alias_types(alias: Option<&TableAlias>) -> Flow {
    alias.map_or(ControlFlow::Continue(()), |alias| no_string(&alias.name))?;
    match alias.and_then(|alias| alias.columns.iter().find(|c| c.data_type.is_some())) {
        Some(column) => refuse_at(
            "types in a column alias list are not supported",
            "Name the columns only.",
            column.name.span,
            &[],
        ),
        None => ControlFlow::Continue(()),
    }
}

fn table_factor(factor: &TableFactor) -> Flow {
    match factor {
        TableFactor::Table {
            name,
            alias,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
            ..
        } => {
            if version.is_some() {
                return refuse_at(
                    "FOR SYSTEM_TIME AS OF (temporal join) is not supported",
                    "Join with the relation's current rows by leaving the clause out.",
                    name.span(),
                    &["FOR"],
                );
            }
            refuse_first(&[
                (!with_hints.is_empty(), "WITH behind a relation", &["WITH"]),
                (*with_ordinality, "WITH ORDINALITY", &["ORDINALITY"]),
                (!partitions.is_empty(), "PARTITION", &["PARTITION"]),
                (json_path.is_some(), "a path behind a relation", &[]),
                (sample.is_some(), "TABLESAMPLE", &["TABLESAMPLE"]),
                (!index_hints.is_empty(), "an index hint", &["INDEX"]),
            ])?;
            alias_types(alias.as_ref())
        }
        TableFactor::Derived { sample, alias, .. } => {
            refuse_first(&[(sample.is_some(), "TABLESAMPLE", &["TABLESAMPLE"])])?;
            alias_types(alias.as_ref())
        }
        TableFactor::UNNEST { with_offset, with_ordinality, .. } => refuse_first(&[
            (*with_offset, "WITH OFFSET", &["OFFSET"]),
            (*with_ordinality, "WITH ORDINALITY", &["ORDINALITY"]),
        ]),
        TableFactor::Function { with_ordinality, .. } => {
            refuse_first(&[(*with_ordinality, "WITH ORDINALITY", &["ORDINALITY"])])
        }
        TableFactor::NestedJoin { table_with_joins, .. } => joins(table_with_joins),
        TableFactor::TableFunction { .. } => ControlFlow::Continue(()),
        TableFactor::JsonTable { .. } => refuse_first(&[(true, "JSON_TABLE", &["JSON_TABLE"])]),
        TableFactor::OpenJsonTable { .. } => refuse_first(&[(true, "OPENJSON", &["OPENJSON"])]),
        TableFactor::Pivot { .. } => refuse_first(&[(true, "PIVOT", &["PIVOT"])]),
        TableFactor::Unpivot { .. } => refuse_first(&[(true, "UNPIVOT", &["UNPIVOT"])]),
        TableFactor::MatchRecognize { .. } => {
            refuse_first(&[(true, "MATCH_RECOGNIZE", &["MATCH_RECOGNIZE"])])
        }
        TableFactor::XmlTable { .. } => refuse_first(&[(true, "XMLTABLE", &["XMLTABLE"])]),
        TableFactor::SemanticView { .. } => {
            refuse_first(&[(true, "SEMANTIC_VIEW", &["SEMANTIC_VIEW"])])
        }
    }
}

fn call(function: &Function) -> Flow {
    let named = |name: &str| matches!(function.name.0.as_slice(), [ObjectNamePart::Identifier(ident)] if ident.value == name);
    if named(TABLE_MARKER) {
        return ControlFlow::Break(Box::new(Refusal::Misplaced(function.name.span())));
    }
    if !matches!(function.parameters, FunctionArguments::None) || function.uses_odbc_syntax {
        return refuse_at("this form of a call is not supported", LEAVE_OUT, function.span(), &[]);
    }
    ControlFlow::Continue(())
}
