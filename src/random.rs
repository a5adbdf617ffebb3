//! Random bytes from the system.

use crate::error::Error;
use crate::fs::{BytesMut, Transferred};
use crate::sys;
use crate::work::{Go, Operation, RequestKind, WorkClass};

/// More than this is not given at once (libuv's limit).
const MOST: usize = i32::MAX as usize;

/// Fills a buffer with random bytes that are fit for keys (`uv_random`, whose flags must be 0 and do
/// not exist here).
///
/// ```
/// let [one, other] = [vec![0; 32], vec![0; 32]].map(|b| blacklight::random(b).run());
/// assert_eq!(one.result, Ok(32));
/// assert_ne!(one.buffer, other.buffer);
/// ```
///
/// # Errors
/// In [`Transferred::result`], and from [`Operation::start`], `E2BIG` for more than 2^31 - 1 bytes;
/// what getrandom(2) says.
pub fn random<B: BytesMut>(buffer: B) -> Operation<Transferred<B>> {
    let mut buffer = buffer;
    let length = buffer.bytes_mut().len();
    Operation::new(move |go| {
        let result = match go {
            Go::Run(_) => sys::random::fill(buffer.bytes_mut()).map(|()| length),
            Go::Fail(error) | Go::Ended(Err(error)) => Err(error),
            Go::Ended(Ok(_)) => Err(Error::UNKNOWN),
        };
        Transferred::new(result, buffer)
    })
    .refused_by((length > MOST).then_some(Error::E2BIG))
    .of(RequestKind::Random, WorkClass::User)
}
