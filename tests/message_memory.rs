//! How much memory a message can take that is made to take much.

#![cfg(feature = "child_process")]
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use blacklight::child_process::{Decoder, Limits, Serialization, json, v8};

/// The system's allocator, with a count of what is in use and the most that was.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that was in use for what `f` gives, beyond what was before.
fn most<R>(f: impl FnOnce() -> R) -> usize {
    let before = IN_USE.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let result = f();
    let most = MOST.load(Ordering::Relaxed) - before;
    drop(result);
    assert_eq!(IN_USE.load(Ordering::Relaxed), before, "something is left over");
    most
}

const SIZE: usize = 1 << 20;

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// An array of a megabyte: some elements, then one over and over.
fn array(first: &[u8], count: usize, unit: &[u8]) -> Vec<u8> {
    let more = SIZE / unit.len();
    [
        b"\xff\x0fA",
        &varint(count + more)[..],
        first,
        &unit.repeat(more),
        b"$\0",
        &varint(count + more),
    ]
    .concat()
}

/// Keyed numbers of a megabyte, and how many.
fn keyed() -> (Vec<u8>, usize) {
    let pair = |n: usize| [&b"U"[..], &varint(n), b"0"].concat();
    ((0..SIZE / 5).flat_map(pair).collect(), SIZE / 5)
}

/// Messages of about a megabyte that say much with few bytes.
fn dense_messages() -> Vec<(&'static str, Vec<u8>)> {
    let v8 = |parts: &[&[u8]]| [b"\xff\x0f", &parts.concat()[..]].concat();
    let (pairs, count) = keyed();
    let buffer = [&b"B\x10"[..], &[0; 16]].concat();
    vec![
        ("elements", array(b"", 0, b"0")),
        ("objects", array(b"", 0, b"o{\0")),
        ("arrays", array(b"", 0, b"A\0$\0\0")),
        ("sparse arrays", array(b"", 0, b"a\x7f@\0\x7f")),
        ("maps", array(b"", 0, b";:\0")),
        ("errors", array(b"", 0, b"r.")),
        ("boolean objects", array(b"", 0, b"y")),
        ("boolean objects by number", array(b"y^\0", 2, b"y")),
        ("views of one buffer", array(&buffer, 1, b"^\x01VB\0\x10\0")),
        ("references", array(b"y", 1, b"^\x01")),
        ("references from inside", array(b"", 0, b"^\0")),
        ("bigints", array(b"", 0, b"Z\x10\xff\xff\xff\xff\xff\xff\xff\xff")),
        ("wide text", array(b"", 0, b"c\x02\0\xd8")),
        ("latin text", v8(&[b"\"", &varint(SIZE), &[0xe9; SIZE]])),
        ("holes", array(b"-", 1, b"0")),
        ("keys", v8(&[b"o", &pairs, b"{", &varint(count)])),
        (
            "sparse elements",
            v8(&[b"a", &varint(SIZE), &pairs, b"@", &varint(count), &varint(SIZE)]),
        ),
        ("a set", v8(&[b"'", &pairs, b",", &varint(2 * count)])),
        ("lengths", v8(&[&b"A\x80\x80\x10".repeat(5_000), &[b'0'; SIZE]])),
        ("text that says it is long", v8(&[b"\"\xff\xff\xff\xff\x07"])),
        ("an array that says it is long", v8(&[b"a\xff\xff\xff\xff\x0f@\0\xff\xff\xff\xff\x0f"])),
    ]
}

#[test]
fn memory_is_in_proportion_to_the_message() {
    for (name, bytes) in dense_messages() {
        let mut good = false;
        let used = most(|| v8::deserialize(&bytes, &Limits::default()).inspect(|_| good = true));
        assert_eq!(good, !["lengths", "text that says it is long"].contains(&name), "{name}");
        let factor = used as f64 / bytes.len() as f64;
        assert!(used < 150 * bytes.len() + 2_000, "{name}: {factor:.1} for each byte");
        println!("{name}: {factor:.1} for each byte");
    }
    for unit in ["0,", "[],", "{},", "[0],", "{\"\":0},", "\"\\ud800\",", "[", "{\"\":"] {
        let text = format!("[{}", unit.repeat((1 << 20) / unit.len()));
        let used = most(|| json::parse(text.as_bytes(), &Limits::default()));
        let factor = used as f64 / text.len() as f64;
        assert!(used < 110 * text.len() + 2_000, "{unit}: {factor:.1} for each byte");
        println!("{unit}: {factor:.1} for each byte");
    }
    // A length alone takes nothing, and what is too long is not kept.
    let used = most(|| {
        let mut decoder = Decoder::new(Serialization::Advanced, Limits::default());
        decoder.feed(&(100u32 << 20).to_be_bytes());
        assert_eq!(decoder.next_frame(), None);
        decoder
    });
    assert!(used < 1_000, "{used}");
}
