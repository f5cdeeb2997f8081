//! What a writer of a sequence does next: a pure function of what it knows and what
//! it just learnt. [`RecordSequence`](super::RecordSequence) carries it out.
//!
//! ```text
//!  take over ─► Seeking ─ absent ─► Claiming ─ created ─► Checking ─► Owning ◄─┐
//!                 ▲ ▲                 │ exists               │          │ append
//!                 │ └── another's ── Comparing ── ours ──────┤          ▼      │
//!                 │                                          │       Appending ┤ created
//!                 └──────── read again, a snapshot is newer ─┘          │      │
//!                                                                exists │      │
//!                       Fenced ◄── another's ─────────────────── Comparing ── ours
//! ```
//!
//! Why it is safe. Record `n` is put, create-only, by a writer that has read `n - 1`.
//! A new owner puts a term record at its `n`; whoever owned before puts its next
//! record at that same number and learns that it was fenced. Two things could spoil
//! that, since records below a snapshot are removed and their numbers become free:
//!
//! * *An old owner finds its number free.* The record at its number is the term record
//!   of another, as nobody else may write there; and **term records are never removed**.
//! * *An old candidate finds its number free*, or read a record that such a candidate
//!   left there. Records are removed only below a snapshot that is there already. So a
//!   claim counts only if no snapshot was made since the candidate began to read;
//!   otherwise it reads again.
//!
//! After a put of unknown outcome the same record is put again. Nothing else is put
//! under its number until it is known.

use super::frame::RecordKind;

/// Where a writer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reads only; `next` is to be read.
    Following,
    /// Wants the sequence; `next` is to be read.
    Seeking,
    /// Puts its term record at `next`.
    Claiming,
    /// There is a record at `next`, perhaps our term record.
    ComparingClaim,
    /// Our term record is at `next`; was the number ours to take?
    CheckingClaim,
    /// Owns the sequence; `next` is free unless somebody took over.
    Owning,
    /// Puts a record at `next`.
    Appending,
    /// There is a record at `next`, perhaps ours.
    ComparingAppend,
    /// A record may have been put at `next`, or may be yet.
    Unsettled,
    /// Somebody else owns the sequence.
    Fenced,
}

/// What a writer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    pub phase: Phase,
    /// All records below were read or written by us.
    pub next: u64,
    /// The term of the records just below `next`; 0 where there are none.
    pub term: u64,
    /// The newest snapshot that was there when reading began; 0 for none.
    pub base: u64,
    /// A put at `next` had an unknown outcome.
    pub doubt: bool,
}

impl Facts {
    /// A reader that starts after the snapshot `start`, of `term`, having seen that
    /// `base` is the newest.
    #[must_use]
    pub fn reading(phase: Phase, start: u64, term: u64, base: u64) -> Self {
        Facts { phase, next: start + 1, term, base, doubt: false }
    }
}

/// What a writer learns, or is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Begin to read, to the end, and stop there.
    Follow,
    /// Begin to read, to the end, and own the sequence.
    TakeOver,
    /// Append a record.
    Append,
    /// Find out whether the unsettled record is in, by putting it again.
    Settle,
    /// What is at `next`.
    Read(Found),
    /// What the store answered to the put at `next`.
    Put(Answer),
    /// The newest snapshot there is; 0 for none.
    NewestSnapshot(u64),
    /// The store did not answer, however often it was asked.
    GaveUp,
}

/// What is under a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    Absent,
    /// `ours`: its bytes are those that we put, or are about to put.
    Record {
        kind: RecordKind,
        term: u64,
        ours: bool,
    },
}

/// What the store says to a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    Created,
    Exists,
    /// The record may be there, now or later.
    Unknown,
    /// The store did nothing.
    Refused,
}

/// What a writer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Read the record at `next`.
    ReadNext,
    /// Put a term record at `next`, with this term.
    PutTerm(u64),
    /// Put the data record at `next`.
    PutData,
    /// Ask for the newest snapshot.
    ListSnapshots,
    /// Forget what was read; begin at the newest snapshot.
    ReadAgain,
    /// Nothing more.
    Done(Outcome),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// All there is has been read.
    AtEnd,
    /// The sequence is ours; everything below our term record has been read.
    Owner,
    /// The record is in the sequence, under this number, for good.
    Appended(u64),
    /// Another writer owns the sequence. What we last put may be in it or not.
    Fenced,
    /// The record may be in the sequence, now or later.
    Unsettled,
    /// Nothing was appended, and the writer still owns the sequence.
    NotAppended,
    /// The store did not answer; what was wanted did not come about.
    GaveUp,
    /// This cannot follow from that: the writer does not change.
    OutOfOrder,
}

/// What a writer knows now, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    pub facts: Facts,
    pub effect: Effect,
}

/// What follows from `event` for a writer that knows `facts`.
#[must_use]
pub fn decide(facts: &Facts, event: Event) -> Decision {
    match facts.phase {
        Phase::Following | Phase::Seeking => reading(facts, event),
        Phase::Claiming | Phase::ComparingClaim | Phase::CheckingClaim => claiming(facts, event),
        Phase::Owning | Phase::Unsettled => owning(facts, event),
        Phase::Appending | Phase::ComparingAppend => appending(facts, event),
        Phase::Fenced => done(facts, Outcome::Fenced),
    }
}

fn reading(facts: &Facts, event: Event) -> Decision {
    match (facts.phase, event) {
        (_, Event::Follow) => go(facts, Phase::Following, Effect::ReadNext),
        (_, Event::TakeOver) => go(facts, Phase::Seeking, Effect::ReadNext),
        (Phase::Following, Event::Read(Found::Absent)) => done(facts, Outcome::AtEnd),
        (_, Event::Read(Found::Absent)) => {
            go(facts, Phase::Claiming, Effect::PutTerm(facts.term + 1))
        }
        (_, Event::Read(Found::Record { kind, term, .. })) => read_on(facts, kind, term),
        (_, Event::GaveUp) => done(facts, Outcome::GaveUp),
        _ => done(facts, Outcome::OutOfOrder),
    }
}

/// Takes in the record at `next`. A term that cannot follow means that the record is
/// not the one that was there when its number was first used.
fn read_on(facts: &Facts, kind: RecordKind, term: u64) -> Decision {
    let follows = match kind {
        RecordKind::Term => term > facts.term,
        RecordKind::Data => term == facts.term && term > 0,
        RecordKind::Snapshot => false,
    };
    if !follows {
        return go(facts, facts.phase, Effect::ReadAgain);
    }
    let phase = if facts.phase == Phase::Following { facts.phase } else { Phase::Seeking };
    let facts = Facts { phase, next: facts.next + 1, term, doubt: false, ..*facts };
    Decision { facts, effect: Effect::ReadNext }
}

fn claiming(facts: &Facts, event: Event) -> Decision {
    let claim = Effect::PutTerm(facts.term + 1);
    match (facts.phase, event) {
        (Phase::Claiming, Event::Put(Answer::Created)) => {
            go(facts, Phase::CheckingClaim, Effect::ListSnapshots)
        }
        (Phase::Claiming, Event::Put(Answer::Exists)) => {
            go(facts, Phase::ComparingClaim, Effect::ReadNext)
        }
        (Phase::Claiming, Event::Put(Answer::Unknown)) => go(facts, Phase::Claiming, claim),
        (Phase::ComparingClaim, Event::Read(Found::Record { ours: true, .. })) => {
            go(facts, Phase::CheckingClaim, Effect::ListSnapshots)
        }
        (Phase::ComparingClaim, Event::Read(Found::Record { kind, term, .. })) => {
            read_on(facts, kind, term)
        }
        // It was there and is not any more: a snapshot has replaced it.
        (Phase::ComparingClaim, Event::Read(Found::Absent)) => {
            go(facts, Phase::Seeking, Effect::ReadAgain)
        }
        (Phase::CheckingClaim, Event::NewestSnapshot(newest)) if newest > facts.base => {
            go(facts, Phase::Seeking, Effect::ReadAgain)
        }
        (Phase::CheckingClaim, Event::NewestSnapshot(_)) => {
            let (next, term) = (facts.next + 1, facts.term + 1);
            let facts = Facts { phase: Phase::Owning, next, term, ..*facts };
            done(&facts, Outcome::Owner)
        }
        // Our term record may land yet. It then fences whoever owns the sequence, and
        // the next to read takes it for what it is.
        (_, Event::GaveUp) | (Phase::Claiming, Event::Put(Answer::Refused)) => {
            let facts = Facts { phase: Phase::Seeking, ..*facts };
            done(&facts, Outcome::GaveUp)
        }
        _ => done(facts, Outcome::OutOfOrder),
    }
}

fn owning(facts: &Facts, event: Event) -> Decision {
    match (facts.phase, event) {
        (Phase::Owning, Event::Append) | (Phase::Unsettled, Event::Settle) => {
            go(facts, Phase::Appending, Effect::PutData)
        }
        (Phase::Unsettled, Event::Append) => done(facts, Outcome::Unsettled),
        _ => done(facts, Outcome::OutOfOrder),
    }
}

fn appending(facts: &Facts, event: Event) -> Decision {
    let ended = |phase, doubt, outcome| done(&Facts { phase, doubt, ..*facts }, outcome);
    match (facts.phase, event) {
        (Phase::Appending, Event::Put(Answer::Created)) => appended(facts),
        (Phase::Appending, Event::Put(Answer::Exists)) => {
            go(facts, Phase::ComparingAppend, Effect::ReadNext)
        }
        (Phase::Appending, Event::Put(Answer::Unknown)) => {
            let facts = Facts { doubt: true, ..*facts };
            Decision { facts, effect: Effect::PutData }
        }
        (Phase::Appending, Event::Put(Answer::Refused)) if !facts.doubt => {
            ended(Phase::Owning, false, Outcome::NotAppended)
        }
        (Phase::Appending, Event::Put(Answer::Refused)) | (_, Event::GaveUp) => {
            ended(Phase::Unsettled, true, Outcome::Unsettled)
        }
        (Phase::ComparingAppend, Event::Read(Found::Record { ours: true, .. })) => appended(facts),
        // Absent: a snapshot of a later owner has replaced it.
        (Phase::ComparingAppend, Event::Read(_)) => ended(Phase::Fenced, false, Outcome::Fenced),
        _ => done(facts, Outcome::OutOfOrder),
    }
}

fn appended(facts: &Facts) -> Decision {
    let number = facts.next;
    let facts = Facts { phase: Phase::Owning, next: number + 1, doubt: false, ..*facts };
    done(&facts, Outcome::Appended(number))
}

fn go(facts: &Facts, phase: Phase, effect: Effect) -> Decision {
    Decision { facts: Facts { phase, ..*facts }, effect }
}

fn done(facts: &Facts, outcome: Outcome) -> Decision {
    Decision { facts: *facts, effect: Effect::Done(outcome) }
}
