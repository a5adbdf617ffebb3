//! The wake list under loom: every interleaving of a few operations.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib models`. Loom also reports every reference
//! that is leaked, and every use of one that was freed.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::{Ready, WakeList};

/// As the loop does: drains for as long as its poll says that the bell was rung.
fn poll(list: &WakeList, ready: &mut Ready, seen: &mut Vec<u64>) {
    while list.shared.bell.is_rung() {
        list.drain(ready);
        while let Some(key) = ready.next() {
            seen.push(key);
        }
    }
}

#[test]
fn two_senders_and_a_drain_lose_no_entry() {
    loom::model(|| {
        let list = WakeList::new().unwrap();
        let senders: Vec<_> = (1..=2)
            .map(|key| {
                let entry = list.entry(key);
                thread::spawn(move || entry.send().unwrap())
            })
            .collect();
        let (mut ready, mut seen) = (Ready::default(), Vec::new());
        poll(&list, &mut ready, &mut seen);
        for sender in senders {
            sender.join().unwrap();
        }
        poll(&list, &mut ready, &mut seen);
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
    });
}

#[test]
fn what_was_written_before_a_send_is_seen_by_a_later_callback() {
    loom::model(|| {
        let list = WakeList::new().unwrap();
        let entry = list.entry(1);
        let written = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let senders: Vec<_> = (0..2)
            .map(|i| {
                let (entry, written) = (entry.clone(), Arc::clone(&written));
                thread::spawn(move || {
                    written[i].store(1, Ordering::Relaxed);
                    entry.send().unwrap();
                })
            })
            .collect();
        let mut ready = Ready::default();
        let mut sum = 0;
        let mut callbacks = |list: &WakeList| {
            while list.shared.bell.is_rung() {
                list.drain(&mut ready);
                while ready.next().is_some() {
                    sum = written.iter().map(|w| w.load(Ordering::Relaxed)).sum();
                }
            }
        };
        callbacks(&list);
        for sender in senders {
            sender.join().unwrap();
        }
        // Every load below comes after the joins; only a callback that does not come at all, or
        // the last one having come too early, can leave the sum short.
        callbacks(&list);
        assert_eq!(sum, 2);
    });
}

#[test]
fn send_against_closing_the_list_leaks_nothing_and_then_fails() {
    loom::model(|| {
        let list = WakeList::new().unwrap();
        let entry = list.entry(1);
        let sender = {
            let entry = entry.clone();
            thread::spawn(move || {
                let _ = entry.send();
            })
        };
        list.close();
        drop(list);
        sender.join().unwrap();
        assert!(entry.send().is_err());
    });
}

#[test]
fn send_against_closing_the_entry_is_delivered_at_most_before_it() {
    loom::model(|| {
        let list = WakeList::new().unwrap();
        let entry = list.entry(1);
        let sender = {
            let entry = entry.clone();
            thread::spawn(move || {
                let _ = entry.send();
            })
        };
        entry.close();
        let (mut ready, mut seen) = (Ready::default(), Vec::new());
        poll(&list, &mut ready, &mut seen);
        sender.join().unwrap();
        poll(&list, &mut ready, &mut seen);
        assert_eq!(seen, []);
        assert!(entry.send().is_err());
    });
}
