//! Whether it pays to ask the kernel once more after a call that may have brought all there was.
//!
//! Asking in vain costs a system call, not asking costs a turn of the loop for what was there
//! already. Which it will be, the last few times tell: after each time in vain, twice as many
//! chances are let go as after the one before.

use std::cell::Cell;

/// Chances let go after many times in vain.
const MOST_LET_GO: u8 = 64;

/// What has become of asking again so far.
#[derive(Debug, Default)]
pub(crate) struct Again {
    /// Chances still to be let go.
    left: Cell<u8>,
    /// How many there were the last time.
    last: Cell<u8>,
}

impl Again {
    /// Whether to ask again, at this chance.
    pub(crate) fn pays(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left == 0
    }

    /// It was asked again, and something came or not.
    pub(crate) fn was(&self, worth_it: bool) {
        let next = if worth_it { 0 } else { (self.last.get() * 2).clamp(1, MOST_LET_GO) };
        self.last.set(next);
        self.left.set(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_vain_is_tried_less_and_less_often_until_it_pays_again() {
        let again = Again::default();
        let until_it_pays = || (0..1000).position(|_| again.pays());
        for let_go in [0, 1, 2, 4, 8, 16, 32, 64, 64, 64] {
            assert_eq!(until_it_pays(), Some(let_go));
            again.was(false);
        }
        assert_eq!(until_it_pays(), Some(64));
        again.was(true);
        assert_eq!(until_it_pays(), Some(0));
    }
}
