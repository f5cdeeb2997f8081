//! SQL cursors: DECLARE, FETCH, MOVE, CLOSE.
//!
//! A cursor is the stream of a running query, at the epoch that was pinned at
//! DECLARE, and the place up to which it has been read. FETCH takes the stream out
//! of the cursor, reads as many rows as it is to give, and puts it back; so rows
//! are made when they are fetched, and one batch is all that is kept of them.
//!
//! ```text
//!            FETCH                   rows read, or the result dropped
//!   Ready ----------> Reading -------------------------------------> Ready
//!                        |  error                                (with rows owed)
//!                        +-------> Failed
//! ```
//!
//! Rows of a FETCH whose result was not read to its end are *owed*: the next FETCH
//! passes them first, and so begins where PostgreSQL would.
//!
//! Cursors are a transaction's and end with it ([`super::transaction`]). They go
//! forward only.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use sqlparser::ast::Ident;
use tidemill_planner::PlanError;
use tidemill_planner::parse::{DeclareCursor, Direction, Fetch, RowCount, fold};
use tidemill_types::{Diagnostic, SqlState};

use super::SqlSession;
use super::api::{CursorShape, Execution, StatementText};
use super::prepared::Prepared;
use crate::serve::Rows;

type Result<T> = std::result::Result<T, Diagnostic>;

/// Open cursors of a session: each is a running query.
pub(super) const CURSORS_MAX: usize = 100;

/// More rows than can come.
const ALL: u64 = u64::MAX;

/// An open cursor.
#[derive(Debug)]
pub(super) struct Cursor {
    pub shape: CursorShape,
    /// How many savepoints there were at DECLARE.
    pub savepoints: usize,
    slot: Arc<Mutex<Slot>>,
}

enum Slot {
    Ready(Box<Reader>),
    Reading,
    Failed,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Slot::Ready(reader) => f.debug_tuple("Ready").field(&reader.place).finish(),
            Slot::Reading => f.write_str("Reading"),
            Slot::Failed => f.write_str("Failed"),
        }
    }
}

/// A query's rows, read up to some place.
struct Reader {
    /// `None` behind the last row.
    rows: Option<Rows>,
    /// What has come and has not been read.
    rest: Option<RecordBatch>,
    place: Place,
    owed: u64,
}

/// Where a cursor stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Place {
    /// Rows that have been passed. The cursor stands on the last of them, unless
    /// it is behind the end.
    passed: u64,
    ended: bool,
}

impl Place {
    fn is_on_row(self) -> bool {
        self.passed > 0 && !self.ended
    }
}

/// What FETCH does to a cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Passes `skip` rows and gives `take`.
    On { skip: u64, take: u64 },
    /// Stays on its row, or where there is none.
    Stay,
}

/// What a direction means at a place.
///
/// # Errors
/// 55000 for a row that has been passed.
fn step(direction: Direction, place: Place) -> Result<Step> {
    let on = |skip, take| Ok(Step::On { skip, take });
    match direction {
        Direction::Forward(RowCount::All) => on(0, ALL),
        Direction::Forward(RowCount::Rows(n)) if n > 0 => on(0, n.unsigned_abs()),
        Direction::Backward(RowCount::Rows(n)) if n < 0 => on(0, n.unsigned_abs()),
        Direction::Forward(RowCount::Rows(0))
        | Direction::Backward(RowCount::Rows(0))
        | Direction::Relative(0) => Ok(Step::Stay),
        Direction::Relative(n) if n > 0 => on(n.unsigned_abs() - 1, 1),
        Direction::Absolute(0) if place == Place::default() => on(0, 0),
        Direction::Absolute(n) if n > 0 => {
            let at = place.passed + u64::from(place.ended);
            match n.unsigned_abs().checked_sub(at + 1) {
                Some(skip) => on(skip, 1),
                None => Err(backward()),
            }
        }
        _ => Err(backward()),
    }
}

fn backward() -> Diagnostic {
    Diagnostic::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "cursor can only scan forward")
        .with_hint("Declare another cursor to read the rows again.")
}

impl Cursor {
    fn new(shape: CursorShape, savepoints: usize, rows: Rows) -> Self {
        let reader = Reader { rows: Some(rows), rest: None, place: Place::default(), owed: 0 };
        let slot = Arc::new(Mutex::new(Slot::Ready(Box::new(reader))));
        Cursor { shape, savepoints, slot }
    }

    /// An error has ended the statement: if that was in the middle of a FETCH, it is
    /// unknown where the cursor stands.
    pub fn fail_if_read(&self) {
        let mut slot = self.slot.lock();
        let between = matches!(&*slot, Slot::Ready(reader) if reader.owed == 0);
        if !between {
            *slot = Slot::Failed;
        }
    }

    fn take(&self, name: &str) -> Result<Held> {
        let mut slot = self.slot.lock();
        let refused = |what: &str, hint: &str| {
            let message = format!("cursor \"{name}\" {what}");
            Diagnostic::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).with_hint(hint)
        };
        match std::mem::replace(&mut *slot, Slot::Reading) {
            Slot::Ready(reader) => Ok(Held { slot: Arc::clone(&self.slot), reader: Some(reader) }),
            Slot::Reading => {
                let hint = "Read that result to its end or close it.";
                Err(refused("is being read by another FETCH", hint))
            }
            Slot::Failed => {
                *slot = Slot::Failed;
                Err(refused("cannot be read any more", "An error has ended its query."))
            }
        }
    }
}

/// A reader that goes back to its cursor.
struct Held {
    slot: Arc<Mutex<Slot>>,
    /// `None` after an error.
    reader: Option<Box<Reader>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut slot = self.slot.lock();
        // A transaction that failed meanwhile has the last word.
        if matches!(*slot, Slot::Reading) {
            *slot = self.reader.take().map_or(Slot::Failed, Slot::Ready);
        }
    }
}

impl Held {
    /// The next rows of those that are owed; `None`: there are no more.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let next = reader.next().await;
        if next.is_err() {
            self.reader = None;
        }
        next
    }

    /// Passes the rows that are owed, and answers how many there were.
    async fn pass(&mut self) -> Result<u64> {
        let mut passed = 0;
        while let Some(batch) = self.next().await? {
            passed += batch.num_rows() as u64;
        }
        Ok(passed)
    }

    fn owe(&mut self, rows: u64) {
        if let Some(reader) = &mut self.reader {
            reader.owed = rows;
        }
    }

    fn place(&self) -> Place {
        self.reader.as_ref().map_or_else(Place::default, |reader| reader.place)
    }

    /// The rows that are owed, as a result.
    fn into_rows(self) -> BoxStream<'static, Result<RecordBatch>> {
        stream::try_unfold(self, |mut held| async move {
            Ok(held.next().await?.map(|batch| (batch, held)))
        })
        .boxed()
    }
}

impl Reader {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.owed > 0 {
            if let Some(batch) = self.rest.take() {
                return Ok(Some(self.cut(batch)));
            }
            let Some(rows) = &mut self.rows else { break };
            match rows.next().await.transpose()? {
                Some(batch) => self.rest = Some(batch).filter(|b| b.num_rows() > 0),
                None => self.rows = None,
            }
        }
        if self.owed > 0 {
            self.place.ended = true;
            self.owed = 0;
        }
        Ok(None)
    }

    /// What is owed of a batch.
    fn cut(&mut self, batch: RecordBatch) -> RecordBatch {
        let rows = usize::try_from(self.owed).unwrap_or(usize::MAX).min(batch.num_rows());
        if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        self.owed -= rows as u64;
        self.place.passed += rows as u64;
        batch.slice(0, rows)
    }
}

/// An error at a cursor's name.
fn at_name(state: SqlState, what: &str, name: &Ident, text: &StatementText) -> Diagnostic {
    let message = format!("cursor \"{}\" {what}", fold(name));
    PlanError::invalid(state, message, name.span).diagnostic(&text.source)
}

impl SqlSession {
    pub(super) async fn declare_cursor(
        &mut self,
        prepared: &Prepared,
        declare: &DeclareCursor,
        parameters: Vec<ScalarValue>,
    ) -> Result<Execution> {
        let text = &prepared.text;
        let name = fold(&declare.name);
        let open = self.transaction.cursors("DECLARE CURSOR")?;
        if open.contains_key(&name) {
            return Err(at_name(SqlState::DUPLICATE_CURSOR, "already exists", &declare.name, text));
        }
        if open.len() >= CURSORS_MAX {
            return Err(Diagnostic::new(SqlState::INSUFFICIENT_RESOURCES, "too many cursors")
                .with_detail(format!("A session may have {CURSORS_MAX} of them."))
                .with_hint("CLOSE those that are not needed any more."));
        }
        let (columns, rows) = self.start_query(prepared, &declare.query, parameters).await?;
        let shape = CursorShape { columns, binary: declare.binary };
        let cursor = Cursor::new(shape, self.transaction.savepoints(), rows);
        self.transaction.cursors("DECLARE CURSOR")?.insert(name, cursor);
        Ok(Execution::Command { tag: "DECLARE CURSOR".to_owned() })
    }

    /// The cursor of a FETCH, MOVE or CLOSE.
    pub(super) fn named_cursor(&self, name: &Ident, text: &StatementText) -> Result<&Cursor> {
        self.transaction.cursor(&fold(name)).ok_or_else(|| {
            at_name(SqlState::INVALID_CURSOR_NAME, "does not exist", name, text)
                .with_hint("A cursor is open from its DECLARE to the end of the transaction.")
        })
    }

    pub(super) async fn fetch(&mut self, fetch: &Fetch, text: &StatementText) -> Result<Execution> {
        let cursor = self.named_cursor(&fetch.name, text)?;
        let schema: SchemaRef = Arc::clone(&cursor.shape.columns);
        let mut held = cursor.take(&fold(&fetch.name))?;
        held.pass().await?;
        let place = held.place();
        let take = match step(fetch.direction, place)? {
            Step::On { skip, take } => {
                held.owe(skip);
                held.pass().await?;
                take
            }
            // MOVE counts the row that it stays on; to give it again is to go back.
            Step::Stay if fetch.moves => return Ok(moved(u64::from(place.is_on_row()))),
            Step::Stay if place.is_on_row() => return Err(backward()),
            Step::Stay => 0,
        };
        held.owe(take);
        if fetch.moves {
            return Ok(moved(held.pass().await?));
        }
        Ok(Execution::Rows { schema, rows: held.into_rows(), tag: "FETCH" })
    }

    pub(super) fn close_cursor(
        &mut self,
        name: Option<&Ident>,
        text: &StatementText,
    ) -> Result<Execution> {
        let Some(name) = name else {
            self.transaction.close_cursors();
            return Ok(Execution::Command { tag: "CLOSE CURSOR ALL".to_owned() });
        };
        self.named_cursor(name, text)?;
        self.transaction.close_cursor(&fold(name));
        Ok(Execution::Command { tag: "CLOSE CURSOR".to_owned() })
    }
}

fn moved(rows: u64) -> Execution {
    Execution::Command { tag: format!("MOVE {rows}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_go_on_or_are_refused() {
        use Direction::{Absolute, Backward, Forward, Relative};
        use RowCount::{All, Rows};
        let start = Place::default();
        let third = Place { passed: 3, ended: false };
        let end = Place { passed: 3, ended: true };
        let on = |skip, take| Some(Step::On { skip, take });
        for (direction, place, expected) in [
            (Forward(Rows(2)), start, on(0, 2)),
            (Forward(All), third, on(0, ALL)),
            (Forward(Rows(0)), third, Some(Step::Stay)),
            (Forward(Rows(-1)), third, None),
            (Backward(Rows(1)), start, None),
            (Backward(All), end, None),
            (Backward(Rows(-2)), third, on(0, 2)),
            (Backward(Rows(i64::MIN)), third, on(0, 1 << 63)),
            (Relative(2), third, on(1, 1)),
            (Relative(0), start, Some(Step::Stay)),
            (Relative(-1), end, None),
            (Absolute(0), start, on(0, 0)),
            (Absolute(0), third, None),
            (Absolute(1), start, on(0, 1)),
            (Absolute(3), third, None),
            (Absolute(5), third, on(1, 1)),
            (Absolute(4), end, None),
            (Absolute(5), end, on(0, 1)),
            (Absolute(-1), start, None),
        ] {
            assert_eq!(step(direction, place).ok(), expected, "{direction:?} at {place:?}");
        }
    }
}
