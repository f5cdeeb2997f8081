//! The protocol of [`decide`](mod@super::decide) carried out on a store.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use bytes::Bytes;

use super::decide::{Answer, Effect, Event, Facts, Found, Outcome, Phase, decide};
use super::error::{AppendError, SequenceError};
use super::frame::{Frame, RecordKind};
use super::read::{Base, Loaded, Reader, Record};
use crate::store::{PutOnce, Store, StoreError, unique_number};

/// Times that reading begins anew, and that a claim is lost to another's record,
/// before a take-over fails.
const ROUNDS_MAX: u32 = 32;

/// Who writes. No two processes, nor two incarnations of one, have the same: it is
/// what tells their term records apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct WriterId(pub u128);

impl WriterId {
    /// A number that is drawn once, from the system's chance.
    #[must_use]
    pub fn draw() -> Self {
        WriterId(unique_number())
    }
}

impl fmt::Debug for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriterId({:032x})", self.0)
    }
}

/// A sequence that this writer took over. It owns the sequence until it is fenced,
/// which it learns when it next appends.
#[derive(Debug)]
pub struct RecordSequence {
    pub(super) reader: Reader,
    pub(super) facts: Facts,
    /// What is being put at `facts.next`, or may have been.
    ours: Bytes,
    pub(super) log: Log,
}

/// What a writer remembers of the records, for removing them later.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The newest snapshot known to be whole; 0 for none.
    pub(super) snapshot: u64,
    /// Numbers of term records; those up to the first snapshot read are not known.
    pub(super) terms: BTreeSet<u64>,
}

impl RecordSequence {
    /// Takes the sequence `name` over: reads it to its end and appends a term record.
    /// From then on whoever owned it before is fenced. Returns all that is in it.
    ///
    /// # Errors
    /// [`SequenceError`]. After an error of the store a term record may be there, or
    /// land later: it fences the owner before, and does no other harm.
    pub async fn take_over(
        store: &Store,
        name: &str,
        writer: WriterId,
    ) -> Result<(Self, Loaded), SequenceError> {
        let reader = Reader { store: store.clone(), name: name.to_owned() };
        let (run, loaded) = read_rounds(&reader, Event::TakeOver, Some(writer)).await?;
        let log = Log {
            snapshot: loaded.snapshot.as_ref().map_or(0, |snapshot| snapshot.number),
            terms: run.terms,
        };
        Ok((Self { reader, facts: run.facts, ours: Bytes::new(), log }, loaded))
    }

    /// All that is in the sequence `name`, without taking it over.
    ///
    /// # Errors
    /// [`SequenceError`], never [`SequenceError::Contended`] for appends meanwhile.
    pub async fn load(store: &Store, name: &str) -> Result<Loaded, SequenceError> {
        let reader = Reader { store: store.clone(), name: name.to_owned() };
        Ok(read_rounds(&reader, Event::Follow, None).await?.1)
    }

    /// What was appended to the sequence `name` from number `from` on.
    ///
    /// # Errors
    /// [`SequenceError::Folded`] where a snapshot covers `from`: then
    /// [`RecordSequence::load`] tells what there is.
    pub async fn read_from(
        store: &Store,
        name: &str,
        from: u64,
    ) -> Result<Vec<Record>, SequenceError> {
        let reader = Reader { store: store.clone(), name: name.to_owned() };
        let (records, last) = reader.listed_records(from).await?;
        let missing = from + records.len() as u64;
        // Asked after reading: no record that was read had been removed by then.
        let snapshot = reader.newest_snapshot().await?;
        if snapshot >= from {
            return Err(SequenceError::Folded { sequence: name.to_owned(), from, snapshot });
        }
        if missing <= last {
            return Err(reader.gap(missing));
        }
        Ok(records.into_iter().filter_map(|(frame, _)| data(frame)).collect())
    }

    /// Appends a record and returns its number. Then it is in the sequence for good.
    ///
    /// # Errors
    /// [`AppendError`]. After [`AppendError::Unsettled`] every append fails in the
    /// same way until [`RecordSequence::settle`] succeeds.
    pub async fn append(&mut self, payload: Bytes) -> Result<u64, AppendError> {
        if self.facts.phase == Phase::Owning {
            let Facts { next: number, term, .. } = self.facts;
            let frame = Frame { number, term, kind: RecordKind::Data, payload };
            self.ours = frame.encode(&self.reader.name).map_err(|fault| AppendError::Record {
                sequence: self.reader.name.clone(),
                fault,
            })?;
        }
        self.put(Event::Append).await
    }

    /// Is there a record of which it is not known whether it was appended?
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        // The future of an append may have been dropped half-way.
        let phases = [Phase::Unsettled, Phase::Appending, Phase::ComparingAppend];
        phases.contains(&self.facts.phase)
    }

    /// Puts the unsettled record again, and returns its number once it is in the
    /// sequence: the append that failed has then happened after all.
    ///
    /// # Errors
    /// [`AppendError::Unsettled`] where it is still unknown,
    /// [`AppendError::Fenced`] where another has the number.
    pub async fn settle(&mut self) -> Result<u64, AppendError> {
        if self.is_unsettled() { self.put(Event::Settle).await } else { Ok(self.facts.next - 1) }
    }

    /// The owner's term: rises with every take-over, by whomever.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.facts.term
    }

    /// The number of the last record that is known to be in the sequence.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.facts.next - 1
    }

    /// The sequence's name: its path in the store.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.reader.name
    }

    async fn put(&mut self, event: Event) -> Result<u64, AppendError> {
        if self.is_unsettled() {
            self.facts = Facts { phase: Phase::Unsettled, doubt: true, ..self.facts };
        }
        let number = self.facts.next;
        let path = self.reader.record_path(number);
        let store = self.reader.store.clone();
        let mut attempts = store.pace().attempts();
        let mut event = event;
        let mut refused = None;
        let mut source = None;
        loop {
            let decision = decide(&self.facts, event);
            self.facts = decision.facts;
            event = match decision.effect {
                Effect::PutData => match store.put_once(&path, self.ours.clone()).await {
                    Ok(PutOnce::Created) => Event::Put(Answer::Created),
                    Ok(PutOnce::Exists) => Event::Put(Answer::Exists),
                    Ok(PutOnce::Unknown(error)) => {
                        source = Some(error);
                        // The doubt is noted before giving up.
                        self.facts = decide(&self.facts, Event::Put(Answer::Unknown)).facts;
                        if attempts.again().await {
                            Event::Put(Answer::Unknown)
                        } else {
                            Event::GaveUp
                        }
                    }
                    Err(error) => {
                        refused = Some(error);
                        Event::Put(Answer::Refused)
                    }
                },
                Effect::ReadNext => match store.get(&path).await {
                    Ok(None) => Event::Read(Found::Absent),
                    Ok(Some(found)) => Event::Read(Found::Record {
                        kind: RecordKind::Data,
                        term: self.facts.term,
                        ours: found == self.ours,
                    }),
                    Err(error) => {
                        source = cause(error);
                        Event::GaveUp
                    }
                },
                Effect::Done(Outcome::Appended(number)) => {
                    self.ours = Bytes::new();
                    return Ok(number);
                }
                effect => return Err(self.append_error(effect, number, refused, source)),
            };
        }
    }

    fn append_error(
        &self,
        effect: Effect,
        number: u64,
        refused: Option<StoreError>,
        source: Option<object_store::Error>,
    ) -> AppendError {
        let sequence = self.reader.name.clone();
        match (effect, refused) {
            (Effect::Done(Outcome::NotAppended), Some(refused)) => AppendError::Store(refused),
            (Effect::Done(Outcome::Unsettled), refused) => {
                let source = source.or_else(|| refused.and_then(cause));
                AppendError::Unsettled { sequence, number, source }
            }
            _ => AppendError::Fenced { sequence, number },
        }
    }
}

/// One reading of a sequence, from a snapshot to its end.
struct Run {
    facts: Facts,
    records: Vec<Record>,
    terms: BTreeSet<u64>,
    fetched: VecDeque<(Frame, Bytes)>,
    last_listed: u64,
}

/// How a run ended.
enum End {
    Read,
    /// What was read is no good; the first missing number where there is a gap.
    Again(Option<u64>),
    Lost,
}

async fn read_rounds(
    reader: &Reader,
    event: Event,
    writer: Option<WriterId>,
) -> Result<(Run, Loaded), SequenceError> {
    let mut stuck: Option<(u64, SequenceError)> = None;
    for _ in 0..ROUNDS_MAX {
        let base = reader.base(Phase::Following).await?;
        if let Some((at, error)) = stuck.take()
            && at == base.facts.base
        {
            return Err(error);
        }
        let (fetched, last_listed) = reader.listed_records(base.facts.next).await?;
        let Base { facts, snapshot } = base;
        let (records, terms) = (Vec::new(), BTreeSet::new());
        let mut run = Run { facts, records, terms, fetched, last_listed };
        match run.drive(reader, event, writer).await? {
            End::Read => {
                let records = std::mem::take(&mut run.records);
                return Ok((run, Loaded { snapshot, records }));
            }
            End::Again(gap) => {
                let error = match gap {
                    Some(number) => reader.gap(number),
                    None => SequenceError::Broken {
                        file: reader.record_path(run.facts.next),
                        reason: "the record's term does not follow from the records before it",
                    },
                };
                stuck = Some((facts.base, error));
            }
            End::Lost => break,
        }
    }
    let sequence = reader.name.clone();
    Err(SequenceError::Contended { sequence, rounds: ROUNDS_MAX })
}

impl Run {
    async fn drive(
        &mut self,
        reader: &Reader,
        event: Event,
        writer: Option<WriterId>,
    ) -> Result<End, SequenceError> {
        let mut event = event;
        let mut ours = Bytes::new();
        let mut losses = 0;
        loop {
            let decision = decide(&self.facts, event);
            self.facts = decision.facts;
            let next = self.facts.next;
            event = match decision.effect {
                Effect::ReadNext => match self.next_record(reader).await? {
                    None if next <= self.last_listed => return Ok(End::Again(Some(next))),
                    None => Event::Read(Found::Absent),
                    Some((frame, bytes)) => {
                        losses += u32::from(self.facts.phase == Phase::ComparingClaim);
                        if losses > ROUNDS_MAX {
                            return Ok(End::Lost);
                        }
                        self.take_in(frame, bytes == ours)
                    }
                },
                Effect::PutTerm(term) => {
                    let payload = writer.unwrap_or(WriterId(0)).0.to_le_bytes().to_vec().into();
                    let frame = Frame { number: next, term, kind: RecordKind::Term, payload };
                    ours = frame.encode(&reader.name).map_err(|fault| super::FrameError {
                        file: reader.record_path(next),
                        fault,
                    })?;
                    claim(reader, next, &ours).await?
                }
                Effect::ListSnapshots => Event::NewestSnapshot(reader.newest_snapshot().await?),
                Effect::ReadAgain => return Ok(End::Again(None)),
                Effect::Done(Outcome::Owner) => {
                    self.terms.insert(next - 1);
                    return Ok(End::Read);
                }
                Effect::Done(Outcome::AtEnd) => {
                    // A record that was removed while we read looks like the end.
                    let newest = reader.newest_snapshot().await?;
                    return Ok(if newest > self.facts.base { End::Again(None) } else { End::Read });
                }
                Effect::Done(_) | Effect::PutData => return Ok(End::Lost),
            };
        }
    }

    async fn next_record(
        &mut self,
        reader: &Reader,
    ) -> Result<Option<(Frame, Bytes)>, SequenceError> {
        match self.fetched.pop_front() {
            Some(fetched) => Ok(Some(fetched)),
            None => reader.record(self.facts.next).await,
        }
    }

    /// The event of having read `frame`, which is kept where it is accepted.
    fn take_in(&mut self, frame: Frame, ours: bool) -> Event {
        let event = Event::Read(Found::Record { kind: frame.kind, term: frame.term, ours });
        let accepted = decide(&self.facts, event).facts.next > self.facts.next;
        if accepted && frame.kind == RecordKind::Term {
            self.terms.insert(frame.number);
        } else if accepted {
            self.records.extend(data(frame));
        }
        event
    }
}

/// Puts a term record until the store says what became of it.
async fn claim(reader: &Reader, number: u64, ours: &Bytes) -> Result<Event, SequenceError> {
    let path = reader.record_path(number);
    let mut attempts = reader.store.pace().attempts();
    loop {
        match reader.store.put_once(&path, ours.clone()).await? {
            PutOnce::Created => return Ok(Event::Put(Answer::Created)),
            PutOnce::Exists => return Ok(Event::Put(Answer::Exists)),
            PutOnce::Unknown(source) => {
                if !attempts.again().await {
                    let attempts = attempts.made();
                    return Err(StoreError::Unknown { path, attempts, source }.into());
                }
            }
        }
    }
}

fn data(frame: Frame) -> Option<Record> {
    let Frame { number, term, kind, payload } = frame;
    (kind == RecordKind::Data).then_some(Record { number, term, payload })
}

fn cause(error: StoreError) -> Option<object_store::Error> {
    match error {
        StoreError::Object { source, .. } | StoreError::Unknown { source, .. } => Some(source),
        _ => None,
    }
}
