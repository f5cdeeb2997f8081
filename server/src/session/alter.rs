//! ALTER: what changes about an object while it exists.

use tidemill_planner::ddl::analyze_alter_parallelism;
use tidemill_planner::parse::AlterParallelism;
use tidemill_types::{Diagnostic, SqlState};

use super::SqlSession;
use super::api::{Execution, StatementText};

impl SqlSession {
    /// Brings a job to another number of workers; returns when it runs there.
    pub(super) async fn alter_parallelism(
        &mut self,
        alter: &AlterParallelism,
        text: &StatementText,
    ) -> Result<Execution, Diagnostic> {
        let tag = format!("ALTER {}", alter.kind.noun().to_uppercase());
        self.outside_transaction(&tag)?;
        let snapshot = self.shared.catalog.snapshot();
        let found = analyze_alter_parallelism(alter, &self.settings.search_path(), &snapshot)
            .map_err(|e| e.diagnostic(&text.source))?;
        let Some((object, job)) = found else {
            self.notice(Diagnostic::new(
                SqlState::SUCCESS,
                format!("relation \"{}\" does not exist, skipping", alter.name),
            ));
            return Ok(Execution::Command { tag });
        };
        let engine = self.shared.engine.clone();
        let workers = engine.workers();
        let wanted = alter.parallelism.map_or(workers, |n| n as usize);
        if wanted > workers {
            self.notice(Diagnostic::new(
                SqlState::SUCCESS,
                format!("the server has {workers} workers; \"{}\" runs on all", object.name.name),
            ));
        }
        let rescaled = self.shared.queries.block(move || engine.rescale(job, wanted)).await?;
        let pause = rescaled.map_err(|e| e.diagnostic())?;
        let (id, setting) = (object.id, alter.parallelism.unwrap_or(0));
        self.change(move |catalog| catalog.set_parallelism(id, setting)).await?;
        tracing::info!(object = %object.name, parallelism = wanted, ?pause, "rescaled");
        self.transaction.forget_implicit_pin();
        Ok(Execution::Command { tag })
    }
}
