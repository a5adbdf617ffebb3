//! The machine the figures are from: what the kernel says of it, and nothing that names it.

/// Lines for the head of the table and of the page.
pub(crate) fn describe() -> Vec<String> {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        format!("Processor: {}, {processors} processors used", processor()),
        format!("Kernel: Linux {}", kernel.trim()),
        format!("C library: glibc {}", glibc()),
        format!(
            "Rivals: libuv {}, tokio {}, async-process {}",
            libuv(),
            locked("tokio"),
            locked("async-process")
        ),
    ]
}

fn processor() -> String {
    let facts = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = facts.lines().find_map(|line| line.strip_prefix("model name"));
    model.map_or("unknown", |name| name.trim_start_matches(['\t', ' ', ':'])).to_owned()
}

fn glibc() -> String {
    // SAFETY: a static, NUL-terminated string.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}

fn libuv() -> String {
    // SAFETY: a static, NUL-terminated string.
    let version = unsafe { std::ffi::CStr::from_ptr(libuv_sys2::uv_version_string()) };
    version.to_string_lossy().into_owned()
}

/// The version of a crate that the lock file names.
fn locked(name: &str) -> String {
    let heading = format!("name = \"{name}\"\n");
    include_str!("../../Cargo.lock")
        .split_once(&heading)
        .and_then(|(_, rest)| rest.lines().next()?.strip_prefix("version = "))
        .map_or_else(String::new, |version| version.trim_matches('"').to_owned())
}
