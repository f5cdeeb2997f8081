//! DROP. It always works: on a failed job, on one that is being created.

use std::sync::Arc;

use sqlparser::ast::Ident;
use tidemill_planner::catalog::{CatalogObject, ObjectKind};
use tidemill_planner::ddl::{DropPlan, analyze_drop, analyze_drop_schema};
use tidemill_planner::parse::{Drop, DropBehavior};
use tidemill_types::{Diagnostic, SqlState};

use super::api::{Execution, StatementText};
use super::{Shared, SqlSession};

type Result<T> = std::result::Result<T, Diagnostic>;

/// Stops the jobs of objects that have left the catalog and frees their contents.
/// Blocks until the workers have let go.
pub(super) fn release(shared: &Shared, gone: &[Arc<CatalogObject>]) {
    for object in gone {
        let job = match &object.kind {
            ObjectKind::MaterializedView(view) => Some(view.job),
            ObjectKind::Sink(sink) => sink.job,
            _ => None,
        };
        if let Some(Err(error)) = job.map(|job| shared.engine.drop_job(job)) {
            tracing::warn!(object = %object.name, %error, "dropping a job");
        }
        shared.views.drop_view(object.id);
    }
}

impl SqlSession {
    pub(super) async fn drop_relations(
        &mut self,
        drop: &Drop,
        text: &StatementText,
    ) -> Result<Execution> {
        let tag = format!("DROP {}", drop.kind.noun().to_uppercase());
        self.outside_transaction(&tag)?;
        let snapshot = self.shared.catalog.snapshot();
        let plan = analyze_drop(drop, &self.settings.search_path(), &snapshot)
            .map_err(|e| e.diagnostic(&text.source))?;
        self.apply(plan, drop.behavior).await?;
        Ok(Execution::Command { tag })
    }

    pub(super) async fn drop_schemas(
        &mut self,
        names: &[Ident],
        if_exists: bool,
        behavior: DropBehavior,
        text: &StatementText,
    ) -> Result<Execution> {
        const TAG: &str = "DROP SCHEMA";
        self.outside_transaction(TAG)?;
        let snapshot = self.shared.catalog.snapshot();
        let plan = analyze_drop_schema(names, if_exists, behavior, &snapshot)
            .map_err(|e| e.diagnostic(&text.source))?;
        self.apply(plan, behavior).await?;
        Ok(Execution::Command { tag: TAG.to_owned() })
    }

    /// Carries out what was decided against a snapshot. The catalog checks again:
    /// what came to depend on the objects in between is found there.
    async fn apply(&mut self, plan: DropPlan, behavior: DropBehavior) -> Result<()> {
        let cascade = behavior == DropBehavior::Cascade;
        let mut gone = self.shared.catalog.drop_objects(&plan.objects, cascade)?;
        for schema in &plan.schemas {
            gone.extend(self.shared.catalog.drop_schema(schema, cascade)?);
        }
        self.transaction.forget_implicit_pin();
        for notice in plan.notices {
            self.notice(Diagnostic::new(SqlState::SUCCESS, notice));
        }
        let shared = Arc::clone(&self.shared);
        self.shared.queries.block(move || release(&shared, &gone)).await
    }
}
