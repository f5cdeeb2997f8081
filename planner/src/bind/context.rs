//! What DataFusion's binder may ask: relations from a catalog snapshot,
//! functions from a session state.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result, TableReference};
use datafusion::config::ConfigOptions;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::planner::{
    ContextProvider, ExprPlanner, RelationPlanner, TypePlanner,
};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource,
    WindowUDF,
};
use sqlparser::tokenizer::Span;
use tidemill_types::{ObjectId, SqlState};

use super::BindInput;
use super::loose::LooseFields;
use crate::catalog::{
    CatalogObject, DEFAULT_SCHEMA, ObjectKind, QualifiedName, SYSTEM_SCHEMA, ViewObject,
};
use crate::error::PlanError;
use crate::rules::TimeOperands;

/// Makes the scans of relations: bare ones for streaming plans
/// ([`CatalogTables`]), ones that can be executed for SELECT (the server's).
pub trait TableSources {
    /// A scan of a source, materialized view or system relation. Its schema must
    /// be [`relation_schema`]'s.
    ///
    /// # Errors
    /// What the server refuses to read, such as an unbounded source.
    fn table_source(&self, object: &Arc<CatalogObject>) -> Result<Arc<dyn TableSource>, PlanError>;
}

/// The columns that a query sees; `None`: the object is nothing to select from.
#[must_use]
pub fn relation_schema(object: &CatalogObject) -> Option<SchemaRef> {
    match &object.kind {
        ObjectKind::Source(source) => {
            let fields: Vec<_> = source.columns.iter().map(|c| c.field.clone()).collect();
            Some(Arc::new(Schema::new(fields)))
        }
        ObjectKind::View(view) => Some(Arc::clone(&view.schema)),
        ObjectKind::MaterializedView(view) => Some(view.schema()),
        ObjectKind::System { schema } => Some(Arc::clone(schema)),
        ObjectKind::Sink(_) => None,
    }
}

/// A relation in a plan that is not going to be executed by DataFusion.
#[derive(Clone, Debug)]
pub struct CatalogTableSource {
    pub object: Arc<CatalogObject>,
    schema: SchemaRef,
}

impl TableSource for CatalogTableSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// Scans made of [`CatalogTableSource`].
#[derive(Clone, Copy, Debug, Default)]
pub struct CatalogTables;

impl TableSources for CatalogTables {
    fn table_source(&self, object: &Arc<CatalogObject>) -> Result<Arc<dyn TableSource>, PlanError> {
        match relation_schema(object) {
            Some(schema) => Ok(Arc::new(CatalogTableSource { object: Arc::clone(object), schema })),
            None => Err(not_readable(object)),
        }
    }
}

fn not_readable(object: &CatalogObject) -> PlanError {
    let message = format!("\"{}\" is a {}", object.name.name, object.kind.noun());
    PlanError::invalid(SqlState::WRONG_OBJECT_TYPE, message, Span::empty())
        .with_hint("Only sources, tables and views can be selected from.")
}

/// A view: its query's plan stands in its place.
struct ExpandedView {
    schema: SchemaRef,
    plan: LogicalPlan,
}

impl TableSource for ExpandedView {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

/// One query's view of the catalog.
pub(super) struct CatalogContext<'a> {
    input: BindInput<'a>,
    type_planner: Arc<dyn TypePlanner>,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
    /// What has been resolved so far.
    relations: RefCell<BTreeSet<ObjectId>>,
}

impl<'a> CatalogContext<'a> {
    pub(super) fn new(input: BindInput<'a>) -> Self {
        CatalogContext {
            input,
            type_planner: Arc::new(crate::functions::SqlTypePlanner),
            expr_planners: [Arc::new(LooseFields) as _, Arc::new(TimeOperands) as _]
                .into_iter()
                .chain(input.state.expr_planners().iter().cloned())
                .collect(),
            relations: RefCell::default(),
        }
    }

    pub(super) fn input(&self) -> BindInput<'a> {
        self.input
    }

    pub(super) fn into_relations(self) -> BTreeSet<ObjectId> {
        self.relations.into_inner()
    }

    /// Whether a source that the query reads has a column of this name that other
    /// spellings mean as well.
    pub(super) fn is_loose(&self, column: &str) -> bool {
        let relations = self.relations.borrow();
        self.input.snapshot.objects.values().any(|object| match &object.kind {
            ObjectKind::Source(source) => {
                source.loose_names
                    && relations.contains(&object.id)
                    && source.columns.iter().any(|c| c.field.name() == column)
            }
            _ => false,
        })
    }

    fn resolve(&self, name: &TableReference) -> Result<&'a Arc<CatalogObject>, PlanError> {
        let snapshot = self.input.snapshot;
        let undefined = |name: String| PlanError::UndefinedTable { name, at: None, hint: None };
        match name {
            TableReference::Full { catalog, .. } => Err(PlanError::unsupported(
                format!("cross-database references are not supported: \"{catalog}\""),
                Span::empty(),
            )),
            TableReference::Partial { schema, table } => {
                let qualified = QualifiedName::new(schema.as_ref(), table.as_ref());
                match snapshot.get(&qualified) {
                    Some(object) => Ok(object),
                    None => Err(undefined(qualified.to_string())),
                }
            }
            TableReference::Bare { table } => self
                .schemas()
                .find_map(|s| snapshot.get(&QualifiedName::new(s, table.as_ref())))
                .ok_or_else(|| undefined(table.to_string())),
        }
    }

    fn schemas(&self) -> impl Iterator<Item = &'a str> {
        let path = self.input.search_path;
        let fallback = path.is_empty().then_some(DEFAULT_SCHEMA);
        path.iter().map(String::as_str).chain(fallback).chain([SYSTEM_SCHEMA])
    }

    fn expand(&self, view: &ViewObject) -> Result<Arc<dyn TableSource>> {
        let context =
            CatalogContext::new(BindInput { search_path: &view.search_path, ..self.input });
        let plan = view_plan(view, &context)
            .map_err(|error| DataFusionError::from(PlanError::from(error).without_position()))?;
        Ok(Arc::new(ExpandedView { schema: Arc::clone(&view.schema), plan }))
    }
}

/// The plan of a view's query under the view's column names.
fn view_plan(view: &ViewObject, context: &CatalogContext<'_>) -> Result<LogicalPlan> {
    let mut query = *crate::parse::parse_query(&view.query)?;
    super::intervals::read_in_query(&mut query)?;
    super::columns::name_columns(&mut query);
    let plan = super::bind_plan(query, context, &[], 0)?;
    let columns = plan.schema().columns();
    let renamed = columns
        .into_iter()
        .zip(view.schema.fields())
        .map(|(column, field)| Expr::Column(column).alias(field.name()));
    LogicalPlanBuilder::from(plan.clone()).project(renamed)?.build()
}

impl ContextProvider for CatalogContext<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let object = self.resolve(&name)?;
        self.relations.borrow_mut().insert(object.id);
        match &object.kind {
            ObjectKind::View(view) => self.expand(view),
            ObjectKind::Sink(_) => Err(not_readable(object).into()),
            _ => Ok(self.input.tables.table_source(object)?),
        }
    }

    fn get_table_function_source(
        &self,
        name: &str,
        _args: Vec<Expr>,
    ) -> Result<Arc<dyn TableSource>> {
        Err(PlanError::UndefinedFunction {
            signature: format!("{}()", name.to_lowercase()),
            at: None,
            hint: Some("Functions in FROM are TUMBLE and HOP.".to_owned()),
        }
        .into())
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.input.state.relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::clone(&self.type_planner))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.input.state.scalar_functions().get(unqualified(name)).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.input.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.input.state.aggregate_functions().get(unqualified(name)).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.input.state.window_functions().get(unqualified(name)).cloned()
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.input.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        visible(self.input.state.scalar_functions().keys())
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        visible(self.input.state.higher_order_functions().keys())
    }

    fn udaf_names(&self) -> Vec<String> {
        visible(self.input.state.aggregate_functions().keys())
    }

    fn udwf_names(&self) -> Vec<String> {
        visible(self.input.state.window_functions().keys())
    }
}

/// All functions are in `pg_catalog`, which may be said.
fn unqualified(function: &str) -> &str {
    function.strip_prefix("pg_catalog.").unwrap_or(function)
}

/// The names that suggestions may show.
fn visible<'n>(names: impl Iterator<Item = &'n String>) -> Vec<String> {
    names.filter(|n| !tidemill_types::hidden::is_hidden(n)).cloned().collect()
}
