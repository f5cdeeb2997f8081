//! A window table function as a logical node: its input's columns, then
//! `window_start` and `window_end`, one row per window that contains the row.
//!
//! The node says what the rows are, not how they come about: streaming lowers it
//! to slices or repeated rows ([`crate::lower`]), batch to a projection
//! ([`crate::rules::expand_windows`]). In both, a row with a NULL time is in no
//! window.
//!
//! Invariant: nothing that mentions a window column moves below the node, and no
//! limit does; predicates on other columns may, since whether a row is in a
//! window depends on its time alone.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, DFSchemaRef, DataFusionError, Result, internal_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use tidemill_types::WindowSpec;

/// The first added column: the window's inclusive begin.
pub const WINDOW_START: &str = "window_start";
/// The second added column: the window's exclusive end.
pub const WINDOW_END: &str = "window_end";

/// Which function the user called; for messages and EXPLAIN.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum WindowFunction {
    Tumble,
    Hop,
}

impl WindowFunction {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            WindowFunction::Tumble => "TUMBLE",
            WindowFunction::Hop => "HOP",
        }
    }
}

/// `TUMBLE(input, time, size, offset)` or `HOP(input, time, slide, size, offset)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WindowTvf {
    pub function: WindowFunction,
    pub input: LogicalPlan,
    /// A column of `input` of type `Timestamp(us)`.
    pub time: Column,
    pub window: WindowSpec,
    schema: DFSchemaRef,
}

impl WindowTvf {
    /// Fails if `input` has no column `time`, or a column of an added one's name.
    pub fn try_new(
        function: WindowFunction,
        input: LogicalPlan,
        time: Column,
        window: WindowSpec,
    ) -> Result<Self> {
        let (qualifier, field) = input.schema().qualified_field_from_column(&time)?;
        let bound = |name| {
            (qualifier.cloned(), Arc::new(Field::new(name, field.data_type().clone(), false)))
        };
        let added = [bound(WINDOW_START), bound(WINDOW_END)];
        let fields =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).chain(added).collect();
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, metadata)?);
        Ok(WindowTvf { function, input, time, window, schema })
    }

    /// As a plan.
    #[must_use]
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The type of the added columns.
    #[must_use]
    pub fn time_type(&self) -> &DataType {
        self.schema.field(self.schema.fields().len() - 1).data_type()
    }

    fn key(&self) -> (WindowFunction, i64, i64, i64, &Column) {
        (self.function, self.window.size, self.window.slide, self.window.offset, &self.time)
    }
}

impl Hash for WindowTvf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for WindowTvf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.key().partial_cmp(&other.key()) {
            Some(Ordering::Equal) => self.input.partial_cmp(&other.input),
            order => order,
        }
    }
}

impl UserDefinedLogicalNodeCore for WindowTvf {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![Expr::Column(self.time.clone())]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        [WINDOW_START, WINDOW_END].into_iter().map(str::to_owned).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WindowSpec { size, slide, offset } = self.window;
        write!(f, "{}: time={}, size={size}us", self.function.name(), self.time)?;
        if slide != size {
            write!(f, ", slide={slide}us")?;
        }
        if offset != 0 {
            write!(f, ", offset={offset}us")?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Ok([time]), Ok([input])) =
            (<[Expr; 1]>::try_from(exprs), <[LogicalPlan; 1]>::try_from(inputs))
        else {
            return internal_err!("a window function has one time column and one input");
        };
        let time = match time.unalias() {
            Expr::Column(column) => column,
            other => return internal_err!("the time of a window became {other}"),
        };
        Self::try_new(self.function, input, time, self.window)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let input = self.input.schema();
        let time = input.index_of_column(&self.time).ok()?;
        let mut needed: Vec<usize> =
            output_columns.iter().copied().filter(|i| *i < input.fields().len()).collect();
        needed.push(time);
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }
}

/// A plan node of this kind, if `plan` is one.
impl<'a> TryFrom<&'a LogicalPlan> for &'a WindowTvf {
    type Error = DataFusionError;

    fn try_from(plan: &'a LogicalPlan) -> Result<Self> {
        if let LogicalPlan::Extension(Extension { node }) = plan
            && let Some(tvf) = node.as_any().downcast_ref::<WindowTvf>()
        {
            return Ok(tvf);
        }
        internal_err!("{} is not a window function", plan.display())
    }
}
