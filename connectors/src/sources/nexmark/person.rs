//! The table `person`. One event of fifty: written for plainness, not for speed.

use std::sync::Arc;

use arrow::array::builder::StringViewBuilder;
use arrow::array::{Array, ArrayRef, StringViewArray};

use super::columns::{Column, Kind, Rows, date_time};
use super::live::FIRST_PERSON;
use super::random::{Draw, below, random};
use super::words::{Words, extra_len, pick, text_len};

/// Average bytes of a person.
const SIZE: u64 = 200;
const ID_SIZE: u64 = 8;
const CARD_LEN: usize = 19;
/// An address has at most six letters, an at sign, four letters and `.com`.
const EMAIL_LEN_MAX: usize = 15;

pub const COLUMNS: &[Column] = &[
    Column { name: "id", kind: Kind::Bigint, generate: id },
    Column { name: "name", kind: Kind::Text, generate: name },
    Column { name: "email_address", kind: Kind::Text, generate: email_address },
    Column { name: "credit_card", kind: Kind::Text, generate: credit_card },
    Column { name: "city", kind: Kind::Text, generate: city },
    Column { name: "state", kind: Kind::Text, generate: state },
    Column { name: "date_time", kind: Kind::Timestamp, generate: date_time },
    Column { name: "extra", kind: Kind::Text, generate: extra },
];

fn id(rows: &Rows<'_>) -> ArrayRef {
    rows.bigints(|run| run.events().map(move |_| FIRST_PERSON + run.block as i64))
}

fn place(list: &StringViewArray, n: u64, draw: Draw) -> u32 {
    below(random(n, draw), list.len() as u64) as u32
}

fn picked(rows: &Rows<'_>, list: &StringViewArray, draw: Draw) -> ArrayRef {
    pick(list, rows.collect(|run| run.events().map(|n| place(list, n, draw))))
}

fn name(rows: &Rows<'_>) -> ArrayRef {
    picked(rows, &rows.words.person_names, Draw::PersonName)
}

fn city(rows: &Rows<'_>) -> ArrayRef {
    picked(rows, &rows.words.cities, Draw::PersonCity)
}

fn state(rows: &Rows<'_>) -> ArrayRef {
    picked(rows, &rows.words.states, Draw::PersonState)
}

/// Lengths of an address's parts: 3 to 6 and 3 to 4 letters.
fn email_lens(n: u64) -> (usize, usize) {
    let number = random(n, Draw::PersonEmail);
    (3 + (number % 4) as usize, 3 + (number >> 32 & 1) as usize)
}

fn email_address(rows: &Rows<'_>) -> ArrayRef {
    let mut texts = StringViewBuilder::with_capacity(rows.count);
    let mut text = String::with_capacity(EMAIL_LEN_MAX);
    for n in rows.runs.iter().flat_map(|run| run.events()) {
        let (user, host) = email_lens(n);
        let mut number = random(n, Draw::PersonEmailLetters);
        let mut letter = || {
            let digit = (number % 26) as u8;
            number /= 26;
            char::from(b'a' + digit)
        };
        text.clear();
        text.extend((0..user).map(|_| letter()));
        text.push('@');
        text.extend((0..host).map(|_| letter()));
        text.push_str(".com");
        texts.append_value(&text);
    }
    Arc::new(texts.finish())
}

/// Four groups of four digits.
fn credit_card(rows: &Rows<'_>) -> ArrayRef {
    let mut texts = StringViewBuilder::with_capacity(rows.count);
    let mut text = String::with_capacity(CARD_LEN);
    for n in rows.runs.iter().flat_map(|run| run.events()) {
        let mut number = random(n, Draw::PersonCard);
        text.clear();
        for i in 0..CARD_LEN {
            if i % 5 == 4 {
                text.push(' ');
            } else {
                text.push(char::from(b'0' + (number % 10) as u8));
                number /= 10;
            }
        }
        texts.append_value(&text);
    }
    Arc::new(texts.finish())
}

/// Bytes of all columns but `extra`.
fn taken(words: &Words, n: u64) -> u64 {
    let len = |list, draw| text_len(list, place(list, n, draw));
    let (user, host) = email_lens(n);
    ID_SIZE
        + len(&words.person_names, Draw::PersonName)
        + len(&words.cities, Draw::PersonCity)
        + len(&words.states, Draw::PersonState)
        + (user + "@".len() + host + ".com".len() + CARD_LEN) as u64
}

fn extra(rows: &Rows<'_>) -> ArrayRef {
    let mut texts = rows.words.letter_texts(rows.count);
    for n in rows.runs.iter().flat_map(|run| run.events()) {
        let number = random(n, Draw::PersonExtra);
        texts.push(number.rotate_left(32), extra_len(number, SIZE - taken(rows.words, n)));
    }
    Arc::new(texts.finish())
}
