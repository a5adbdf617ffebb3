//! Which job is next: the rule by which a pool's threads share the classes of work.
//!
//! No thread and no lock in here, so that the rule can be tested by itself. It is:
//!
//! - Jobs leave in the order in which they came, whatever their class, with two exceptions.
//! - Slow work has at most half of the threads (libuv's figure, rounded up); when it has them, the
//!   others pass it over. A resolver that does not answer holds its thread for many seconds.
//! - While other work holds threads, one more thread stands in reserve for files. So work on files
//!   always has a thread that nothing else can hold, even in a pool of one, and nobody's
//!   parallelism is reduced for it. Taking a thread away from the others instead was rejected:
//!   with one thread there is none to take, and who asks for four works at once gets four.
//!
//! Invariant: a thread counts as free from the moment it is asked for until it takes a job, so that
//! nobody starts another for the same job.

use std::collections::VecDeque;

use super::WorkClass;
use super::mailbox::Job;
use super::statistics::{ClassCounts, PoolStatistics};

/// The place of a job in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JobId {
    pub(super) class: WorkClass,
    number: u64,
}

struct Queued {
    number: u64,
    since: u64,
    /// `None` for one that was taken out of the middle.
    job: Option<Job>,
}

/// Room for jobs that a queue keeps when it has become empty; what a burst took beyond is given back.
pub(super) const KEPT_ROOM: usize = 1024;

/// The jobs of one class in the order of their numbers. Invariant: the first, if any, is there.
#[derive(Default)]
struct Line {
    jobs: VecDeque<Queued>,
    /// How many are there.
    count: usize,
}

impl Line {
    fn push(&mut self, number: u64, since: u64, job: Job) {
        self.jobs.push_back(Queued { number, since, job: Some(job) });
        self.count += 1;
    }

    fn first(&self) -> Option<u64> {
        self.jobs.front().map(|queued| queued.number)
    }

    /// The first job, and since when it has been there.
    fn pop(&mut self) -> Option<(u64, Job)> {
        let Queued { since, job, .. } = self.jobs.pop_front()?;
        self.count -= 1;
        self.close_up();
        job.map(|job| (since, job))
    }

    fn remove(&mut self, number: u64) -> Option<Job> {
        let at = self.jobs.binary_search_by_key(&number, |queued| queued.number).ok()?;
        let job = self.jobs.get_mut(at)?.job.take()?;
        self.count -= 1;
        self.close_up();
        // Gaps are closed when they are the greater part, so that each job pays for a few steps.
        if self.jobs.len() > 2 * self.count {
            self.jobs.retain(|queued| queued.job.is_some());
        }
        Some(job)
    }

    fn close_up(&mut self) {
        while self.jobs.front().is_some_and(|queued| queued.job.is_none()) {
            self.jobs.pop_front();
        }
        if self.jobs.is_empty() && self.jobs.capacity() > KEPT_ROOM {
            self.jobs.shrink_to(KEPT_ROOM);
        }
    }
}

/// Jobs that wait, and who is at work.
pub(super) struct Queue {
    size: usize,
    waiting: [Line; 3],
    next: u64,
    pub(super) threads: usize,
    /// Threads that have no job, those among them that are just being started or woken.
    pub(super) free: usize,
    counts: [ClassCounts; 3],
    by_reserve: u64,
}

impl Queue {
    /// For a pool of `size` threads.
    pub(super) fn new(size: usize) -> Queue {
        Queue {
            size,
            waiting: Default::default(),
            next: 0,
            threads: 0,
            free: 0,
            counts: Default::default(),
            by_reserve: 0,
        }
    }

    pub(super) fn push(&mut self, class: WorkClass, job: Job, now: u64) -> JobId {
        let number = self.next;
        self.next += 1;
        self.waiting[class.index()].push(number, now, job);
        JobId { class, number }
    }

    /// Takes a job out again that no thread has taken; `None` when one has.
    pub(super) fn remove(&mut self, id: JobId) -> Option<Job> {
        let job = self.waiting[id.class.index()].remove(id.number)?;
        self.counts[id.class.index()].canceled += 1;
        Some(job)
    }

    /// Everything that waits, without a trace.
    pub(super) fn clear(&mut self) -> Vec<Job> {
        let lines = self.waiting.iter_mut().map(std::mem::take);
        lines.flat_map(|line| line.jobs).filter_map(|queued| queued.job).collect()
    }

    fn running(&self, class: WorkClass) -> usize {
        self.counts[class.index()].running
    }

    fn room_for_slow(&self) -> usize {
        self.size.div_ceil(2).saturating_sub(self.running(WorkClass::Slow))
    }

    /// Jobs that a free thread might take now.
    fn takeable(&self) -> usize {
        let count = |class: WorkClass| self.waiting[class.index()].count;
        let slow = count(WorkClass::Slow).min(self.room_for_slow());
        count(WorkClass::User) + count(WorkClass::File) + slow
    }

    /// Whether there are not enough free threads for what waits, and there may be more.
    pub(super) fn wants_thread(&self) -> bool {
        self.threads < self.size && self.takeable() > self.free
    }

    /// Whether those who are free and awake are too few for what waits: one of the `asleep` others
    /// is to be woken, and if there is none, there may have to be another thread, or the reserve.
    pub(super) fn wants_another(&self, asleep: usize) -> bool {
        self.takeable() > self.free - asleep
    }

    /// Whether the thread in reserve has something to do: files wait, nobody is free for them, and
    /// other work is the reason.
    pub(super) fn wants_reserve(&self) -> bool {
        self.waiting[WorkClass::File.index()].count > 0
            && self.takeable() > self.free
            && self.running(WorkClass::User) + self.running(WorkClass::Slow) > 0
    }

    /// The next job for one of the pool's threads.
    pub(super) fn take(&mut self, now: impl FnOnce() -> u64) -> Option<(WorkClass, Job)> {
        let slow_may_run = self.room_for_slow() > 0;
        let oldest =
            |class: &WorkClass| self.waiting[class.index()].first().map(|number| (number, *class));
        let may_run = |class: &&WorkClass| **class != WorkClass::Slow || slow_may_run;
        let (_, class) =
            WorkClass::ALL.iter().filter(may_run).filter_map(oldest).min_by_key(|head| head.0)?;
        self.begin(class, now())
    }

    /// The next job for the thread in reserve.
    pub(super) fn take_for_reserve(
        &mut self,
        now: impl FnOnce() -> u64,
    ) -> Option<(WorkClass, Job)> {
        if !self.wants_reserve() {
            return None;
        }
        self.by_reserve += 1;
        self.begin(WorkClass::File, now())
    }

    fn begin(&mut self, class: WorkClass, now: u64) -> Option<(WorkClass, Job)> {
        let (since, job) = self.waiting[class.index()].pop()?;
        self.counts[class.index()].begin(now.saturating_sub(since));
        Some((class, job))
    }

    /// A job has been done.
    pub(super) fn end(&mut self, class: WorkClass) {
        self.counts[class.index()].running -= 1;
    }

    pub(super) fn statistics(&self) -> PoolStatistics {
        let class = |class: WorkClass| {
            self.counts[class.index()].statistics(self.waiting[class.index()].count)
        };
        PoolStatistics {
            threads: self.threads,
            by_reserve: self.by_reserve,
            classes: WorkClass::ALL.map(class),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WorkClass::{File, Slow, User};

    /// A queue with all of its threads started and free.
    fn queue(size: usize) -> Queue {
        let mut queue = Queue::new(size);
        (queue.threads, queue.free) = (size, size);
        queue
    }

    fn push(queue: &mut Queue, classes: &[WorkClass]) -> Vec<JobId> {
        classes.iter().map(|class| queue.push(*class, Job::empty(), 0)).collect()
    }

    /// As a pool's thread does: the class of what it took.
    fn take(queue: &mut Queue) -> Option<WorkClass> {
        let (class, _job) = queue.take(|| 0)?;
        queue.free -= 1;
        Some(class)
    }

    fn take_all(queue: &mut Queue) -> Vec<WorkClass> {
        std::iter::from_fn(|| if queue.free > 0 { take(queue) } else { None }).collect()
    }

    #[test]
    fn jobs_leave_in_the_order_they_came() {
        let mut queue = queue(8);
        push(&mut queue, &[User, File, Slow, File, User]);
        assert_eq!(take_all(&mut queue), [User, File, Slow, File, User]);
    }

    #[test]
    fn slow_work_has_half_of_the_threads() {
        for (size, half) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)] {
            let mut queue = queue(size);
            push(&mut queue, &[Slow; 8]);
            assert_eq!(take_all(&mut queue).len(), half, "of {size}");
            push(&mut queue, &[User]);
            if half < size {
                assert_eq!(take(&mut queue), Some(User), "passes the others");
            }
            queue.end(Slow);
            queue.free += 1;
            assert_eq!(queue.take(|| 0).map(|(class, _)| class), Some(Slow));
        }
    }

    #[test]
    fn a_thread_is_started_only_for_a_job_that_no_free_one_can_take() {
        let mut queue = Queue::new(2);
        push(&mut queue, &[User]);
        assert!(queue.wants_thread());
        (queue.threads, queue.free) = (1, 1);
        assert!(!queue.wants_thread(), "one is on its way");
        push(&mut queue, &[User]);
        assert!(queue.wants_thread());
        (queue.threads, queue.free) = (2, 2);
        push(&mut queue, &[User]);
        assert!(!queue.wants_thread(), "there may be two");
    }

    #[test]
    fn no_thread_is_started_for_slow_work_above_its_half() {
        let mut queue = Queue::new(4);
        (queue.threads, queue.free) = (2, 2);
        push(&mut queue, &[Slow; 5]);
        assert_eq!(take_all(&mut queue), [Slow; 2]);
        assert!(!queue.wants_thread());
    }

    #[test]
    fn the_reserve_helps_files_past_other_work_even_in_a_pool_of_one() {
        for other in [User, Slow] {
            for size in [1, 4] {
                let mut queue = queue(size);
                push(&mut queue, &[other; 8]);
                push(&mut queue, &[File]);
                take_all(&mut queue);
                let files_wait = queue.waiting[File.index()].count > 0;
                assert_eq!(queue.wants_reserve(), files_wait);
                assert_eq!(queue.take_for_reserve(|| 0).is_some(), files_wait);
                assert_eq!(queue.running(File), 1, "{other:?} of {size}");
            }
        }
    }

    #[test]
    fn the_reserve_leaves_files_alone_when_files_have_all_threads() {
        let mut queue = queue(2);
        push(&mut queue, &[File; 5]);
        assert!(!queue.wants_reserve(), "two are free");
        assert_eq!(take_all(&mut queue), [File; 2]);
        assert!(!queue.wants_reserve());
        assert!(queue.take_for_reserve(|| 0).is_none());
        queue.end(File);
        queue.free += 1;
        push(&mut queue, &[User]);
        // Three files are before it, so the free thread is theirs.
        assert_eq!(take(&mut queue), Some(File));
        assert!(!queue.wants_reserve());
    }

    #[test]
    fn what_was_taken_cannot_be_removed() {
        let mut queue = queue(1);
        let ids = push(&mut queue, &[User, User]);
        take(&mut queue);
        assert!(queue.remove(ids[0]).is_none());
        assert!(queue.remove(ids[1]).is_some());
        assert!(queue.remove(ids[1]).is_none());
        assert_eq!(queue.statistics().class(User).canceled, 1);
        assert_eq!(queue.statistics().class(User).queued, 0);
        assert_eq!(queue.statistics().class(User).running, 1);
    }

    #[test]
    fn a_sleeper_is_woken_for_a_job_that_nobody_awake_can_take() {
        let mut queue = queue(3);
        let mut asleep = 3;
        let mut wakes = |queue: &Queue| {
            let wakes = queue.wants_another(asleep);
            asleep -= usize::from(wakes);
            wakes
        };
        assert!(!wakes(&queue), "nothing to do");
        for _ in 0..2 {
            push(&mut queue, &[Slow]);
            assert!(wakes(&queue));
            assert!(!wakes(&queue), "one for each");
        }
        push(&mut queue, &[Slow]);
        assert!(!wakes(&queue), "slow work has its half");
        push(&mut queue, &[File]);
        assert!(wakes(&queue));
        assert_eq!(take_all(&mut queue), [Slow, Slow, File]);
    }

    #[test]
    fn a_line_gives_the_room_of_a_burst_back() {
        for leave in [Line::pop, |line: &mut Line| line.remove(line.first()?).map(|job| (0, job))] {
            let mut line = Line::default();
            (0..5000).for_each(|number| line.push(number, 0, Job::empty()));
            assert!(line.jobs.capacity() >= 5000);
            while leave(&mut line).is_some() {}
            assert!(line.jobs.capacity() < 2 * KEPT_ROOM, "{}", line.jobs.capacity());
        }
    }

    #[test]
    fn a_line_keeps_its_order_and_no_more_than_twice_what_is_in_it() {
        let mut line = Line::default();
        (0..100).for_each(|number| line.push(number, number, Job::empty()));
        for number in (0..100).filter(|number| number % 10 != 5) {
            assert!(line.remove(number).is_some());
            assert!(line.remove(number).is_none(), "taken already");
            assert!(line.jobs.len() <= 2 * line.count, "{} for {}", line.jobs.len(), line.count);
        }
        assert_eq!(line.first(), Some(5));
        let left: Vec<_> = std::iter::from_fn(|| line.pop().map(|(since, _)| since)).collect();
        assert_eq!(left, [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]);
        assert_eq!((line.count, line.first()), (0, None));
    }
}
