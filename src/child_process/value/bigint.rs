//! A JavaScript bigint: a sign and 64-bit digits.
//!
//! Invariant: what an `i64` holds is kept as one, without an allocation; the other form has no
//! leading zero digit. So equal numbers have equal representations, and there is no −0.

use std::fmt;

/// A JavaScript bigint of any size.
///
/// No arithmetic: it carries the number from one process to the other.
///
/// ```
/// use blacklight::child_process::BigInt;
///
/// let big = BigInt::from(1u128 << 64);
/// assert_eq!(big.to_le_bytes(), (false, vec![0, 0, 0, 0, 0, 0, 0, 0, 1]));
/// assert_eq!(u128::try_from(&big), Ok(1 << 64));
/// assert!(i64::try_from(&big).is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BigInt(Form);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Form {
    Small(i64),
    Large(Box<Large>),
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Large {
    negative: bool,
    digits: Vec<u64>,
}

/// The number does not fit into the type asked for.
///
/// ```
/// use blacklight::child_process::{BigInt, BigIntRange};
///
/// assert_eq!(u64::try_from(&BigInt::from(-1)), Err(BigIntRange));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BigIntRange;

impl fmt::Display for BigIntRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bigint is out of range")
    }
}

impl std::error::Error for BigIntRange {}

impl BigInt {
    /// The number with this sign and magnitude, the lowest byte first; zero has no sign.
    ///
    /// ```
    /// use blacklight::child_process::BigInt;
    ///
    /// assert_eq!(BigInt::from_le_bytes(true, &[5, 0, 0]), BigInt::from(-5));
    /// ```
    #[must_use]
    pub fn from_le_bytes(negative: bool, bytes: &[u8]) -> BigInt {
        let digits = bytes.chunks(8).map(|chunk| {
            let mut digit = [0; 8];
            digit[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(digit)
        });
        BigInt::from_digits(negative, digits.collect())
    }

    fn from_digits(negative: bool, mut digits: Vec<u64>) -> BigInt {
        let used = digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1);
        digits.truncate(used);
        let small = match (digits.as_slice(), negative) {
            ([], _) => Some(0),
            ([digit], false) => i64::try_from(*digit).ok(),
            ([digit], true) if *digit <= 1 << 63 => Some((*digit as i64).wrapping_neg()),
            _ => None,
        };
        BigInt(match small {
            Some(small) => Form::Small(small),
            None => Form::Large(Box::new(Large { negative, digits })),
        })
    }

    /// Whether the number is below zero, and its magnitude, the lowest byte first, without leading
    /// zero bytes.
    ///
    /// ```
    /// use blacklight::child_process::BigInt;
    ///
    /// assert_eq!(BigInt::from(-258).to_le_bytes(), (true, vec![2, 1]));
    /// assert_eq!(BigInt::from(0).to_le_bytes(), (false, vec![]));
    /// ```
    #[must_use]
    pub fn to_le_bytes(&self) -> (bool, Vec<u8>) {
        let mut bytes = Vec::new();
        let negative = self.with_digits(|negative, digits| {
            bytes.extend(digits.iter().flat_map(|digit| digit.to_le_bytes()));
            negative
        });
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used);
        (negative, bytes)
    }

    /// Calls `f` with the sign and the digits, lowest first, none for zero.
    pub(super) fn with_digits<R>(&self, f: impl FnOnce(bool, &[u64]) -> R) -> R {
        match &self.0 {
            Form::Small(0) => f(false, &[]),
            Form::Small(small) => f(*small < 0, &[small.unsigned_abs()]),
            Form::Large(large) => f(large.negative, &large.digits),
        }
    }
}

impl fmt::Debug for BigInt {
    /// As JavaScript writes the literal, in decimal up to 128 bits and in hexadecimal above.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(number) = i128::try_from(self) {
            return write!(f, "{number}n");
        }
        self.with_digits(|negative, digits| {
            f.write_str(if negative { "-0x" } else { "0x" })?;
            let mut digits = digits.iter().rev();
            if let Some(first) = digits.next() {
                write!(f, "{first:x}")?;
            }
            for digit in digits {
                write!(f, "{digit:016x}")?;
            }
            f.write_str("n")
        })
    }
}

macro_rules! from_signed {
    ($($type:ty)*) => {$(
        impl From<$type> for BigInt {
            fn from(number: $type) -> BigInt {
                BigInt(Form::Small(i64::from(number)))
            }
        }
    )*};
}
from_signed!(i8 i16 i32 i64 u8 u16 u32);

impl From<u64> for BigInt {
    fn from(number: u64) -> BigInt {
        BigInt::from_digits(false, vec![number])
    }
}

impl From<u128> for BigInt {
    fn from(number: u128) -> BigInt {
        BigInt::from_digits(false, vec![number as u64, (number >> 64) as u64])
    }
}

impl From<i128> for BigInt {
    fn from(number: i128) -> BigInt {
        let size = number.unsigned_abs();
        BigInt::from_digits(number < 0, vec![size as u64, (size >> 64) as u64])
    }
}

impl TryFrom<&BigInt> for i128 {
    type Error = BigIntRange;

    fn try_from(number: &BigInt) -> Result<i128, BigIntRange> {
        let (negative, size) = number.with_digits(|negative, digits| match digits {
            [] => Ok((false, 0)),
            [low] => Ok((negative, u128::from(*low))),
            [low, high] => Ok((negative, u128::from(*high) << 64 | u128::from(*low))),
            _ => Err(BigIntRange),
        })?;
        match negative {
            false => i128::try_from(size).map_err(|_| BigIntRange),
            true if size <= 1 << 127 => Ok((size as i128).wrapping_neg()),
            true => Err(BigIntRange),
        }
    }
}

impl TryFrom<&BigInt> for u128 {
    type Error = BigIntRange;

    fn try_from(number: &BigInt) -> Result<u128, BigIntRange> {
        number.with_digits(|negative, digits| match digits {
            [] => Ok(0),
            [low] if !negative => Ok(u128::from(*low)),
            [low, high] if !negative => Ok(u128::from(*high) << 64 | u128::from(*low)),
            _ => Err(BigIntRange),
        })
    }
}

macro_rules! narrow {
    ($($type:ty)*) => {$(
        impl TryFrom<&BigInt> for $type {
            type Error = BigIntRange;

            fn try_from(number: &BigInt) -> Result<$type, BigIntRange> {
                i128::try_from(number)?.try_into().map_err(|_| BigIntRange)
            }
        }
    )*};
}
narrow!(i32 u32 i64 u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_have_one_form() {
        for number in [0, 1, -1, i64::MAX.into(), i64::MIN.into(), i128::MAX, i128::MIN, 1 << 64] {
            let big = BigInt::from(number);
            assert_eq!(i128::try_from(&big), Ok(number));
            let (negative, bytes) = big.to_le_bytes();
            assert_eq!(BigInt::from_le_bytes(negative, &bytes), big);
            if let Ok(narrow) = i64::try_from(number) {
                assert_eq!(BigInt::from(narrow), big);
            }
        }
        assert_eq!(BigInt::from_le_bytes(true, &[0; 24]), BigInt::from(0));
        assert_eq!(u64::try_from(&BigInt::from(u64::MAX)), Ok(u64::MAX));
    }

    #[test]
    fn debug_is_the_literal() {
        assert_eq!(format!("{:?}", BigInt::from(-5)), "-5n");
        let big = BigInt::from_le_bytes(true, &[&[0; 16][..], &[1]].concat());
        assert_eq!(format!("{big:?}"), "-0x100000000000000000000000000000000n");
    }
}
