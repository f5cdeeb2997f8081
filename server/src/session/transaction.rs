//! Transactions: which epoch statements read, and what an error does.
//!
//! ```text
//!            BEGIN                      error
//!   idle ------------> in transaction ---------> failed
//!    ^  <------------- COMMIT, ROLLBACK    ^       | ROLLBACK TO
//!    |                                     +-------+
//!    +---------- COMMIT (as ROLLBACK), ROLLBACK ---+
//! ```
//!
//! The first SELECT of a transaction pins an epoch and everything after it reads
//! that epoch; outside of transactions every statement pins its own. The
//! statements of one message, or up to a Sync, form an implicit transaction,
//! which only shares the pin. A session never reads an epoch before one that it
//! has read.
//!
//! There is no DML, so there is nothing to undo but settings. Cursors end with the
//! transaction, or with the savepoint that they were declared after.

use std::collections::HashMap;
use std::sync::Arc;

use tidemill_runtime::{Engine, EpochPin};
use tidemill_types::{Diagnostic, Epoch, SqlState};

use super::api::TransactionStatus;
use super::cursor::Cursor;
use super::settings::Settings;
use crate::serve::ReadSet;

/// The transaction state of a session.
#[derive(Debug, Default)]
pub struct Transaction {
    block: Option<Block>,
    implicit: bool,
    /// What the open (or implicit) transaction reads; taken by its first SELECT.
    pin: Option<Arc<EpochPin>>,
    /// The newest epoch that the session has read.
    last: Epoch,
}

#[derive(Debug, Default)]
struct Block {
    failed: bool,
    /// Innermost last, with the settings to go back to.
    savepoints: Vec<(String, Settings)>,
    /// By name; each remembers how many savepoints there were before it.
    cursors: HashMap<String, Cursor>,
}

/// 25P02.
#[must_use]
pub fn failed_transaction() -> Diagnostic {
    Diagnostic::new(
        SqlState::IN_FAILED_SQL_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

impl Transaction {
    #[must_use]
    pub fn status(&self) -> TransactionStatus {
        match &self.block {
            None => TransactionStatus::Idle,
            Some(block) if block.failed => TransactionStatus::Failed,
            Some(_) => TransactionStatus::InTransaction,
        }
    }

    /// Inside BEGIN .. COMMIT, failed or not.
    #[must_use]
    pub fn in_block(&self) -> bool {
        self.block.is_some()
    }

    pub fn begin_implicit(&mut self) {
        self.implicit = true;
    }

    pub fn end_implicit(&mut self) {
        self.implicit = false;
        if self.block.is_none() {
            self.pin = None;
        }
    }

    /// BEGIN. False: there is a transaction already.
    pub fn begin(&mut self, settings: &mut Settings) -> bool {
        if self.block.is_some() {
            return false;
        }
        self.block = Some(Block::default());
        settings.begin();
        true
    }

    /// COMMIT or ROLLBACK. `None`: there was no transaction; else whether it was
    /// committed.
    pub fn end(&mut self, commit: bool, settings: &mut Settings) -> Option<bool> {
        self.pin = None;
        let block = self.block.take()?;
        let committed = commit && !block.failed;
        settings.end(committed);
        Some(committed)
    }

    /// An error fails an open transaction.
    pub fn fail(&mut self) {
        if let Some(block) = &mut self.block {
            block.failed = true;
            // Nothing mends the transaction but a savepoint, and what was declared
            // after the last of them does not outlive that.
            let savepoints = block.savepoints.len();
            block.cursors.retain(|_, cursor| cursor.savepoints < savepoints);
            block.cursors.values().for_each(Cursor::fail_if_read);
        }
        if self.block.is_none() {
            self.pin = None;
        }
    }

    /// SAVEPOINT.
    ///
    /// # Errors
    /// 25P01 outside of a transaction.
    pub fn savepoint(&mut self, name: String, settings: &Settings) -> Result<(), Diagnostic> {
        let block = self.block_for("SAVEPOINT")?;
        block.savepoints.push((name, settings.clone()));
        Ok(())
    }

    /// RELEASE SAVEPOINT.
    ///
    /// # Errors
    /// 25P01 outside of a transaction, 3B001 for an unknown savepoint.
    pub fn release(&mut self, name: &str) -> Result<(), Diagnostic> {
        let block = self.block_for("RELEASE SAVEPOINT")?;
        let at = position(block, name)?;
        block.savepoints.truncate(at);
        for cursor in block.cursors.values_mut() {
            cursor.savepoints = cursor.savepoints.min(at);
        }
        Ok(())
    }

    /// ROLLBACK TO SAVEPOINT: also mends a failed transaction.
    ///
    /// # Errors
    /// As [`Self::release`].
    pub fn rollback_to(&mut self, name: &str, settings: &mut Settings) -> Result<(), Diagnostic> {
        let block = self.block_for("ROLLBACK TO SAVEPOINT")?;
        let at = position(block, name)?;
        block.savepoints.truncate(at + 1);
        block.cursors.retain(|_, cursor| cursor.savepoints <= at);
        if let Some((_, before)) = block.savepoints.last() {
            settings.restore(before);
        }
        block.failed = false;
        Ok(())
    }

    /// How many savepoints there are.
    #[must_use]
    pub fn savepoints(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.savepoints.len())
    }

    /// The open cursors, for `command` to add one.
    ///
    /// # Errors
    /// 25P01 outside of a transaction.
    pub fn cursors(&mut self, command: &str) -> Result<&mut HashMap<String, Cursor>, Diagnostic> {
        Ok(&mut self.block_for(command)?.cursors)
    }

    #[must_use]
    pub fn cursor(&self, name: &str) -> Option<&Cursor> {
        self.block.as_ref()?.cursors.get(name)
    }

    /// Ends a cursor, if there is one of that name.
    pub fn close_cursor(&mut self, name: &str) {
        if let Some(block) = &mut self.block {
            block.cursors.remove(name);
        }
    }

    pub fn close_cursors(&mut self) {
        if let Some(block) = &mut self.block {
            block.cursors.clear();
        }
    }

    fn block_for(&mut self, command: &str) -> Result<&mut Block, Diagnostic> {
        self.block.as_mut().ok_or_else(|| {
            Diagnostic::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                format!("{command} can only be used in transaction blocks"),
            )
        })
    }

    /// The epoch that a statement reads: the transaction's, or a new one.
    ///
    /// # Errors
    /// What the engine refuses: 55000, 40001.
    pub async fn pin(
        &mut self,
        reads: &ReadSet,
        engine: &Engine,
    ) -> Result<Arc<EpochPin>, Diagnostic> {
        let jobs: Vec<_> = reads.jobs.iter().copied().collect();
        if let Some(pin) = &self.pin {
            engine.wait_visible(&jobs, pin.epoch()).await.map_err(|e| e.diagnostic())?;
            return Ok(Arc::clone(pin));
        }
        // A transaction may go on to views that its first statement does not name.
        let pin = match self.block {
            Some(_) => engine.pin_all(&jobs, self.last).await,
            None => engine.pin(&jobs, self.last).await,
        };
        let pin = Arc::new(pin.map_err(|e| e.diagnostic())?);
        self.last = self.last.max(pin.epoch());
        if self.block.is_some() || self.implicit {
            self.pin = Some(Arc::clone(&pin));
        }
        Ok(pin)
    }

    /// What was created or dropped must be seen by the statements after it.
    pub fn forget_implicit_pin(&mut self) {
        if self.block.is_none() {
            self.pin = None;
        }
    }
}

fn position(block: &Block, name: &str) -> Result<usize, Diagnostic> {
    block.savepoints.iter().rposition(|(n, _)| n == name).ok_or_else(|| {
        Diagnostic::new(SqlState::INVALID_SAVEPOINT, format!("savepoint \"{name}\" does not exist"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_fails_a_transaction_until_its_end() {
        let (mut t, mut s) = (Transaction::default(), Settings::new("u"));
        t.fail();
        assert_eq!(t.status(), TransactionStatus::Idle);
        assert!(t.begin(&mut s));
        assert!(!t.begin(&mut s), "a second BEGIN changes nothing");
        s.set("application_name", &["x".to_owned()], false).unwrap();
        t.fail();
        assert_eq!(t.status(), TransactionStatus::Failed);
        assert_eq!(t.end(true, &mut s), Some(false), "COMMIT of a failed one rolls back");
        assert_eq!(s.get("application_name"), "");
        assert_eq!(t.end(true, &mut s), None);
    }

    #[test]
    fn savepoints_mend_a_failed_transaction() {
        let (mut t, mut s) = (Transaction::default(), Settings::new("u"));
        assert!(t.savepoint("a".to_owned(), &s).is_err());
        t.begin(&mut s);
        t.savepoint("a".to_owned(), &s).unwrap();
        s.set("application_name", &["x".to_owned()], false).unwrap();
        t.savepoint("b".to_owned(), &s).unwrap();
        t.fail();
        t.rollback_to("a", &mut s).unwrap();
        assert_eq!(t.status(), TransactionStatus::InTransaction);
        assert_eq!(s.get("application_name"), "");
        assert!(t.release("b").is_err(), "b went with the rollback");
        t.release("a").unwrap();
        assert!(t.rollback_to("a", &mut s).is_err());
        assert_eq!(t.end(true, &mut s), Some(true));
    }
}
