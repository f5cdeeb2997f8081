//! Every pair of phase and event, against a table.

use super::decide::{Answer, Effect, Event, Facts, Found, Outcome, Phase, decide};
use super::frame::RecordKind;

const PHASES: [Phase; 10] = [
    Phase::Following,
    Phase::Seeking,
    Phase::Claiming,
    Phase::ComparingClaim,
    Phase::CheckingClaim,
    Phase::Owning,
    Phase::Appending,
    Phase::ComparingAppend,
    Phase::Unsettled,
    Phase::Fenced,
];

/// A writer that has read up to 4, in term 2, starting from the snapshot at 1.
fn facts(phase: Phase) -> Facts {
    Facts { phase, next: 5, term: 2, base: 1, doubt: phase == Phase::Unsettled }
}

fn record(kind: RecordKind, term: u64, ours: bool) -> Event {
    Event::Read(Found::Record { kind, term, ours })
}

fn events() -> Vec<(&'static str, Event)> {
    vec![
        ("follow", Event::Follow),
        ("take over", Event::TakeOver),
        ("append", Event::Append),
        ("settle", Event::Settle),
        ("absent", Event::Read(Found::Absent)),
        ("data", record(RecordKind::Data, 2, false)),
        ("newer term", record(RecordKind::Term, 3, false)),
        ("data of a newer term", record(RecordKind::Data, 3, false)),
        ("term again", record(RecordKind::Term, 2, false)),
        ("our term", record(RecordKind::Term, 3, true)),
        ("our data", record(RecordKind::Data, 2, true)),
        ("created", Event::Put(Answer::Created)),
        ("exists", Event::Put(Answer::Exists)),
        ("unknown", Event::Put(Answer::Unknown)),
        ("refused", Event::Put(Answer::Refused)),
        ("old snapshot", Event::NewestSnapshot(1)),
        ("new snapshot", Event::NewestSnapshot(6)),
        ("gave up", Event::GaveUp),
    ]
}

/// Phase and event, then the phase that follows, by how much `next` grows, and the
/// effect. What is not here is out of order and changes nothing.
#[rustfmt::skip]
fn table() -> Vec<(Phase, &'static str, Phase, u64, Effect)> {
    use Effect::{Done, ListSnapshots, PutData, PutTerm, ReadAgain, ReadNext};
    use Phase::{
        Appending, CheckingClaim, Claiming, ComparingAppend, ComparingClaim, Fenced, Following,
        Owning, Seeking, Unsettled,
    };
    let mut rows = vec![
        (Following, "follow", Following, 0, ReadNext),
        (Following, "take over", Seeking, 0, ReadNext),
        (Following, "absent", Following, 0, Done(Outcome::AtEnd)),
        (Following, "data", Following, 1, ReadNext),
        (Following, "our data", Following, 1, ReadNext),
        (Following, "newer term", Following, 1, ReadNext),
        (Following, "our term", Following, 1, ReadNext),
        (Following, "data of a newer term", Following, 0, ReadAgain),
        (Following, "term again", Following, 0, ReadAgain),
        (Following, "gave up", Following, 0, Done(Outcome::GaveUp)),
        (Seeking, "follow", Following, 0, ReadNext),
        (Seeking, "take over", Seeking, 0, ReadNext),
        (Seeking, "absent", Claiming, 0, PutTerm(3)),
        (Seeking, "data", Seeking, 1, ReadNext),
        (Seeking, "our data", Seeking, 1, ReadNext),
        (Seeking, "newer term", Seeking, 1, ReadNext),
        (Seeking, "our term", Seeking, 1, ReadNext),
        (Seeking, "data of a newer term", Seeking, 0, ReadAgain),
        (Seeking, "term again", Seeking, 0, ReadAgain),
        (Seeking, "gave up", Seeking, 0, Done(Outcome::GaveUp)),
        (Claiming, "created", CheckingClaim, 0, ListSnapshots),
        (Claiming, "exists", ComparingClaim, 0, ReadNext),
        (Claiming, "unknown", Claiming, 0, PutTerm(3)),
        (Claiming, "refused", Seeking, 0, Done(Outcome::GaveUp)),
        (Claiming, "gave up", Seeking, 0, Done(Outcome::GaveUp)),
        (ComparingClaim, "our term", CheckingClaim, 0, ListSnapshots),
        (ComparingClaim, "our data", CheckingClaim, 0, ListSnapshots),
        (ComparingClaim, "data", Seeking, 1, ReadNext),
        (ComparingClaim, "newer term", Seeking, 1, ReadNext),
        (ComparingClaim, "data of a newer term", ComparingClaim, 0, ReadAgain),
        (ComparingClaim, "term again", ComparingClaim, 0, ReadAgain),
        (ComparingClaim, "absent", Seeking, 0, ReadAgain),
        (ComparingClaim, "gave up", Seeking, 0, Done(Outcome::GaveUp)),
        (CheckingClaim, "old snapshot", Owning, 1, Done(Outcome::Owner)),
        (CheckingClaim, "new snapshot", Seeking, 0, ReadAgain),
        (CheckingClaim, "gave up", Seeking, 0, Done(Outcome::GaveUp)),
        (Owning, "append", Appending, 0, PutData),
        (Appending, "created", Owning, 1, Done(Outcome::Appended(5))),
        (Appending, "exists", ComparingAppend, 0, ReadNext),
        (Appending, "unknown", Appending, 0, PutData),
        (Appending, "refused", Owning, 0, Done(Outcome::NotAppended)),
        (Appending, "gave up", Unsettled, 0, Done(Outcome::Unsettled)),
        (ComparingAppend, "our data", Owning, 1, Done(Outcome::Appended(5))),
        (ComparingAppend, "our term", Owning, 1, Done(Outcome::Appended(5))),
        (ComparingAppend, "gave up", Unsettled, 0, Done(Outcome::Unsettled)),
        (Unsettled, "settle", Appending, 0, PutData),
        (Unsettled, "append", Unsettled, 0, Done(Outcome::Unsettled)),
    ];
    for other in ["absent", "data", "newer term", "data of a newer term", "term again"] {
        rows.push((ComparingAppend, other, Fenced, 0, Done(Outcome::Fenced)));
    }
    for (name, _) in events() {
        rows.push((Fenced, name, Fenced, 0, Done(Outcome::Fenced)));
    }
    rows
}

#[test]
fn every_phase_and_event() {
    let table = table();
    for phase in PHASES {
        for (name, event) in events() {
            let rows: Vec<_> = table.iter().filter(|row| row.0 == phase && row.1 == name).collect();
            assert!(rows.len() <= 1, "{phase:?}, {name}: in the table twice");
            let (next_phase, step, effect) = match rows.first() {
                Some((_, _, next_phase, step, effect)) => (*next_phase, *step, *effect),
                None => (phase, 0, Effect::Done(Outcome::OutOfOrder)),
            };
            let decision = decide(&facts(phase), event);
            assert_eq!(decision.facts.phase, next_phase, "{phase:?}, {name}");
            assert_eq!(decision.facts.next, 5 + step, "{phase:?}, {name}");
            assert_eq!(decision.effect, effect, "{phase:?}, {name}");
        }
    }
}

#[test]
fn a_refusal_after_an_unknown_outcome_leaves_the_record_unsettled() {
    let mut now = decide(&facts(Phase::Owning), Event::Append).facts;
    now = decide(&now, Event::Put(Answer::Unknown)).facts;
    assert!(now.doubt);
    let refused = decide(&now, Event::Put(Answer::Refused));
    assert_eq!(refused.effect, Effect::Done(Outcome::Unsettled));
    assert_eq!(refused.facts.phase, Phase::Unsettled);
    let settling = decide(&refused.facts, Event::Settle);
    assert_eq!(settling.effect, Effect::PutData);
    let settled = decide(&settling.facts, Event::Put(Answer::Created));
    assert_eq!(settled.effect, Effect::Done(Outcome::Appended(5)));
    assert!(!settled.facts.doubt);
}

#[test]
fn terms_rise_and_are_inherited() {
    let owner = decide(&facts(Phase::CheckingClaim), Event::NewestSnapshot(0)).facts;
    assert_eq!((owner.term, owner.next), (3, 6));
    let read = decide(&facts(Phase::Seeking), record(RecordKind::Term, 9, false)).facts;
    assert_eq!(decide(&read, Event::Read(Found::Absent)).effect, Effect::PutTerm(10));
    let empty = Facts::reading(Phase::Seeking, 0, 0, 0);
    let data = decide(&empty, record(RecordKind::Data, 0, false));
    assert_eq!(data.effect, Effect::ReadAgain, "a data record before the first term");
}
