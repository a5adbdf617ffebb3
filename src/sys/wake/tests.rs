//! The wake list on real threads and a real eventfd; also run under miri.

use std::sync::{Arc, Barrier};
use std::thread;

use super::{Ready, WakeList};
use crate::error::Error;

fn keys(list: &WakeList, ready: &mut Ready) -> Vec<u64> {
    list.drain(ready);
    std::iter::from_fn(|| ready.next()).collect()
}

/// How often the eventfd was written since it was last emptied.
fn rings(list: &WakeList) -> u64 {
    use std::os::fd::AsRawFd;
    let mut count = [0u8; 8];
    // SAFETY: the buffer takes the eight bytes and outlives the call.
    let n = unsafe { libc::read(list.fd().as_raw_fd(), count.as_mut_ptr().cast(), 8) };
    if n == 8 { u64::from_ne_bytes(count) } else { 0 }
}

#[test]
fn keys_come_in_the_order_sent_and_one_ring_announces_them() {
    let list = WakeList::new().unwrap();
    let entries: Vec<_> = (0..5).map(|key| list.entry(key)).collect();
    for i in [3, 0, 4, 0, 1, 3] {
        entries[i].send().unwrap();
    }
    assert_eq!(rings(&list), 1);
    let mut ready = Ready::default();
    assert_eq!(keys(&list, &mut ready), [3, 0, 4, 1]);
    assert!(ready.is_empty());
    assert!(keys(&list, &mut ready).is_empty());
}

#[test]
fn a_send_during_the_callback_makes_another_wake_up() {
    let list = WakeList::new().unwrap();
    let (a, b) = (list.entry(1), list.entry(2));
    a.send().unwrap();
    b.send().unwrap();
    let mut ready = Ready::default();
    list.drain(&mut ready);
    assert_eq!(ready.next(), Some(1));
    a.send().unwrap();
    // Not called back yet in this batch: the send coalesces with the one that is waiting.
    b.send().unwrap();
    assert_eq!(ready.next(), Some(2));
    assert_eq!(ready.next(), None);
    assert_eq!(rings(&list), 1);
    assert_eq!(keys(&list, &mut ready), [1]);
}

#[test]
fn a_batch_left_half_way_goes_on_before_what_came_later() {
    let list = WakeList::new().unwrap();
    let entries: Vec<_> = (0..4).map(|key| list.entry(key)).collect();
    entries[0].send().unwrap();
    entries[1].send().unwrap();
    let mut ready = Ready::default();
    list.drain(&mut ready);
    assert_eq!(ready.next(), Some(0));
    entries[3].send().unwrap();
    entries[2].send().unwrap();
    assert_eq!(keys(&list, &mut ready), [1, 3, 2]);
}

#[test]
fn a_dropped_batch_leaves_its_entries_usable() {
    let list = WakeList::new().unwrap();
    let entry = list.entry(7);
    entry.send().unwrap();
    let mut ready = Ready::default();
    list.drain(&mut ready);
    drop(ready);
    entry.send().unwrap();
    assert_eq!(keys(&list, &mut Ready::default()), [7]);
}

#[test]
fn a_closed_entry_refuses_sends_and_delivers_nothing() {
    let list = WakeList::new().unwrap();
    let (a, b) = (list.entry(1), list.entry(2));
    a.send().unwrap();
    b.send().unwrap();
    let mut ready = Ready::default();
    list.drain(&mut ready);
    a.close();
    assert_eq!(ready.next(), Some(2));
    assert_eq!(a.send(), Err(Error::EINVAL));
    assert!(keys(&list, &mut ready).is_empty());
}

#[test]
fn closing_the_list_releases_what_is_pending_and_refuses_sends() {
    let list = WakeList::new().unwrap();
    let (pending, idle, forgotten) = (list.entry(1), list.entry(2), list.entry(3));
    pending.send().unwrap();
    forgotten.send().unwrap();
    drop(forgotten);
    list.close();
    list.close();
    assert_eq!(Arc::strong_count(&pending.0), 1);
    assert_eq!(pending.send(), Err(Error::EINVAL));
    assert_eq!(idle.send(), Err(Error::EINVAL));
    assert_eq!(idle.send(), Err(Error::EINVAL));
    assert!(keys(&list, &mut Ready::default()).is_empty());
    let shared = Arc::downgrade(&list.shared);
    drop(list);
    assert!(shared.upgrade().is_some(), "the eventfd outlives the loop for its senders");
    drop((pending, idle));
    assert!(shared.upgrade().is_none());
}

#[test]
fn dropping_the_list_with_sends_pending_frees_everything() {
    let list = WakeList::new().unwrap();
    let shared = Arc::downgrade(&list.shared);
    let (entry, forgotten) = (list.entry(1), list.entry(2));
    entry.send().unwrap();
    forgotten.send().unwrap();
    drop((forgotten, list));
    assert_eq!(entry.send(), Err(Error::EINVAL));
    drop(entry);
    assert!(shared.upgrade().is_none());
}

#[test]
fn waking_without_an_entry_makes_the_descriptor_readable() {
    let list = WakeList::new().unwrap();
    list.waker().wake();
    assert_eq!(rings(&list), 1);
    assert!(keys(&list, &mut Ready::default()).is_empty());
}

#[test]
fn an_entry_marked_but_not_pushed_by_a_lost_thread_is_adopted_once() {
    use std::sync::atomic::Ordering;
    let list = WakeList::new().unwrap();
    let entries: Vec<_> = (0..4).map(|key| list.entry(key)).collect();
    entries[2].send().unwrap();
    let mut ready = Ready::default();
    list.drain(&mut ready);
    entries[1].send().unwrap();
    // What a fork between the two steps of another thread's send leaves in the child.
    entries[3].0.state.fetch_or(super::PENDING, Ordering::AcqRel);
    list.adopt(&entries, &mut ready);
    assert_eq!(keys(&list, &mut ready), [2, 1, 3]);
    entries[3].send().unwrap();
    assert_eq!(keys(&list, &mut ready), [3]);
}

#[test]
fn every_thread_s_last_send_is_delivered() {
    const THREADS: u64 = 4;
    let sends = if cfg!(miri) { 20 } else { 10_000 };
    let list = WakeList::new().unwrap();
    let start = Arc::new(Barrier::new(THREADS as usize + 1));
    let counts: Arc<Vec<_>> =
        Arc::new((0..THREADS).map(|_| std::sync::atomic::AtomicU64::new(0)).collect());
    let threads: Vec<_> = (0..THREADS)
        .map(|key| {
            let (entry, start, counts) = (list.entry(key), start.clone(), counts.clone());
            thread::spawn(move || {
                start.wait();
                for i in 1..=sends {
                    counts[key as usize].store(i, std::sync::atomic::Ordering::Relaxed);
                    entry.send().unwrap();
                }
            })
        })
        .collect();
    start.wait();
    let mut ready = Ready::default();
    let mut last = [0; THREADS as usize];
    // Relaxed loads: what makes the value visible has to be the send itself.
    while last.iter().any(|&seen| seen < sends) {
        for key in keys(&list, &mut ready) {
            last[key as usize] = counts[key as usize].load(std::sync::atomic::Ordering::Relaxed);
        }
        thread::yield_now();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(last.iter().all(|&seen| seen == sends));
}

#[test]
#[cfg_attr(miri, ignore = "miri has no signals and no processes")]
fn a_send_in_a_signal_handler_wakes_and_keeps_errno() {
    use crate::sys::isolation::isolated;
    isolated(|| {
        let list = WakeList::new().unwrap();
        let entry = list.entry(9);
        // SAFETY: a send is async-signal-safe; this test is here to say so.
        unsafe { signal_hook::low_level::register(libc::SIGUSR1, move || entry.send().unwrap()) }
            .unwrap();
        let mut ready = Ready::default();
        for _ in 0..3 {
            // SAFETY: no pointers are passed.
            unsafe { libc::raise(libc::SIGUSR1) };
            assert_eq!(keys(&list, &mut ready), [9]);
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "miri has no signals and no processes")]
fn after_fork_the_child_rings_its_own_bell_and_keeps_what_is_pending() {
    use crate::sys::forked::fate_of;
    use crate::sys::isolation::isolated;
    isolated(|| {
        let list = WakeList::new().unwrap();
        let (pending, other) = (list.entry(1), list.entry(2));
        pending.send().unwrap();
        assert_eq!(rings(&list), 1);
        let fate = fate_of(|| {
            list.after_fork().unwrap();
            let mut ready = Ready::default();
            list.adopt([&pending, &other], &mut ready);
            other.send().unwrap();
            assert!(rings(&list) > 0);
            assert_eq!(keys(&list, &mut ready), [1, 2]);
            0
        });
        assert_eq!(fate.code(), Some(0));
        assert_eq!(rings(&list), 0, "the child rang its own");
        assert_eq!(keys(&list, &mut Ready::default()), [1]);
    });
}
