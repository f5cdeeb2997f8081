//! DROP. It always works: on a failed job, on one that is being created.

use std::sync::Arc;

use sqlparser::ast::Ident;
use tidemill_planner::catalog::CatalogObject;
use tidemill_planner::ddl::{DropPlan, analyze_drop, analyze_drop_schema};
use tidemill_planner::parse::{Drop, DropBehavior};
use tidemill_types::{Diagnostic, SqlState};

use super::api::{Execution, StatementText};
use super::{Shared, SqlSession};
use crate::catalog::{CatalogError, Removal, job_of};

type Result<T> = std::result::Result<T, Diagnostic>;

/// Stops the jobs of objects that have left the catalog and frees their contents.
/// Blocks until the workers have let go.
fn release(shared: &Shared, gone: &[Arc<CatalogObject>]) {
    for object in gone {
        if let Some(Err(error)) = job_of(object).map(|job| shared.engine.drop_job(job)) {
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
        let (objects, schemas) = (plan.objects, plan.schemas);
        let shared = Arc::clone(&self.shared);
        // Jobs are stopped only when it is written down that they are gone. A server
        // that stops in between frees what they leave when it starts again.
        let remove = move || {
            let removal = Removal { objects: &objects, schemas: &schemas, cascade };
            let gone = shared.catalog.drop(removal)?;
            release(&shared, &gone);
            Ok::<_, CatalogError>(())
        };
        self.shared.queries.block(remove).await??;
        self.transaction.forget_implicit_pin();
        for notice in plan.notices {
            self.notice(Diagnostic::new(SqlState::SUCCESS, notice));
        }
        Ok(())
    }
}
