//! As much around libuv's C functions as keeps the rows readable: a loop that is closed when it is
//! dropped, handles on the heap that are freed by their close callback, and data pointers.
//!
//! A row's state is an `Rc` whose fields are cells. The callbacks get at it through the handle's data
//! pointer; the row keeps the `Rc` for longer than its loop.

use std::ffi::{c_int, c_void};
use std::rc::Rc;

use libuv_sys2::{
    uv_buf_t, uv_close, uv_handle_t, uv_loop_close, uv_loop_init, uv_loop_t, uv_run, uv_run_mode,
    uv_run_mode_UV_RUN_DEFAULT, uv_stop, uv_stream_t, uv_try_write,
};

/// Fails the measurement on an error.
#[track_caller]
pub(crate) fn check(result: c_int) -> c_int {
    assert!(result >= 0, "libuv: {result}");
    result
}

pub(crate) struct Loop(*mut uv_loop_t);

impl Loop {
    pub(crate) fn new() -> Loop {
        let lp = allocate::<uv_loop_t>();
        // SAFETY: room for a loop that nobody else has.
        check(unsafe { uv_loop_init(lp) });
        Loop(lp)
    }

    pub(crate) fn get(&self) -> *mut uv_loop_t {
        self.0
    }

    pub(crate) fn run(&self, mode: uv_run_mode) -> c_int {
        // SAFETY: the loop is open; callbacks reach only what the row keeps.
        unsafe { uv_run(self.0, mode) }
    }

    /// Until nothing is left or a callback stops it.
    pub(crate) fn run_until_done(&self) {
        self.run(uv_run_mode_UV_RUN_DEFAULT);
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.run_until_done();
        // SAFETY: the loop is open, and its memory is ours to free when it says it is done.
        unsafe {
            let closed = uv_loop_close(self.0);
            assert!(closed == 0 || std::thread::panicking(), "a handle was left open: {closed}");
            drop(Box::from_raw(self.0));
        }
    }
}

/// Room for a C structure, all zeros.
pub(crate) fn allocate<T>() -> *mut T {
    // SAFETY: libuv's structures are plain data, for which zeros are a value.
    Box::into_raw(Box::new(unsafe { std::mem::zeroed::<T>() }))
}

/// Closes a handle from [`allocate`], and frees it when libuv lets go of it.
///
/// # Safety
/// The handle is open, is not closing, and `T` is its type.
pub(crate) unsafe fn close<T>(handle: *mut T) {
    unsafe extern "C" fn free<T>(handle: *mut uv_handle_t) {
        // SAFETY: made by `allocate`; libuv does not touch a handle after its close callback.
        drop(unsafe { Box::from_raw(handle.cast::<T>()) });
    }
    // SAFETY: passed on.
    unsafe { uv_close(handle.cast(), Some(free::<T>)) };
}

/// The data pointer for `state`, which the caller keeps.
pub(crate) fn data<T>(state: &Rc<T>) -> *mut c_void {
    Rc::as_ptr(state).cast_mut().cast()
}

/// What a data pointer from [`data`] points to.
///
/// # Safety
/// The `Rc` is of type `T` and outlives the reference.
pub(crate) unsafe fn state<'a, T>(data: *mut c_void) -> &'a T {
    // SAFETY: passed on; the fields are cells.
    unsafe { &*data.cast::<T>() }
}

/// Writes now or not at all.
///
/// # Safety
/// The stream is open.
pub(crate) unsafe fn write_now(stream: *mut uv_stream_t, bytes: &[u8]) {
    let buffer = buffer(bytes);
    // SAFETY: the bytes outlive the call.
    let written = unsafe { uv_try_write(stream, &raw const buffer, 1) };
    assert_eq!(written as usize, bytes.len());
}

/// Bytes as libuv takes them. It does not write to a buffer that is being sent.
pub(crate) fn buffer(bytes: &[u8]) -> uv_buf_t {
    uv_buf_t { base: bytes.as_ptr().cast_mut().cast(), len: bytes.len() }
}

/// Stops the loop that `handle` is on.
///
/// # Safety
/// A handle of an open loop.
pub(crate) unsafe fn stop_loop_of<T>(handle: *mut T) {
    // SAFETY: every handle begins with the fields of uv_handle_t.
    unsafe { uv_stop((*handle.cast::<uv_handle_t>()).loop_) };
}

/// As much as libuv suggests for a read, and as the other implementations use.
pub(crate) const READ_BUFFER: usize = 64 * 1024;

/// An allocation callback that lends the same buffer every time, as the rivals do.
pub(crate) unsafe extern "C" fn lend(_: *mut uv_handle_t, _: usize, buffer: *mut uv_buf_t) {
    thread_local! {
        static LENT: *mut u8 = Box::leak(vec![0; READ_BUFFER].into_boxed_slice()).as_mut_ptr();
    }
    // SAFETY: libuv gives a place for the answer. One callback at a time uses the bytes.
    unsafe { *buffer = uv_buf_t { base: LENT.with(|at| at.cast()), len: READ_BUFFER } };
}
