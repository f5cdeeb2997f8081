//! Statements about the session itself: settings and transactions.

use sqlparser::ast::Ident;
use tidemill_planner::PlanError;
use tidemill_planner::parse::{
    DiscardTarget, IsolationLevel, Set, SetValue, SettingName, TransactionModes, fold,
};
use tidemill_types::{Diagnostic, SqlState};

use super::SqlSession;
use super::api::{Execution, StatementText};

type Result<T> = std::result::Result<T, Diagnostic>;

fn command(tag: &str) -> Result<Execution> {
    Ok(Execution::Command { tag: tag.to_owned() })
}

/// An error about a setting, at its name.
fn at_name(diagnostic: Diagnostic, name: &SettingName, text: &StatementText) -> Diagnostic {
    PlanError::from(diagnostic).or_at(name.span).diagnostic(&text.source)
}

impl SqlSession {
    pub(super) fn set(&mut self, set: &Set, text: &StatementText) -> Result<Execution> {
        if set.local && !self.transaction.in_block() {
            self.notice(Diagnostic::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET LOCAL can only be used in transaction blocks",
            ));
            return command("SET");
        }
        let done = match &set.value {
            SetValue::Default => self.settings.reset(&set.name.name, set.local),
            SetValue::Values(values) => self.settings.set(&set.name.name, values, set.local),
        };
        done.map_err(|d| at_name(d, &set.name, text))?;
        command("SET")
    }

    pub(super) fn reset(
        &mut self,
        name: Option<&SettingName>,
        text: &StatementText,
    ) -> Result<Execution> {
        match name {
            None => self.settings.reset_all(),
            Some(name) => {
                self.settings.reset(&name.name, false).map_err(|d| at_name(d, name, text))?;
            }
        }
        command("RESET")
    }

    pub(super) fn set_transaction(
        &mut self,
        session: bool,
        modes: TransactionModes,
    ) -> Result<Execution> {
        if !session && !self.transaction.in_block() {
            self.notice(Diagnostic::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET TRANSACTION can only be used in transaction blocks",
            ));
            return command("SET");
        }
        let prefix = if session { "default_transaction" } else { "transaction" };
        self.apply_modes(prefix, modes, !session)?;
        command("SET")
    }

    fn apply_modes(&mut self, prefix: &str, modes: TransactionModes, local: bool) -> Result<()> {
        let on_off = |on: bool| if on { "on" } else { "off" };
        let values = [
            ("isolation", modes.isolation.map(isolation_name)),
            ("read_only", modes.read_only.map(on_off)),
            ("deferrable", modes.deferrable.map(on_off)),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                self.settings.set(&format!("{prefix}_{name}"), &[value.to_owned()], local)?;
            }
        }
        Ok(())
    }

    pub(super) fn begin(&mut self, modes: TransactionModes) -> Result<Execution> {
        if !self.transaction.begin(&mut self.settings) {
            self.notice(Diagnostic::new(
                SqlState::ACTIVE_SQL_TRANSACTION,
                "there is already a transaction in progress",
            ));
            return command("BEGIN");
        }
        for name in ["isolation", "read_only", "deferrable"] {
            let value = self.settings.get(&format!("default_transaction_{name}")).to_owned();
            self.settings.set(&format!("transaction_{name}"), &[value], true)?;
        }
        self.apply_modes("transaction", modes, true)?;
        command("BEGIN")
    }

    pub(super) fn end_transaction(&mut self, commit: bool) -> Result<Execution> {
        match self.transaction.end(commit, &mut self.settings) {
            Some(true) => command("COMMIT"),
            Some(false) => command("ROLLBACK"),
            None => {
                self.notice(Diagnostic::new(
                    SqlState::NO_ACTIVE_SQL_TRANSACTION,
                    "there is no transaction in progress",
                ));
                command(if commit { "COMMIT" } else { "ROLLBACK" })
            }
        }
    }

    pub(super) fn savepoint(&mut self, name: &Ident) -> Result<Execution> {
        self.transaction.savepoint(fold(name), &self.settings)?;
        command("SAVEPOINT")
    }

    pub(super) fn release_savepoint(&mut self, name: &Ident) -> Result<Execution> {
        self.transaction.release(&fold(name))?;
        command("RELEASE")
    }

    pub(super) fn rollback_to(&mut self, name: &Ident) -> Result<Execution> {
        self.transaction.rollback_to(&fold(name), &mut self.settings)?;
        command("ROLLBACK")
    }

    pub(super) fn discard(&mut self, target: DiscardTarget) -> Result<Execution> {
        let tag = match target {
            DiscardTarget::All => {
                self.outside_transaction("DISCARD ALL")?;
                self.settings.reset_all();
                "DISCARD ALL"
            }
            DiscardTarget::Plans => "DISCARD PLANS",
            DiscardTarget::Sequences => "DISCARD SEQUENCES",
            DiscardTarget::Temp => "DISCARD TEMP",
        };
        command(tag)
    }

    /// 25001 inside BEGIN .. COMMIT: changes of the catalog take effect at once and
    /// cannot be rolled back.
    pub(super) fn outside_transaction(&self, what: &str) -> Result<()> {
        if self.transaction.in_block() {
            return Err(Diagnostic::new(
                SqlState::ACTIVE_SQL_TRANSACTION,
                format!("{what} cannot run inside a transaction block"),
            )
            .with_hint("COMMIT first: changes of the catalog cannot be rolled back."));
        }
        Ok(())
    }
}

fn isolation_name(level: IsolationLevel) -> &'static str {
    match level {
        IsolationLevel::ReadUncommitted => "read uncommitted",
        IsolationLevel::ReadCommitted => "read committed",
        IsolationLevel::RepeatableRead => "repeatable read",
        IsolationLevel::Serializable => "serializable",
    }
}
