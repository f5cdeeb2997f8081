//! Looking through a query's syntax tree.
//!
//! sqlparser's visitors are generic over the whole tree: every visitor type
//! compiles all of it anew. So there is one type, and what to do is a closure.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Query, Visit, Visitor};

/// What is met on the way down, in the order of the text's structure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Syntax<'a> {
    Query(&'a Query),
    Expr(&'a Expr),
}

/// Calls `visit` for `query`, its subqueries and all expressions, outer ones
/// first, until it breaks.
pub(crate) fn walk(query: &Query, visit: &mut dyn FnMut(Syntax<'_>) -> ControlFlow<()>) {
    let _: ControlFlow<()> = query.visit(&mut Walker { visit });
}

struct Walker<'a> {
    visit: &'a mut dyn FnMut(Syntax<'_>) -> ControlFlow<()>,
}

impl Visitor for Walker<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        (self.visit)(Syntax::Query(query))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        (self.visit)(Syntax::Expr(expr))
    }
}
