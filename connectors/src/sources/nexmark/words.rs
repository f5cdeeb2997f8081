//! The texts of the benchmark, built once.
//!
//! A column of texts is a gather of 16-byte views from one of these lists: the
//! letters themselves are shared by all batches and never copied. The lists of
//! `extra`, item names and descriptions are long (16,384) places in a block of
//! random letters; the reference generator draws every letter anew, which nothing
//! in the benchmark's queries can see.

use std::sync::OnceLock;

use arrow::array::builder::StringViewBuilder;
use arrow::array::{ArrayRef, StringViewArray, UInt32Array};
use arrow::buffer::Buffer;
use arrow::compute::take;

use super::random::{Draw, below, random};

const FIRST_NAMES: [&str; 11] = [
    "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter",
];
const LAST_NAMES: [&str; 9] =
    ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const HOT_CHANNEL_NAMES: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// Channels that half of the bids come through; they stand before the others.
pub const HOT_CHANNELS: u64 = HOT_CHANNEL_NAMES.len() as u64;
/// The other channels.
pub const CHANNELS: u64 = 10_000;

/// Bytes of random letters that `extra` texts are cut from.
const LETTERS: usize = 1 << 18;
/// Longest text cut from the letters.
const LETTERS_CUT_MAX: usize = 1 << 10;
/// Length of the lists of random texts.
pub const PLACES: u64 = 1 << 14;
/// Average bytes of a bid, and those that are not its `extra`.
const BID_SIZE: u64 = 100;
const BID_FIXED_SIZE: u64 = 32;
/// Bytes of random letters and blanks.
const PHRASES: usize = 1 << 17;

/// All lists.
#[derive(Debug)]
pub struct Words {
    pub person_names: StringViewArray,
    pub cities: StringViewArray,
    pub states: StringViewArray,
    /// The hot ones, then `channel-0` to `channel-9999`.
    pub channels: StringViewArray,
    /// The URL of each channel.
    pub urls: StringViewArray,
    pub item_names: StringViewArray,
    pub descriptions: StringViewArray,
    /// `extra` of bids, whose other columns count as equally long in all of them.
    pub bid_extras: StringViewArray,
    /// Lower-case letters.
    letters: Buffer,
}

/// The lists; built at the first call (a few milliseconds).
pub fn words() -> &'static Words {
    static WORDS: OnceLock<Words> = OnceLock::new();
    WORDS.get_or_init(Words::new)
}

impl Words {
    fn new() -> Self {
        let phrases = Buffer::from_vec(letters(PHRASES, Draw::Phrases, Some(b' ')));
        let letters = Buffer::from_vec(letters(LETTERS, Draw::Letters, None));
        Words {
            person_names: FIRST_NAMES
                .iter()
                .flat_map(|first| {
                    LAST_NAMES.iter().map(move |last| Some(format!("{first} {last}")))
                })
                .collect(),
            cities: CITIES.iter().copied().map(Some).collect(),
            states: STATES.iter().copied().map(Some).collect(),
            channels: (0..HOT_CHANNELS + CHANNELS).map(|i| Some(channel(i))).collect(),
            urls: (0..HOT_CHANNELS + CHANNELS).map(|i| Some(url(i))).collect(),
            item_names: phrase_list(&phrases, 20, 0),
            descriptions: phrase_list(&phrases, 100, PLACES),
            bid_extras: extra_list(&letters, BID_SIZE - BID_FIXED_SIZE),
            letters,
        }
    }

    /// A collector of `capacity` texts cut from the letters.
    #[must_use]
    pub fn letter_texts(&self, capacity: usize) -> LetterTexts {
        LetterTexts::new(&self.letters, capacity)
    }
}

/// How long an `extra` is that fills its row up to an average size: a fifth more
/// or less than `room`, the bytes that the other columns leave.
#[inline]
#[must_use]
pub fn extra_len(random: u64, room: u64) -> u64 {
    let delta = (room * 2 + 5) / 10;
    room - delta + below(random, 2 * delta)
}

/// `PLACES` texts of lower-case letters that fill `room` bytes on average.
fn extra_list(letters: &Buffer, room: u64) -> StringViewArray {
    let mut texts = LetterTexts::new(letters, PLACES as usize);
    for i in 0..PLACES {
        let number = random(i, Draw::ExtraPlaces);
        texts.push(number.rotate_left(32), extra_len(number, room));
    }
    texts.finish()
}

/// Collects texts cut from the letters.
#[derive(Debug)]
pub struct LetterTexts {
    builder: StringViewBuilder,
    block: u32,
}

impl LetterTexts {
    fn new(letters: &Buffer, capacity: usize) -> Self {
        let mut builder = StringViewBuilder::with_capacity(capacity);
        let block = builder.append_block(letters.clone());
        LetterTexts { builder, block }
    }

    /// Appends `len` letters from a random place.
    pub fn push(&mut self, random: u64, len: u64) {
        let len = (len as usize).min(LETTERS_CUT_MAX) as u32;
        let start = below(random, (LETTERS - LETTERS_CUT_MAX) as u64) as u32;
        self.builder
            .try_append_view(self.block, start, len)
            .expect("the cut lies within the letters, which are ASCII");
    }

    #[must_use]
    pub fn finish(mut self) -> StringViewArray {
        self.builder.finish()
    }
}

/// The texts of `list` at `places`.
///
/// # Panics
/// A place is outside of the list: places come from [`below`] of its length.
#[must_use]
pub fn pick(list: &StringViewArray, places: Vec<u32>) -> ArrayRef {
    take(list, &UInt32Array::from(places), None).expect("a gather of views cannot fail")
}

/// The length of the text at `place`, read from its view.
#[inline]
#[must_use]
pub fn text_len(list: &StringViewArray, place: u32) -> u64 {
    // The lowest 32 bits of a view are the length.
    u64::from(list.views()[place as usize] as u32)
}

/// Random lower-case letters; one in thirteen is `special`, never two in a row.
fn letters(count: usize, draw: Draw, special: Option<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(count);
    for i in 0..count as u64 {
        let number = random(i, draw);
        out.push(match special {
            Some(byte) if number.is_multiple_of(13) && out.last() != Some(&byte) => byte,
            _ => b'a' + below(number, 26) as u8,
        });
    }
    out
}

/// `PLACES` texts of 3 to `longest - 1` letters and blanks, trimmed.
fn phrase_list(phrases: &Buffer, longest: u64, salt: u64) -> StringViewArray {
    let mut builder = StringViewBuilder::with_capacity(PLACES as usize);
    let block = builder.append_block(phrases.clone());
    for i in 0..PLACES {
        let number = random(i + salt, Draw::PhrasePlaces);
        let len = 3 + below(number, longest - 3);
        let start = below(number.rotate_left(32), PHRASES as u64 - longest);
        let text = &phrases[start as usize..(start + len) as usize];
        let blanks = len as usize - text.trim_ascii_start().len();
        builder
            .try_append_view(block, start as u32 + blanks as u32, text.trim_ascii().len() as u32)
            .expect("the cut lies within the phrases, which are ASCII");
    }
    builder.finish()
}

fn channel(index: u64) -> String {
    match HOT_CHANNEL_NAMES.get(index as usize) {
        Some(name) => (*name).to_string(),
        None => format!("channel-{}", index - HOT_CHANNELS),
    }
}

/// Nine of ten channels that are not hot name themselves in their URL, by the
/// number with its bits reversed.
fn url(index: u64) -> String {
    let path = |part: u64| {
        let number = random(index * 4 + part, Draw::Urls);
        let len = 3 + below(number, 2) as usize;
        let letters = letters_of(number, len);
        String::from_utf8_lossy(&letters).into_owned()
    };
    let base =
        format!("https://www.nexmark.com/{}/{}/{}/item.htm?query=1", path(0), path(1), path(2));
    let named = index >= HOT_CHANNELS && below(random(index * 4 + 3, Draw::Urls), 10) > 0;
    if !named {
        return base;
    }
    let id = ((index - HOT_CHANNELS) as u32).reverse_bits().cast_signed().unsigned_abs();
    format!("{base}&channel_id={id}")
}

/// `len` (at most 12) letters and underscores that a random number stands for.
fn letters_of(mut number: u64, len: usize) -> Vec<u8> {
    (0..len)
        .map(|_| {
            let digit = number % 27;
            number /= 27;
            if digit == 26 { b'_' } else { b'a' + digit as u8 }
        })
        .collect()
}
